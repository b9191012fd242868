"""Checks of a checkpoint before fit, validate, test and predict use it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mgc import checkpoint
from mgc.cli import main
from mgc.data.loading import ResumableLoader
from mgc.errors import MgcError

RUN = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


@pytest.fixture
def settings(tones: Path) -> list[str]:
    return [
        *("--data", "gtzan", f"--data.root={tones}", "--data.sample_rate=8000"),
        *("--data.clip_seconds=1", "--trainer.accelerator=cpu", "--trainer.logger=false"),
        *("--model=vgg_tagger", "--model.channels=4", "--model.n_mels=48", *RUN),
    ]


@pytest.fixture
def last(settings: list[str], workdir: Path) -> Path:
    """Return the checkpoint of a fit of one epoch."""
    main(["fit", *settings, "--trainer.max_epochs=1"])
    (path,) = workdir.glob("runs/mgc/*/checkpoints/last.ckpt")
    return path


def error(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Return the error line of a command that exits with code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("mgc: error: ")
    return line


def test_the_model_computes_the_same_as_in_training(
    settings: list[str], last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ckpt = f"--ckpt_path={last}"
    for command in ("test", "validate", "predict", "fit"):
        line = error(capsys, command, *settings, ckpt, "--model.n_mels=40", "--model.hop_length=99")
        assert "was trained with hop_length=256, n_mels=48" in line or (
            "was trained with n_mels=48, hop_length=256" in line
        )
    # These only change the training.
    main(["test", *settings, ckpt, "--model.lr=0.5", "--model.dropout=0.5"])
    main(["fit", *settings, ckpt, "--model.lr=0.5", "--trainer.max_epochs=2"])


def test_only_weights_cannot_be_resumed(
    settings: list[str], last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = checkpoint.read(last)
    for name in ("optimizer_states", "lr_schedulers", "loops", "callbacks"):
        del content[name]
    torch.save(content, "weights.ckpt")
    line = error(capsys, "fit", *settings, "--ckpt_path=weights.ckpt", "--trainer.max_epochs=2")
    assert "weights.ckpt contains only weights" in line
    main(["test", *settings, "--ckpt_path=weights.ckpt"])


def put(content: dict[str, Any], path: list[Any], value: Any) -> None:
    """Set an entry of nested dictionaries and lists."""
    *parents, key = path
    place: Any = content
    for parent in parents:
        place = place[parent]
    place[key] = value


def checkpoint_callback(content: dict[str, Any]) -> str:
    return next(name for name in content["callbacks"] if name.startswith("ModelCheckpoint"))


Change = Callable[[dict[str, Any]], tuple[list[Any], Any]]

CHANGES: dict[str, Change] = {
    "no loop": lambda c: (["loops", "fit_loop"], None),
    "progress": lambda c: (["loops", "fit_loop", "epoch_progress", "current", "ready"], "two"),
    "best score": lambda c: (["callbacks", checkpoint_callback(c), "best_model_score"], "good"),
    "record": lambda c: (["callbacks", "RecordRun", "best"], {"value": "good"}),
    "optimizer": lambda c: (["optimizer_states", 0], {}),
    "learning rate": lambda c: (["optimizer_states", 0, "param_groups", 0, "lr"], float("nan")),
    "betas": lambda c: (["optimizer_states", 0, "param_groups", 0, "betas"], [0.9]),
    "moment": lambda c: (["optimizer_states", 0, "state", 0, "exp_avg"], torch.zeros(2)),
    "no moment": lambda c: (["optimizer_states", 0, "state", 0], {"step": torch.tensor(1.0)}),
}


def test_the_state_of_the_training_is_checked(
    settings: list[str], last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, change in CHANGES.items():
        content = checkpoint.read(last)
        put(content, *change(content))
        torch.save(content, "other.ckpt")
        line = error(capsys, "fit", *settings, "--ckpt_path=other.ckpt", "--trainer.max_epochs=2")
        assert line.startswith("mgc: error: other.ckpt: "), name


def test_the_position_in_the_training_data_is_checked() -> None:
    loader = ResumableLoader([0, 1, 2])
    loader.load_state_dict({})
    for state in ("second", {"epoch": 1}, {"epoch": -1}):
        with pytest.raises(MgcError, match="in the checkpoint"):
            loader.load_state_dict(state)
