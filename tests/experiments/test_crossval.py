"""Cross-validation with stub processes, then a real one that is killed."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from locked_elsewhere import locked_elsewhere
from wandb_offline import read_run, records

from mgc.cli import main
from mgc.core.locking import locked
from mgc.data.gtzan import GTZAN
from mgc.data.splits import assign_folds, split_by_fold
from mgc.errors import MgcError
from mgc.evaluation.fusion import fit_weights
from mgc.evaluation.intervals import wilson
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import load_runs
from mgc.experiments import crossval, fold_run, processes
from mgc.experiments.child_run import LAST_EPOCH
from mgc.experiments.crossval import Experiment, combine_folds, run_folds, split_fingerprint
from mgc.experiments.fold_run import Fold, run_fold
from mgc.runs.tracking import share_wandb_group

LABELS = ("a", "b")
TRACKS = np.array([f"t{i:02}" for i in range(12)])


class Instant:
    """Stub of a fold's process with three of four tracks correct."""

    running = 0
    most = 0

    def __init__(self, fold: Fold, environment: dict[str, str], lock: tuple[int, ...]) -> None:
        self.fold, self.environment, self.polls = fold, environment, 0
        self.returncode: int | None = None
        Instant.running += 1
        Instant.most = max(Instant.most, Instant.running)
        Path(fold.folder).mkdir(parents=True, exist_ok=True)
        Path(fold.folder, "log.txt").write_text("warming up\n")

    def poll(self) -> int | None:
        self.polls += 1
        if self.polls > 2:
            Instant.running -= 1
            self.returncode = self.finish()
        return self.returncode

    def terminate(self) -> None:
        pass

    def wait(self) -> None:
        pass

    def divide(self) -> np.ndarray:
        assigned = assign_folds(TRACKS, self.fold.folds, self.fold.seed)
        return split_by_fold(assigned, self.fold.fold)

    def finish(self) -> int:
        split = self.divide()
        for stage, name in (("test", "test"), ("validate", "val")):
            tracks = pd.DataFrame({"track": TRACKS[split == name], "split": name, "label": "a"})
            number = tracks["track"].str[1:].astype(int)
            tracks["decision"] = np.where(number % 4 == 0, "b", "a")
            tracks["vote"] = "a"
            tracks["probability.a"], tracks["probability.b"] = 0.6, 0.4
            clips = tracks.drop(columns="vote").assign(clip=0, start=0.0)
            source = {"model": "m", "data": "d", "split": "fold", "checkpoint": "best.ckpt"}
            Results(clips, tracks, "multiclass", LABELS, source).save(Path(self.fold.folder, stage))
        return 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Instant]:
    """The processes that were started."""
    instances: list[Instant] = []

    def start(*args: object) -> Instant:
        instances.append(Instant(*args))
        return instances[-1]

    monkeypatch.setattr(crossval, "start_fold", start)
    monkeypatch.setattr(processes.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(processes, "visible_devices", list)
    Instant.running = Instant.most = 0
    return instances


@pytest.fixture
def config(workdir: Path) -> str:
    Path(workdir, "model.yaml").write_text("model: vgg_tagger\n")
    return "model.yaml"


def plan(config: str, folds: int = 3, seeds: tuple[int, ...] = (0,), *words: str) -> Experiment:
    return Experiment.prepare(Path("out"), config, list(words), folds, seeds)


def test_results_of_all_folds(started: list[Instant], config: str) -> None:
    experiment = plan(config, 4)
    run_folds(experiment)
    summary = combine_folds(experiment)
    results = Results.load("out/test")
    assert sorted(results.tracks["track"]) == list(TRACKS)
    assert results.tracks.groupby("fold").size().tolist() == [3, 3, 3, 3]
    assert summary.scores["value"].tolist() == [0.75, 1.0]
    low, high = summary.scores.loc[0, ["low", "high"]]
    assert (low, high) == tuple(wilson(9, 12))
    assert summary.scores["interval"].tolist() == ["0.468 to 0.911", "0.758 to 1.000"]
    matrix = pd.read_csv("out/confusion_matrix.csv", index_col=0)
    assert matrix.loc["a"].tolist() == [9, 3]
    assert len(pd.read_csv("out/folds.csv")) == 4
    # Validation results have the number of the test fold, one less than their own.
    validation = Results.load("out/validate").tracks
    fold_of = dict(zip(results.tracks["track"], results.tracks["fold"], strict=True))
    assert (validation["track"].map(fold_of) == (validation["fold"] + 1) % 4).all()
    (run,) = load_runs(["out"])
    assert len(fit_weights([run, run], "weighted")) == 4


def test_the_library_logs_and_the_command_prints(
    started: list[Instant],
    config: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO", "mgc")
    summary = crossval.cross_validate(config, "library", folds=3)
    assert capsys.readouterr().out == ""
    assert "seed 0, fold 2: accuracy 0.750" in caplog.messages
    assert summary.folder == Path("library")
    main(["crossval", "--config", config, "--folds=3", "--out=library"])
    out = capsys.readouterr().out
    assert out == f"3 of 3 folds are finished already.\n{summary.text}\nWritten to library\n"


def test_repeats_count_a_track_once(started: list[Instant], config: str) -> None:
    experiment = plan(config, 3, (0, 7))
    run_folds(experiment)
    summary = combine_folds(experiment)
    assert len(summary.results.tracks) == 24
    assert summary.scores.loc[0, "tracks"] == 12
    assert set(summary.folds["fold"]) == {f"seed {s}, fold {f}" for s in (0, 7) for f in range(3)}
    # Testing the same tracks twice does not narrow the interval.
    assert tuple(summary.scores.loc[0, ["low", "high"]]) == tuple(wilson(9, 12))


def test_one_fold_has_no_spread_over_folds(
    started: list[Instant], config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["crossval", "--config", config, "--folds", "4", "--out", "out"]
    main([*words, "--test_folds", "1"])
    assert len(started) == 1
    out = capsys.readouterr().out
    assert "over 3 tracks" in out
    assert "nan" not in out
    assert "of 1 folds" not in out
    main(words)
    assert len(started) == 4
    out = capsys.readouterr().out
    assert "accuracy: 0.750 (95 % Wilson interval over 12 tracks: 0.468 to 0.911); mean of 4" in out
    assert "mean of 4 folds 0.750 (std over 4 folds " in out


def test_runs_on_a_given_split_count_a_track_once(
    started: list[Instant],
    config: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = np.repeat(["train", "val", "test"], 4)
    monkeypatch.setattr(Instant, "divide", lambda process: given)
    main(["crossval", "--config", config, "--folds=1", "--repeats=3", "--out=out"])
    assert [process.fold.seed for process in started] == [0, 1, 2]
    assert [process.fold.options for process in started] == [
        [f"--data.seed={seed}", f"--seed_everything={seed}"] for seed in range(3)
    ]
    scores = pd.read_csv("out/summary.csv", index_col="score").loc["accuracy"]
    assert (scores["tracks"], scores["folds"], scores["folds_deviation"]) == (4, 3, 0)
    # Four tracks, one wrong, whatever the number of runs.
    assert (scores["low"], scores["high"]) == pytest.approx(tuple(wilson(3, 4)))
    assert (scores["value"], scores["folds_min"], scores["folds_max"]) == (0.75, 0.75, 0.75)
    out = capsys.readouterr().out
    assert "mean of 3 runs 0.750 (std over 3 runs 0.000, min 0.750, max 0.750)" in out
    assert "all runs" in out


def test_folds_of_a_data_set_may_be_set_for_a_single_split(config: str) -> None:
    plan(config, 1, (0,), "--data.folds=5")
    with pytest.raises(MgcError, match=r"--data\.folds is set by mgc crossval"):
        plan(config, 3, (0,), "--data.folds=5")


def test_the_fingerprint_depends_on_the_split(started: list[Instant], config: str) -> None:
    experiment = plan(config)
    run_folds(experiment)
    tracks = combine_folds(experiment).results.tracks
    mark = split_fingerprint(tracks)
    assert Results.load("out/validate").source["fingerprint"] == mark
    assert split_fingerprint(tracks.sample(frac=1, random_state=0)) == mark
    tracks.loc[0, "fold"] = 1
    assert split_fingerprint(tracks) != mark


def test_folds_share_the_devices(
    started: list[Instant], config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "visible_devices", lambda: ["4", "GPU-b"])
    run_folds(plan(config, 5))
    assert Instant.most == 2
    assert {p.environment["CUDA_VISIBLE_DEVICES"] for p in started} == {"4", "GPU-b"}


def test_one_at_a_time_sees_all_devices(
    started: list[Instant], config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "visible_devices", lambda: ["0", "1"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    run_folds(plan(config), jobs=1)
    assert Instant.most == 1
    assert all("CUDA_VISIBLE_DEVICES" not in p.environment for p in started)


def test_visible_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert processes.visible_devices() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert processes.visible_devices() == ["3", "5"]


def test_finished_folds_are_kept(started: list[Instant], config: str) -> None:
    run_folds(plan(config))
    run_folds(plan(config))
    assert [p.fold.fold for p in started] == [0, 1, 2]
    run_folds(plan(config, 3, (0, 1)))
    assert [(p.fold.seed, p.fold.fold) for p in started[3:]] == [(1, 0), (1, 1), (1, 2)]


def test_other_settings_need_another_folder(config: str) -> None:
    unfinished = Path(plan(config).folds[0].folder, LAST_EPOCH)
    unfinished.parent.mkdir(parents=True)
    unfinished.touch()
    with pytest.raises(
        MgcError,
        match=r"out contains a cross-validation with a different value of folds \(3; now 4\)",
    ):
        plan(config, 4)
    with pytest.raises(MgcError, match=r"value of overrides \(none; now --model.lr=1\)"):
        plan(config, 3, (0,), "--model.lr=1")
    Path(config).write_text("model: mfcc\n")
    with pytest.raises(MgcError, match="a different value of configuration"):
        plan(config)


def test_changed_files_need_another_folder(started: list[Instant], config: str) -> None:
    song = Path("music", "a", "song.wav")
    song.parent.mkdir(parents=True)
    for path in (song, Path("weights.pt")):
        path.write_bytes(b"before")
    words = ("--data.root=music", "--model.weights=weights.pt")
    plan(config, 3, (0,), *words)
    song.write_bytes(b"before results")
    run_folds(plan(config, 3, (0,), *words))
    song.touch()
    assert all(fold.finished for fold in plan(config, 3, (0,), *words).folds)
    for path, message in (
        (song, r"1 audio files have changed since the cross-validation in out .*a/song\.wav"),
        (Path("weights.pt"), r"a cross-validation with other files: weights\.pt has changed"),
        (song.with_name("new.wav"), r"1 audio files have changed .*a/new\.wav"),
    ):
        content = path.read_bytes() if path.exists() else None
        path.write_bytes(b"after")
        with pytest.raises(MgcError, match=message):
            plan(config, 3, (0,), *words)
        if content is not None:
            path.write_bytes(content)
    song.with_name("new.wav").unlink()
    song.unlink()  # a packed store replaces it
    plan(config, 3, (0,), *words)


def test_a_plan_without_results_can_be_replaced(config: str) -> None:
    first = plan(config, 3, (0,), "--model.lr=-1").folds[0]
    second = plan(config, 4).folds[0]
    assert second.folds == 4
    assert second.group != first.group
    with (
        locked_elsewhere(Path("out")),  # its first epoch may be on
        pytest.raises(MgcError, match="out is in use by another mgc process"),
    ):
        plan(config)
    assert plan(config, 4).folds[0] == second


def test_a_failed_fold_is_named(
    started: list[Instant], config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(process: Instant) -> int:
        Path(process.fold.folder, "log.txt").write_text("mgc: error: no such folder.\nbye\n")
        return 2

    monkeypatch.setattr(Instant, "finish", finish)
    with pytest.raises(MgcError, match=r"seed 0, fold 0 failed: no such folder\. \(log: .*fold0"):
        run_folds(plan(config))
    assert len(started) == 1


def test_a_folder_in_use_is_refused(started: list[Instant], config: str) -> None:
    experiment = plan(config)
    with (
        locked_elsewhere(experiment.folder),
        pytest.raises(MgcError, match="out is in use by another mgc process"),
    ):
        run_folds(experiment)


def test_jobs_of_a_killed_experiment_keep_its_lock(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("sleeper.py").write_text("import time; time.sleep(60)", encoding="utf-8")
    Path("out").mkdir()
    code = """
import os, time
from pathlib import Path
from mgc.core.locking import locked
from mgc.experiments.processes import start_module
with locked(Path("out")) as lock:
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    print(start_module("sleeper", "out", environment, lock).pid, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        part = int(parent.stdout.readline())
        parent.kill()
    with (
        pytest.raises(MgcError, match="is in use by another mgc process"),
        locked(Path("out")),
    ):
        pass
    os.kill(part, signal.SIGKILL)
    for _ in range(100):
        with suppress(MgcError), locked(Path("out")):
            return
        time.sleep(0.1)
    pytest.fail("the folder is still locked")


def test_files_of_the_working_folder_shadow_nothing(workdir: Path, tones: Path) -> None:
    """A fold imports a model from the working folder, but not a file named like a module."""
    for name in ("random", "yaml", "mgc"):
        Path(f"{name}.py").write_text("raise RuntimeError('shadowed')", encoding="utf-8")
    Path("local_net.py").write_text(
        "from mgc.models.vgg import VGGTagger\nclass Net(VGGTagger): pass\n", encoding="utf-8"
    )
    data = {"root": str(tones), "sample_rate": 8000, "clip_seconds": 1.0}
    settings = {
        "model": {"class_path": "local_net.Net", "init_args": {"channels": 2}},
        "data": {"class_path": "gtzan", "init_args": data},
        "trainer": {"accelerator": "cpu", "max_epochs": 1, "limit_train_batches": 1},
    }
    Path("net.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    fold = Fold(str(workdir / "fold0"), "net.yaml", ("--trainer.logger=false",), 0, 0, 3, "group")
    fold.write()
    process = crossval.start_fold(fold, dict(os.environ), ())
    assert process.wait() == 0, Path(fold.folder, processes.LOG).read_text()
    assert fold.finished


def test_a_broken_library_in_a_fold(workdir: Path) -> None:
    Path("timm").mkdir()
    Path("timm/__init__.py").write_text("raise RuntimeError('operator does not exist')")
    Path("timm.yaml").write_text("model: timm_finetune\ndata: gtzan\n", encoding="utf-8")
    fold = Fold(str(workdir / "fold0"), str(workdir / "timm.yaml"), (), 0, 0, 3, "group")
    fold.write()
    environment = os.environ | {"PYTHONPATH": str(workdir), "WANDB_MODE": "disabled"}
    process = processes.start_module("mgc.experiments.fold_run", fold.folder, environment, ())
    assert process.wait() == 2
    reason = processes.read_error(fold)
    assert reason.startswith("timm ")
    assert "cannot be imported: RuntimeError: operator does not exist. Fix it with: " in reason


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "2"], "--folds 2: needs at least 3"),
        (["--seeds", "1,1"], "--seeds to different numbers"),
        (["--seeds", "a"], "--seeds to different numbers"),
        (["--repeats", "0"], "--repeats=0: must be a whole number from 1"),
        (["--", "--data.init_args.fold=3"], "--data.fold is set by mgc crossval"),
        (["--", "--seed_everything", "3"], "--seed_everything is set by mgc crossval"),
    ],
)
def test_wrong_settings(
    words: list[str], message: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["crossval", "--config", config, *words])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["crossval", "--config", "none.yaml"])
    assert "none.yaml: no such file or shipped configuration." in capsys.readouterr().err


class Forked:
    """Runs a fold in a fork of the test process, without importing everything again."""

    kill_once_saved: int | None = None

    def __init__(self, fold: Fold, environment: dict[str, str], lock: tuple[int, ...]) -> None:
        fold.write()
        self.fold = fold
        self.process = multiprocessing.get_context("fork").Process(target=_run, args=(fold,))
        self.process.start()

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        saved = Path(self.fold.folder, LAST_EPOCH).is_file()
        if self.fold.fold == Forked.kill_once_saved and saved and self.process.pid:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.join()
        return self.process.exitcode

    def terminate(self) -> None:
        self.process.terminate()

    def wait(self) -> None:
        self.process.join()


def _run(fold: Fold) -> None:
    with Path(fold.folder, "log.txt").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout, sys.stderr = log, log
        fold_run.main(fold.folder)


@pytest.fixture
def command(tones: Path, workdir: Path) -> Callable[[str], list[str]]:
    """Return the words of a small cross-validation with an output folder."""
    settings = {
        "model": {"class_path": "vgg_tagger", "init_args": {"channels": 8, "lr": 0.01}},
        "data": {
            "class_path": "gtzan",
            "init_args": {
                "root": str(tones),
                "sample_rate": 8000,
                "clip_seconds": 1.0,
                "batch_size": 16,
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [
                {
                    "class_path": "ModelCheckpoint",
                    "init_args": {"monitor": "val/track_accuracy", "mode": "max"},
                }
            ],
        },
    }
    Path("vgg.yaml").write_text(yaml.safe_dump(settings))

    def words(out: str) -> list[str]:
        options = ["--config", "vgg.yaml", "--folds=3", "--out", out]
        return ["crossval", *options, "--", "--trainer.max_epochs=4"]

    return words


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(crossval, "start_fold", Forked)
    Forked.kill_once_saved = None
    yield
    Forked.kill_once_saved = None


def test_a_single_split_is_that_of_the_configuration(
    command: Callable[[str], list[str]], forked: None, tones: Path
) -> None:
    words = [*command("given"), "--data.split=stratified", "--trainer.max_epochs=1"]
    words[words.index("--folds=3")] = "--folds=1"
    words.insert(words.index("--"), "--seeds=2")
    main(words)
    data = GTZAN(str(tones), split="stratified", seed=2)
    data.setup("test")
    tested = data.tracks["track"][data.tracks["split"] == "test"]
    assert sorted(Results.load("given/test").tracks["track"]) == sorted(tested)
    with pytest.raises(MgcError, match="but fold has several folds"):
        run_fold(Fold("out", "vgg.yaml", ("--data.split=fold",), 0, 0, 1, "g"))


def test_a_killed_cross_validation_resumes(
    command: Callable[[str], list[str]],
    forked: None,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Forked.kill_once_saved = 1
    with pytest.raises(SystemExit):
        main(command("broken"))
    assert "seed 0, fold 1 failed" in capsys.readouterr().err
    first = workdir / "broken" / "seed0" / "fold0" / "test" / "tracks.parquet"
    written = first.stat().st_mtime_ns

    Forked.kill_once_saved = None
    main(command("broken"))
    out = capsys.readouterr().out
    assert "1 of 3 folds are finished already" in out
    (paths,) = re.findall(r"W&B: kept offline .* wandb sync (.*)\n", out)
    assert set(workdir.glob(paths)) == set(workdir.glob("runs/wandb/offline-run-*"))
    assert "95 % Wilson interval over 100 tracks" in out
    assert first.stat().st_mtime_ns == written
    (killed,) = [f for f in plan_of("broken") if f.fold == 1]
    newest = sorted(workdir.glob(f"runs/wandb/offline-run-*{killed.group}-0-1"))[-1]
    epochs = {step["epoch"] for step in read_run(newest)["history"] if "val/loss" in step}
    assert 0 not in epochs
    assert 3 in epochs

    # The killed fold ends like an uninterrupted one.
    unbroken = Fold(**vars(killed) | {"folder": str(workdir / "whole"), "group": "whole"})
    with share_wandb_group("paper"):
        process = Forked(unbroken, {}, ())
        process.wait()
    assert process.returncode == 0
    one, two = (Results.load(Path(f.folder, "test")).tracks for f in (killed, unbroken))
    pd.testing.assert_frame_equal(one, two)

    # One group of W&B, or that of the command; the resumed fold kept its run.
    runs = [
        record.run
        for folder in workdir.glob("runs/wandb/offline-run-*")
        for record in records(folder)
        if record.WhichOneof("record_type") == "run"
    ]
    assert "whole-0-1" in {run.run_id for run in runs if run.run_group == "paper"}
    of_group = [run for run in runs if run.run_group == killed.group]
    assert len({run.run_id for run in of_group if run.job_type == "fold"}) == 3
    assert {run.job_type for run in of_group} == {"fold", "crossval"}

    # The summary is a run of the same group.
    (folder,) = workdir.glob(f"runs/wandb/offline-run-*{killed.group}-summary")
    logged = read_run(folder)
    assert (logged["job_type"], logged["group"]) == ("crossval", killed.group)
    assert logged["tags"] == ["vgg_tagger", "gtzan", "fold"]
    assert logged["config"]["about"]["fingerprint"]["sizes"] is None
    scores = pd.read_csv("broken/summary.csv", index_col="score")
    assert logged["summary"]["test/track_accuracy"] == scores.loc["accuracy", "value"]
    assert logged["summary"]["crossval/accuracy/high"] == scores.loc["accuracy", "high"]
    names = {key for step in logged["history"] for key in step}
    assert {"crossval/folds", "crossval/confusion_matrix", "confusion_matrix"} <= names

    # Now in a real child process.
    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    results = Results.load("broken/test")
    (workdir / "broken" / "seed0" / "fold2" / "test" / "tracks.parquet").unlink()
    main(command("broken"))
    pd.testing.assert_frame_equal(Results.load("broken/test").tracks, results.tracks)

    # Its results can be fused.
    main(["fuse", "broken", "broken/test", "--method=fusion2", "--out=fused"])
    assert "+0.000" in capsys.readouterr().out


def plan_of(out: str) -> tuple[Fold, ...]:
    words = ["--trainer.max_epochs=4"]
    return Experiment.prepare(Path(out), "vgg.yaml", words, 3, [0]).folds


def test_the_number_of_given_folds_is_checked() -> None:
    class Data:
        split = "fold"
        tracks = pd.DataFrame({"fold": [0, 1, 2, 3, 4]})

    class Trainer:
        datamodule = Data()

    with pytest.raises(MgcError, match=r"has 5 predefined folds\. Set --folds 5"):
        fold_run.CheckFolds(10).setup(Trainer(), None, "fit")
    fold_run.CheckFolds(5).setup(Trainer(), None, "fit")
