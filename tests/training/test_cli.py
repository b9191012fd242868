"""fit, validate, test and predict, end to end on a small data set."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from wandb_offline import read_run

from mgc import checkpoint
from mgc.cli import main
from mgc.evaluation.results import Results

THIRD_PARTY = Path(__file__).parents[1] / "third_party"


@pytest.fixture
def settings(tones: Path) -> list[str]:
    """Options of a small run without progress bars."""
    return [
        *("--data", "gtzan", f"--data.root={tones}", "--data.sample_rate=8000"),
        *("--data.clip_seconds=1", "--data.batch_size=16"),
        *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"),
        "--trainer.enable_model_summary=false",
    ]


VGG = ["--model", "vgg_tagger", "--model.channels=8", "--model.lr=0.01", "--model.dropout=0.2"]
NO_LOGGER = "--trainer.logger=false"


def epochs(number: int) -> str:
    return f"--trainer.max_epochs={number}"


def fails(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Return the error line of a command that exits with code 2."""
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    assert stop.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert errors[0].startswith("mgc: error: ")
    return errors[0]


def test_fit_then_test_then_predict_from_the_checkpoint_alone(
    settings: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", *VGG, *settings, epochs(8)])
    (config,) = workdir.glob("runs/mgc/*/config.yaml")
    ckpt = config.parent / "checkpoints" / "best.ckpt"
    saved = yaml.safe_load(config.read_text())
    assert saved["model"]["class_path"] == "mgc.models.vgg.VGGTagger"
    assert saved["data"]["init_args"]["clip_seconds"] == 1

    (folder,) = workdir.glob("runs/wandb/offline-run-*")
    run = read_run(folder)
    assert (run["project"], run["job_type"]) == ("mgc", "fit")
    assert run["config"]["model"]["init_args"]["channels"] == 8
    assert "VGGNet" in run["config"]["model_summary"]
    validated = [step for step in run["history"] if "val/track_accuracy" in step]
    assert len(validated) == 8
    assert validated[-1]["val/loss"] < validated[0]["val/loss"]

    assert {path.name for path in config.parent.glob("checkpoints/*")} == {"best.ckpt", "last.ckpt"}

    main(["test", "--ckpt_path", "best"])
    assert "track accuracy" in capsys.readouterr().out
    (tested,) = workdir.glob("runs/mgc/*/test")
    results = Results.load(tested)
    assert len(results.tracks) == 10
    assert (results.tracks["label"] == results.tracks["decision"]).mean() >= 0.5
    assert {
        "confusion_matrix.csv",
        "confusion_matrix.png",
        "per_class.csv",
        "worst_mistakes.csv",
    } <= {path.name for path in tested.iterdir()}
    assert tested.parent == config.parent
    folder = max(workdir.glob(f"runs/wandb/offline-run-*{tested.parent.name}"))
    logged = {key for step in read_run(folder)["history"] for key in step}
    assert {"test/track_accuracy", "test/confusion_matrix", "test/per_class"} <= logged
    assert "test/worst_mistakes" in logged

    main(["predict", "--ckpt_path", str(ckpt), NO_LOGGER])
    predicted = Results.load(config.parent / "predict")
    assert len(predicted.tracks) == 100
    assert predicted.tracks["split"].value_counts().to_dict() == {
        "train": 80,
        "val": 10,
        "test": 10,
    }
    both = predicted.tracks.merge(results.tracks, on="track", suffixes=("", "_test"))
    pd.testing.assert_series_equal(
        both["probability.blues"], both["probability.blues_test"], check_names=False
    )


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(path)["state_dict"]


def test_a_resumed_fit_equals_an_uninterrupted_one(settings: list[str], workdir: Path) -> None:
    run = ["fit", *VGG, *settings, NO_LOGGER]
    main([*run, epochs(4), "--trainer.default_root_dir=unbroken"])
    main([*run, epochs(2), "--trainer.default_root_dir=broken"])
    half = workdir / "broken" / "checkpoints" / "last.ckpt"
    main([*run, epochs(4), "--trainer.default_root_dir=resumed", f"--ckpt_path={half}"])
    expected, found = (
        weights(workdir / run / "checkpoints" / "last.ckpt") for run in ("unbroken", "resumed")
    )
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not torch.equal(expected["net.head.weight"], weights(half)["net.head.weight"])


def best_score(ckpt: Path) -> float:
    (state,) = (
        state
        for name, state in checkpoint.read(ckpt)["callbacks"].items()
        if name.startswith("ModelCheckpoint")
    )
    return state["best_model_score"].item()


def test_a_resumed_fit_continues_in_its_folder(settings: list[str], workdir: Path) -> None:
    main(["fit", *VGG, *settings, epochs(6), "--seed_everything=20240115"])
    (folder,) = workdir.glob("runs/mgc/*")
    last, best = (folder / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
    before, kept = best_score(last), checkpoint.read(best)["global_step"]
    resume = ["--config", str(folder / "config.yaml"), epochs(7), "--ckpt_path=last"]
    main(["fit", *resume])
    assert list(workdir.glob("runs/mgc/*")) == [folder]
    assert checkpoint.read(last)["global_step"] == 70
    # The best score so far is remembered: only a better epoch replaces the best checkpoint.
    assert best_score(last) >= before
    assert checkpoint.read(best)["global_step"] == (70 if best_score(last) > before else kept)


def test_the_last_epoch_is_kept_if_validation_tracks_are_trained_on(
    settings: list[str], workdir: Path
) -> None:
    main(["fit", *VGG, *settings, NO_LOGGER, epochs(3), "--data.train_on_val=true"])
    (best,) = workdir.glob("runs/mgc/*/checkpoints/best.ckpt")
    assert checkpoint.read(best)["epoch"] == 2
    (callback,) = [
        state
        for name, state in checkpoint.read(best)["callbacks"].items()
        if name.startswith("ModelCheckpoint")
    ]
    assert callback["monitor"] is None


def test_an_untrained_model_is_not_tested(
    settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "needs a trained model" in fails(capsys, "test", *VGG, *settings)


def test_two_processes_get_the_same_scores_as_one(settings: list[str], workdir: Path) -> None:
    """With an odd number of test clips, the sampler repeats one."""
    main(["fit", *VGG, *settings, epochs(2), NO_LOGGER])
    (ckpt,) = workdir.glob("runs/mgc/*/checkpoints/last.ckpt")
    odd = ["--data.clip_seconds=0.7", "--data.batch_size=3"]
    test = ["test", *VGG, *settings, *odd, NO_LOGGER, f"--ckpt_path={ckpt}"]
    main([*test, "--trainer.default_root_dir=one"])
    command = [sys.executable, "-m", "mgc", *test, "--trainer.default_root_dir=two"]
    subprocess.run([*command, "--trainer.strategy=ddp_fork", "--trainer.devices=2"], check=True)
    one, two = (Results.load(workdir / name / "test") for name in ("one", "two"))
    assert len(one.clips) == 20
    pd.testing.assert_frame_equal(one.tracks, two.tracks)
    pd.testing.assert_frame_equal(one.clips, two.clips)


def test_two_processes_train(settings: list[str], workdir: Path) -> None:
    command = [sys.executable, "-m", "mgc", "fit", *VGG, *settings, epochs(1)]
    command += ["--trainer.strategy=ddp_fork", "--trainer.devices=2"]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    (folder,) = workdir.glob("runs/wandb/offline-run-*")
    assert out.count("W&B") == 1
    assert f"Upload with: wandb sync runs/wandb/{folder.name}\n" in out
    assert any("val/track_accuracy" in step for step in read_run(folder)["history"])
    assert len(list(workdir.glob("runs/mgc/*/checkpoints/best.ckpt"))) == 1


def test_a_model_of_another_package(
    settings: list[str],
    tmp_path: Path,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site = tmp_path / "site"
    install = "-m uv pip install -q --no-cache --offline --no-deps --no-build-isolation --target"
    # A copy, as building leaves files behind.
    source = shutil.copytree(THIRD_PARTY, tmp_path / "source")
    subprocess.run([sys.executable, *install.split(), site, source], check=True)
    monkeypatch.syspath_prepend(site)
    main(["list"])
    assert "tiny_net" in capsys.readouterr().out
    main(["list", "--check"])
    out = capsys.readouterr().out
    assert "broken: The model 'broken_net' from mgc-tiny 1.2.3 could not be imported" in out
    assert "a_package_that_is_not_installed" in out

    line = fails(capsys, "fit", "--model", "broken_net", *settings)
    assert "mgc-tiny 1.2.3 could not be imported" in line

    main(["fit", "--model=tiny_net", *settings, epochs(5), NO_LOGGER])
    (ckpt,) = workdir.glob("runs/mgc/*/checkpoints/last.ckpt")
    assert checkpoint.description(ckpt)["class_path"] == "mgc_tiny.TinyNet"
    main(["test", "--model=tiny_net", *settings, NO_LOGGER, f"--ckpt_path={ckpt}"])
    tracks = Results.load(ckpt.parent.parent / "test").tracks
    assert (tracks["label"] == tracks["decision"]).mean() >= 0.5
    capsys.readouterr()
    main(
        ["classify", settings[2].partition("=")[2] + "/genres/pop/pop.00000.wav", f"--ckpt={ckpt}"]
    )
    assert "pop" in capsys.readouterr().out
    line = fails(capsys, "test", *VGG, *settings, NO_LOGGER, f"--ckpt_path={ckpt}")
    assert "contains a mgc_tiny.TinyNet, but the configuration's model is mgc.models.vgg" in line


@pytest.mark.parametrize("text", ["model: vgg_tagger", "model: {class_path: vgg_tagger}"])
def test_short_names_in_yaml(text: str, settings: list[str], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    main(["fit", "--config", str(config), *settings, "--trainer.fast_dev_run=1"])


def test_other_loggers(settings: list[str], workdir: Path) -> None:
    logger = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs"]
    main(["fit", *VGG, *settings, *logger, epochs(1)])
    (metrics,) = workdir.glob("logs/**/metrics.csv")
    assert "val/track_accuracy" in pd.read_csv(metrics).columns


MISTAKES: list[tuple[list[str], str]] = [
    (["--data.root=nowhere"], r"nowhere: no such folder. Set data.root"),
    (["--data.sample_rate=3"], "sample_rate=3: must be a whole number from 1000"),
    (["--data.split=fault_filtred"], "choose one of stratified, fold, fault_filtered"),
    (["--model=vgg_tager"], "Did you mean 'vgg_tagger'"),
    (["--model.chanels=3"], "error: --model.chanels: no such option."),
    (["--data.rot=here"], "error: --data.rot: no such option."),
    (["--trainer.max_epoxs=3"], "max_epoxs"),
    (["--lr_scheduler=ExponentialLR", "--lr_scheduler.gamma=0.9"], "needs an optimizer section"),
    (["--trainer.accelerator=hpu"], "hpu"),
    (["--ckpt_path=last"], "--ckpt_path last: no run in runs/"),
    (["--ckpt_path=nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
    (["--config=nowhere.yaml"], "nowhere.yaml"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[m[0][0] for m in MISTAKES])
def test_errors_are_one_line(
    words: list[str],
    message: str,
    settings: list[str],
    capsys: pytest.CaptureFixture[str],
    workdir: Path,
) -> None:
    line = fails(capsys, "fit", *VGG, *settings, NO_LOGGER, *words)
    assert message in line
    assert not list(workdir.glob("runs/*.ckpt"))


def test_unknown_key_in_yaml(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config: dict[str, Any] = {"model": {"class_path": "vgg_tagger", "init_args": {"chanels": 3}}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assert "chanels" in fails(capsys, "fit", f"--config={path}", *settings)
    path.write_text("model: [unclosed")
    assert "config.yaml" in fails(capsys, "fit", f"--config={path}", *settings)


def copy_of(ckpt: Path) -> Path:
    """Copy a checkpoint out of its run's folder."""
    Path("elsewhere").mkdir()
    return Path(shutil.copy(ckpt, "elsewhere"))


def test_truncated_checkpoint_and_other_labels(
    settings: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", *VGG, *settings, epochs(1), NO_LOGGER])
    (ckpt,) = workdir.glob("runs/mgc/*/checkpoints/last.ckpt")
    test = ["test", *VGG, *settings, NO_LOGGER]
    other_rate = fails(capsys, *test, "--data.sample_rate=16000", f"--ckpt_path={ckpt}")
    assert "was trained with sample_rate=8000, but the data has sample_rate=16000" in other_rate
    cut = workdir / "cut.ckpt"
    cut.write_bytes(ckpt.read_bytes()[:3000])
    for words in (test, ["test"]):
        assert "not a checkpoint, or truncated" in fails(capsys, *words, f"--ckpt_path={cut}")
    assert "no config.yaml in" in fails(capsys, "test", f"--ckpt_path={copy_of(ckpt)}")
