"""Fits that keep their W&B run offline log why, and how to upload it."""

import re
import signal
from pathlib import Path

import pytest

from mgc.cli import main

NOT_LOGGED_IN = (
    "Not logged in to W&B: runs are kept offline. Run 'wandb login' to send them online."
)


@pytest.fixture
def fit(tones: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A fit of one batch by a user without W&B settings."""
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_SILENT")
    return [
        *("fit", "--data", "gtzan", f"--data.root={tones}", "--data.sample_rate=8000"),
        *("--data.clip_seconds=1", "--data.batch_size=32", "--trainer.accelerator=cpu"),
        *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
        *("--model", "vgg_tagger", "--model.channels=2", "--trainer.max_epochs=1"),
        "--trainer.limit_train_batches=0.2",
    ]


def mentions(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines about W&B in a command's output."""
    captured = capsys.readouterr()
    lines = (captured.out + captured.err).splitlines()
    return [line for line in lines if re.search("W&B|wandb:(?! WARNING The anon)", line)]


def runs() -> list[Path]:
    return sorted(Path("runs/wandb").glob("*run-*"))


def test_not_logged_in(fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(fit)
    (run,) = runs()
    assert list(run.glob("*.wandb"))
    assert mentions(capsys) == [
        NOT_LOGGED_IN,
        f"W&B: kept offline (not logged in). Upload with: wandb login && wandb sync {run}",
    ]
    # A test is a second folder of the same run.
    (best,) = Path("runs").glob("mgc/*/checkpoints/best.ckpt")
    main(["test", f"--ckpt_path={best}"])
    (second,) = set(runs()) - {run}
    assert mentions(capsys)[-1].endswith(f"wandb sync {second}")


def test_wandb_offline(
    fit: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    Path("wandb").mkdir()
    Path("wandb", "settings").write_text("[default]\nmode = offline\n")
    main(fit)
    (run,) = runs()
    reason = "set by 'wandb offline'"
    assert mentions(capsys) == [f"W&B: kept offline ({reason}). Upload with: wandb sync {run}"]


def test_an_interrupted_fit(fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    kill = ["--trainer.callbacks+=interrupting.Kill", "--trainer.callbacks.epoch=0"]
    kill += ["--trainer.callbacks.batch=0", f"--trainer.callbacks.signum={int(signal.SIGTERM)}"]
    with pytest.raises(SystemExit):
        main([*fit, *kill, "--trainer.logger.offline=true"])
    (run,) = runs()
    reason = "offline=true in the logger's settings"
    assert mentions(capsys) == [f"W&B: kept offline ({reason}). Upload with: wandb sync {run}"]


@pytest.mark.parametrize(
    "words", [["--trainer.logger=false"], ["--trainer.fast_dev_run=true"], ["WANDB_MODE"]]
)
def test_nothing_is_logged(
    fit: list[str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if words == ["WANDB_MODE"]:
        words = []
        monkeypatch.setenv("WANDB_MODE", "disabled")
    main([*fit, *words])
    assert mentions(capsys) == []
    assert runs() == []


def test_help_does_not_set_the_mode(fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*fit, "--print_config"])
    assert NOT_LOGGED_IN not in capsys.readouterr().out
