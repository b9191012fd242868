"""The folder of a run with any logger: what resumes it, what tests it, and what "best" means."""

import shlex
from pathlib import Path

import pytest
import yaml

from mgc.cli import main
from mgc.evaluation.results import Results

CSV = "lightning.pytorch.loggers.CSVLogger"
WANDB = "lightning.pytorch.loggers.WandbLogger"

LOGGERS = {
    "none": False,
    "csv": {"class_path": CSV, "init_args": {"save_dir": "logs"}},
    "wandb and csv": [
        {"class_path": WANDB, "init_args": {"project": "songs", "save_dir": "runs"}},
        {"class_path": CSV, "init_args": {"save_dir": "logs"}},
    ],
    "csv and wandb": [
        {"class_path": CSV, "init_args": {"save_dir": "logs"}},
        {"class_path": WANDB, "init_args": {"project": "songs", "save_dir": "runs"}},
    ],
}


@pytest.fixture
def settings(tones: Path) -> list[str]:
    return [
        *("--data", "gtzan", f"--data.root={tones}", "--data.sample_rate=8000"),
        *("--data.clip_seconds=1", "--data.batch_size=32", "--trainer.accelerator=cpu"),
        *("--model=vgg_tagger", "--model.channels=4", "--trainer.enable_progress_bar=false"),
        *("--trainer.enable_model_summary=false", "--trainer.max_epochs=1"),
    ]


@pytest.fixture
def logger(request: pytest.FixtureRequest, workdir: Path) -> str:
    content = {"trainer": {"logger": LOGGERS[request.param]}}
    (workdir / "logger.yaml").write_text(yaml.safe_dump(content))
    return "--config=logger.yaml"


def runs(workdir: Path) -> set[Path]:
    return {path.parent for path in workdir.rglob("config.yaml")}


@pytest.mark.parametrize("logger", LOGGERS, indirect=True)
def test_a_run_keeps_its_folder(
    settings: list[str], logger: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", logger, *settings])
    out = capsys.readouterr().out
    (folder,) = runs(workdir)
    (test,) = (line for line in out.splitlines() if line.startswith("Test it: mgc "))
    main(shlex.split(test.removeprefix("Test it: mgc ")))
    assert Results.load(folder / "test").source["checkpoint"].endswith("best.ckpt")

    last = folder / "checkpoints" / "last.ckpt"
    resume = ["fit", "--config", str(folder / "config.yaml"), "--ckpt_path", str(last)]
    main([*resume, "--trainer.max_epochs=2"])
    assert runs(workdir) == {folder}
    assert {path.name for path in last.parent.iterdir()} == {"best.ckpt", "last.ckpt"}
    # One W&B run for all three commands.
    ids = {path.name.rsplit("-", 1)[1] for path in workdir.rglob("offline-run-*") if path.is_dir()}
    assert len(ids) == ("wandb" in (workdir / "logger.yaml").read_text().lower())


def test_a_second_fit_without_a_logger_keeps_the_first(settings: list[str], workdir: Path) -> None:
    fit = ["fit", *settings, "--trainer.logger=false"]
    main(fit)
    (first,) = runs(workdir)
    content = (first / "checkpoints" / "best.ckpt").read_bytes()
    main([*fit, "--seed_everything=1"])
    assert len(runs(workdir)) == 2
    assert (first / "checkpoints" / "best.ckpt").read_bytes() == content


@pytest.mark.parametrize(
    "options",
    [
        [f"--trainer.logger={CSV}", "--trainer.logger.save_dir=logs"],
        [
            *("--trainer.logger=false", "--trainer.callbacks+=ModelCheckpoint"),
            *("--trainer.callbacks.monitor=val/loss", "--trainer.callbacks.filename=mine"),
        ],
    ],
)
def test_best_is_of_the_newest_run(settings: list[str], options: list[str], workdir: Path) -> None:
    main(["fit", *settings])
    (older,) = runs(workdir)
    main(["fit", *settings, *options])
    (newer,) = runs(workdir) - {older}
    main(["test", "--ckpt_path", "best"])
    assert (newer / "test" / "tracks.parquet").is_file()
    assert not (older / "test").exists()


def test_best_is_never_of_an_older_run(
    settings: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", *settings])
    (older,) = runs(workdir)
    main(["fit", *settings, "--trainer.limit_val_batches=0", "--trainer.logger=false"])
    (newer,) = runs(workdir) - {older}
    with pytest.raises(SystemExit) as stop:
        main(["test", "--ckpt_path", "best"])
    assert stop.value.code == 2
    assert f"the newest run, {newer.relative_to(workdir)}, has no" in capsys.readouterr().err
    main(["test", "--ckpt_path", "last"])
    assert not (older / "test").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.callbacks.filename={epoch}-{val/track_accuracy:.2f}"],
        ["--trainer.callbacks.dirpath=elsewhere/kept models"],
    ],
)
def test_the_printed_command_works_for_any_name(
    settings: list[str], options: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.mode=max"]
    checkpoint += ["--trainer.callbacks.monitor=val/track_accuracy", *options]
    main(["fit", *settings, "--trainer.logger=false", *checkpoint])
    (test,) = (
        line for line in capsys.readouterr().out.splitlines() if line.startswith("Test it: mgc ")
    )
    main(shlex.split(test.removeprefix("Test it: mgc ")))
    assert len(list(workdir.rglob("tracks.parquet"))) == 1


def test_a_configuration_with_an_instance_runs_again(
    settings: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    averaging = ["--trainer.callbacks+=StochasticWeightAveraging"]
    averaging += ["--trainer.callbacks.swa_lrs=0.00001", "--trainer.callbacks.swa_epoch_start=1"]
    main(["fit", *settings, *averaging, "--trainer.max_epochs=2", "--trainer.logger=false"])
    assert "config.yaml does not contain trainer.callbacks" in capsys.readouterr().out
    (folder,) = runs(workdir)
    saved = (folder / "config.yaml").read_text()
    assert "Unable to serialize" not in saved
    assert "swa_lrs: 1.0e-05" in saved
    main(["fit", "--config", str(folder / "config.yaml")])
    assert len(runs(workdir)) == 2


@pytest.mark.parametrize(
    "option", ["--trainer.max_steps=1", "--trainer.limit_val_batches=0"], ids=["steps", "no val"]
)
def test_a_run_without_validation_has_no_best_checkpoint(
    option: str, settings: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint of the last step is named instead, and it can be tested."""
    main(["fit", "--trainer.logger=false", *settings, "--data.batch_size=8", option])
    out = capsys.readouterr().out
    assert "No best checkpoint: val/track_accuracy was never logged" in out
    assert "Best checkpoint:" not in out
    (folder,) = runs(workdir)
    (test,) = (line for line in out.splitlines() if line.startswith("Test it: mgc "))
    assert test.endswith("last.ckpt")
    with pytest.raises(SystemExit, match="2"):
        main(["test", "--ckpt_path=best"])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{folder.relative_to(workdir)}, has none" in line
    assert "Use --ckpt_path last" in line


def test_barebones_needs_no_other_settings(settings: list[str], workdir: Path) -> None:
    main(["fit", *settings, "--trainer.barebones=true"])
    assert not list(workdir.rglob("*.ckpt"))


def test_batch_normalization_of_one_clip_is_reported(
    settings: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--model.n_fft=256", "--model.hop_length=128", "--model.n_mels=32"]
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--trainer.logger=false", *settings, *small, "--data.batch_size=1"])
    assert "Set --data.batch_size 2 or more" in capsys.readouterr().err.splitlines()[-1]
