"""Sweeps without W&B's server: with stub processes, then a real one."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from wandb_offline import read_run

from mgc.cli import main
from mgc.errors import MgcError
from mgc.experiments import processes, sweep
from mgc.experiments.sweep import SweepPlan, SweepRun, run_sweep, tabulate_runs

METRIC = "val/track_accuracy"


def write_sweep(**changes: object) -> str:
    config = {
        "method": "grid",
        "metric": {"name": METRIC, "goal": "maximize"},
        "parameters": {"model.lr": {"values": [0.1, 0.01, 0.0]}, "model.channels": {"value": 4}},
        "command": ["mgc", "fit", "--config", "net.yaml", "${args}"],
    } | changes
    Path("sweep.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return "sweep.yaml"


class Instant:
    """Stub of a run's process that fails for the learning rates in ``fails``."""

    fails: tuple[float, ...] = ()
    started: list[int] = []  # noqa: RUF012 # reset by the fixture

    def __init__(self, run: SweepRun, environment: dict[str, str], lock: tuple[int, ...]) -> None:
        Instant.started.append(run.number)
        rate = run.settings["model.lr"]
        Path(run.folder).mkdir(parents=True, exist_ok=True)
        Path(run.folder, "log.txt").write_text("mgc: error: diverged\n")
        if rate not in Instant.fails:
            result = {"value": 1 - rate, "epoch": 2, "checkpoint": f"{run.number}.ckpt"}
            Path(run.folder, "result.json").write_text(json.dumps(result))

    def poll(self) -> int:
        return 0


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> list[int]:
    """Numbers of the runs that were started."""
    monkeypatch.setattr(Instant, "fails", ())
    monkeypatch.setattr(Instant, "started", [])
    monkeypatch.setattr(sweep, "start_run", Instant)
    monkeypatch.setattr(processes, "visible_devices", list)
    Path("net.yaml").write_text("model: vgg_tagger\n")
    return Instant.started


def plan(count: int | None = None, overrides: tuple[str, ...] = ()) -> SweepPlan:
    return SweepPlan.prepare(Path("out"), "sweep.yaml", overrides, count, seed=0)


def test_the_best_run_comes_first(started: list[int]) -> None:
    write_sweep()
    runs = plan(overrides=("--data.root=x",))
    assert runs.runs[1].options == (
        *("--config", "net.yaml", "--model.lr=0.01", "--model.channels=4"),
        "--data.root=x",
    )
    run_sweep(runs)
    assert started == [0, 1, 2]
    table = tabulate_runs(runs)
    assert list(table) == ["run", "model.lr", METRIC, "epoch", "checkpoint"]
    assert table["run"].tolist() == [2, 1, 0]
    assert table["checkpoint"][0] == "2.ckpt"


def test_a_run_that_fails_does_not_stop_the_others(
    started: list[int], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO", "mgc")
    write_sweep(metric={"name": METRIC, "goal": "minimize"})
    Instant.fails = (0.01,)
    run_sweep(plan())
    assert "run 1 failed: diverged" in caplog.messages
    assert tabulate_runs(plan())["run"].tolist() == [0, 2, 1]
    assert not capsys.readouterr().out
    # A rerun retries the failed run only.
    Instant.fails = ()
    run_sweep(plan())
    assert started == [0, 1, 2, 1]
    assert tabulate_runs(plan())[METRIC].notna().all()


def test_a_sweep_whose_runs_all_fail_stops(started: list[int]) -> None:
    write_sweep(parameters={"model.lr": {"values": [0.1, 0.2, 0.3, 0.4, 0.5]}})
    Instant.fails = (0.1, 0.2, 0.3, 0.4, 0.5)
    with pytest.raises(MgcError, match=r"No run succeeded\. run 0 failed: diverged"):
        run_sweep(plan())
    assert started == [0, 1, 2]


def test_another_sweep_is_refused(started: list[int]) -> None:
    write_sweep()
    assert len(plan(2).runs) == 2
    assert len(plan().runs) == 3  # made longer
    assert plan(overrides=("--model.dropout=0",)).runs[0].options[-1] == "--model.dropout=0"
    run_sweep(plan())
    with pytest.raises(MgcError, match="a different value of overrides"):
        plan(overrides=("--model.dropout=0",))
    Path("net.yaml").write_text("model: mfcc\n")
    with pytest.raises(MgcError, match="a different value of configurations"):
        plan()
    with pytest.raises(MgcError, match=r"nowhere\.yaml: no such file"):
        SweepPlan.prepare(Path("out"), "nowhere.yaml", (), None, 0)


@pytest.mark.parametrize(
    "words",
    [
        ("--model.lr=1",),
        ("--model.init_args.lr", "1"),
        ("--model={init_args: {lr: 1}}",),
        ("--config", "second.yaml"),
    ],
)
def test_a_swept_parameter_cannot_be_overridden(words: tuple[str, ...]) -> None:
    write_sweep()
    Path("second.yaml").write_text("model: {init_args: {lr: 1}}\n")
    with pytest.raises(
        MgcError, match=r"model\.lr .*is set by mgc sweep|--model\.lr is set by mgc sweep"
    ):
        plan(overrides=words)
    command = ["mgc", "fit", "--config", "net.yaml", "${args}", *words]
    write_sweep(command=command)
    with pytest.raises(MgcError, match=r"model\.lr"):
        plan()
    write_sweep(parameters={"model.lr": {"value": 1}, "model.init_args.lr": {"value": 2}})
    with pytest.raises(MgcError, match=r"model\.lr and model\.init_args\.lr are the same"):
        plan()
    # A constant parameter may be overridden.
    write_sweep()
    assert plan(overrides=("--model.init_args.channels=8",)).runs


def test_a_sweep_in_child_processes(
    tones: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    data = {"root": str(tones), "sample_rate": 8000, "clip_seconds": 1.0}
    settings = {
        "model": {"class_path": "vgg_tagger", "init_args": {"channels": 4}},
        "data": {"class_path": "gtzan", "init_args": data},
        "trainer": {"accelerator": "cpu", "enable_progress_bar": False},
    }
    Path("net.yaml").write_text(yaml.safe_dump(settings))
    write_sweep(parameters={"model.lr": {"values": [0.01, 0.0]}})
    main(["sweep", "sweep.yaml", "--out=out", "--", "--trainer.max_epochs=2"])
    table = pd.read_csv("out/runs.csv")
    assert len(table) == 2
    assert table[METRIC].is_monotonic_decreasing
    best = table.iloc[0]
    assert Path(best["checkpoint"]).is_file()
    out = capsys.readouterr().out
    assert f"Best checkpoint: {best['checkpoint']}" in out
    (paths,) = re.findall(r"W&B: kept offline .* wandb sync (.*)\n", out)
    assert set(workdir.glob(paths)) == set(workdir.glob("runs/wandb/offline-run-*"))
    logged = [read_run(folder) for folder in workdir.glob("runs/wandb/offline-run-*")]
    assert {run["job_type"] for run in logged} == {"sweep"}
    assert len({run["group"] for run in logged}) == 1
    rates = {run["config"]["model"]["init_args"]["lr"]: run["summary"] for run in logged}
    assert rates[best["model.lr"]][f"best/{METRIC}"] == pytest.approx(best[METRIC])
