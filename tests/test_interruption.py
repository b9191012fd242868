"""Fits that are interrupted end like unbroken ones, and lose no good checkpoint."""

import signal
from pathlib import Path

import pytest
import torch

from mgc import checkpoint
from mgc.cli import main

NO_LOGGER = "--trainer.logger=false"


@pytest.fixture
def fit(tones: Path) -> list[str]:
    """A fit of three epochs of five batches, with dropout and random clips."""
    return [
        *("fit", "--data", "gtzan", f"--data.root={tones}", "--data.sample_rate=8000"),
        *("--data.clip_seconds=1", "--data.batch_size=32", "--trainer.accelerator=cpu"),
        *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
        *("--model", "vgg_tagger", "--model.channels=4", "--model.lr=0.01", "--model.dropout=0.2"),
        "--trainer.max_epochs=3",
    ]


def folder(name: str) -> str:
    return f"--trainer.default_root_dir={name}"


def last(name: str) -> Path:
    return Path(name, "checkpoints", "last.ckpt")


def kill(**where: object) -> list[str]:
    return [
        "--trainer.callbacks+=interrupting.Kill",
        *(f"--trainer.callbacks.{key}={value}" for key, value in where.items()),
    ]


def stops(words: list[str], code: int) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == code


def assert_equal_states(one: Path, other: Path) -> None:
    """Weights, optimizer and schedulers are equal to the bit."""
    expected, found = checkpoint.read(one), checkpoint.read(other)
    assert expected["global_step"] == found["global_step"]
    assert expected["lr_schedulers"] == found["lr_schedulers"]
    for name, weight in expected["state_dict"].items():
        assert torch.equal(weight, found["state_dict"][name]), name
    moments, others = (c["optimizer_states"][0]["state"] for c in (expected, found))
    for number, state in moments.items():
        assert torch.equal(state["exp_avg"], others[number]["exp_avg"])


PLACES = {
    "in the middle": {"epoch": 1, "batch": 2},
    "in the first epoch": {"epoch": 0, "batch": 0},
    "before the last batch": {"epoch": 1, "batch": 3},
    "at the last batch": {"epoch": 1, "batch": 4},
    "while validating": {"epoch": 1, "batch": 0, "hook": "validation"},
    "between epochs": {"epoch": 1, "batch": 0, "hook": "epoch_end"},
}


def test_a_fit_stopped_anywhere_ends_like_an_unbroken_one(
    fit: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A scheduler that follows a metric, and the mean loss over an epoch, have states of their own.
    fit = [
        *(*fit, NO_LOGGER, "--optimizer=Adam", "--optimizer.lr=0.01"),
        *("--lr_scheduler=ReduceLROnPlateau", "--lr_scheduler.monitor=val/loss"),
        *("--lr_scheduler.patience=0", "--lr_scheduler.threshold=0.5"),
    ]
    main([*fit, folder("unbroken")])
    for place, where in PLACES.items():
        stops([*fit, folder(place), *kill(**where)], 128 + signal.SIGTERM)
        assert "Stopped by SIGTERM" in capsys.readouterr().out
        main([*fit, folder(place), f"--ckpt_path={last(place)}"])
        assert_equal_states(last("unbroken"), last(place))
