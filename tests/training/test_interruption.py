"""Interrupted fits end like uninterrupted ones and keep good checkpoints."""

import os
import resource
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import interrupting
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
        *("--model", "vgg_tagger", "--model.channels=2", "--model.lr=0.01", "--model.dropout=0.2"),
        *("--trainer.max_epochs=3", NO_LOGGER),
    ]


def folder(name: str) -> str:
    return f"--trainer.default_root_dir={name}"


def last(name: str) -> Path:
    return Path(name, "checkpoints", "last.ckpt")


def callback(name: str, **settings: object) -> list[str]:
    return [
        f"--trainer.callbacks+=interrupting.{name}",
        *(f"--trainer.callbacks.{key}={value}" for key, value in settings.items()),
    ]


def code(words: list[str]) -> object:
    with pytest.raises(SystemExit) as stop:
        main(words)
    return stop.value.code


def error(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line of a failed command."""
    assert code(words) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("mgc: error: ")]
    return line


def assert_equal_states(one: Path, other: Path) -> None:
    """Assert that weights, optimizer and schedulers are bit-identical."""
    expected, found = checkpoint.read(one), checkpoint.read(other)
    assert expected["global_step"] == found["global_step"]
    assert expected["lr_schedulers"] == found["lr_schedulers"]
    for name, weight in expected["state_dict"].items():
        assert torch.equal(weight, found["state_dict"][name]), name
    moments, others = (c["optimizer_states"][0]["state"] for c in (expected, found))
    for number, state in moments.items():
        assert torch.equal(state["exp_avg"], others[number]["exp_avg"])


#: Where the signal arrives, and the step of the resulting checkpoint.
PLACES: dict[str, tuple[dict[str, object], int]] = {
    "in the middle": ({"epoch": 1, "batch": 2}, 8),
    "at the last batch": ({"epoch": 1, "batch": 4}, 10),
    "while validating": ({"epoch": 1, "batch": 0, "hook": "validation"}, 10),
    "between epochs": ({"epoch": 1, "batch": 0, "hook": "epoch_end"}, 10),
}


def test_a_fit_stopped_anywhere_ends_like_an_uninterrupted_one(
    fit: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # ReduceLROnPlateau steps after Lightning has saved its own checkpoint.
    fit = [
        *(*fit, "--optimizer=Adam", "--optimizer.lr=0.01"),
        *("--lr_scheduler=ReduceLROnPlateau", "--lr_scheduler.monitor=val/loss"),
        *("--lr_scheduler.patience=0", "--lr_scheduler.threshold=0.5"),
    ]
    main([*fit, folder("unbroken")])
    assert checkpoint.read(last("unbroken"))["global_step"] == 15
    for place, (where, step) in PLACES.items():
        assert code([*fit, folder(place), *callback("Kill", **where)]) == 128 + signal.SIGTERM
        out = capsys.readouterr().out
        assert f"Stopped by SIGTERM {place if place == 'while validating' else ''}" in out
        config = f"{place}/config.yaml"
        command = ["mgc", "fit", "--config", str(config), "--ckpt_path", str(last(place))]
        assert f"Resume with: {shlex.join(command)}" in out
        assert checkpoint.read(last(place))["global_step"] == step
        main([*fit, folder(place), f"--ckpt_path={last(place)}"])
        assert_equal_states(last("unbroken"), last(place))


def test_with_workers_and_accumulated_gradients(fit: list[str], workdir: Path) -> None:
    fit = [*fit, "--data.num_workers=2", "--trainer.accumulate_grad_batches=2"]
    main([*fit, folder("unbroken")])
    kill = callback("Kill", epoch=1, batch=2, signum=int(signal.SIGINT))
    assert code([*fit, folder("broken"), *kill]) == 128 + signal.SIGINT
    # Not after the third batch: half of the accumulated gradients would be lost.
    progress = checkpoint.read(last("broken"))["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert progress["current"]["processed"] == 4
    main([*fit, folder("broken"), f"--ckpt_path={last('broken')}"])
    assert_equal_states(last("unbroken"), last("broken"))


def test_workers_do_not_block_a_stopped_program(fit: list[str], workdir: Path) -> None:
    """Workers ignore the signal by which Python ends remaining child processes."""
    kill = callback("Kill", epoch=0, batch=0, hook="validation")
    program = [sys.executable, "-m", "mgc", *fit, "--data.num_workers=1", *kill]
    folders = os.pathsep.join([str(Path(interrupting.__file__).parent), *sys.path])
    done = subprocess.run(
        program, env=os.environ | {"PYTHONPATH": folders}, capture_output=True, timeout=200
    )
    assert b"Stopped by SIGTERM while validating" in done.stdout
    assert done.returncode == 128 + signal.SIGTERM


def test_two_devices_stop_after_the_same_batch(fit: list[str], workdir: Path) -> None:
    """Only one of the two devices receives the signal."""
    fit = [*fit, "--trainer.strategy=ddp_fork", "--trainer.devices=2", "--data.batch_size=16"]
    main([*fit, folder("unbroken")])
    kill = callback("Kill", epoch=1, batch=1, rank=1)
    assert code([*fit, folder("broken"), *kill]) == 128 + signal.SIGTERM
    assert checkpoint.read(last("broken"))["global_step"] == 8
    main([*fit, folder("broken"), f"--ckpt_path={last('broken')}"])
    assert_equal_states(last("unbroken"), last("broken"))


def test_the_rest_of_an_epoch_needs_the_same_settings(
    fit: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code([*fit, folder("run"), *callback("Kill", epoch=0, batch=1)])
    capsys.readouterr()
    line = error(
        [*fit, folder("run"), f"--ckpt_path={last('run')}", "--data.batch_size=16"], capsys
    )
    assert "in the middle of an epoch with batch_size=32, but now batch_size=16" in line


def test_a_dead_worker_costs_no_epoch(
    fit: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = [*fit, "--data.num_workers=1"]
    line = error([*fit, folder("run"), *callback("KillWorker")], capsys)
    assert "A data loader worker died" in line
    assert "resume from last.ckpt" in line
    assert checkpoint.read(last("run"))["global_step"] >= 5


def test_nan_weights_do_not_replace_a_checkpoint(
    fit: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error([*fit, folder("run"), *callback("Spoil", batch=0)], capsys)
    assert "Loss is not finite at epoch 1, batch 0" in line
    assert "Try a lower learning rate (now 0.01)" in line
    assert f"The last good checkpoint is {last('run')}" in line
    # NaN after the last loss of an epoch: the weights are checked too.
    line = error([*fit, folder("end"), *callback("Spoil", batch=4, before=False)], capsys)
    assert "weights net." in line
    assert "not finite after 10 steps." in line
    for name in ("run", "end"):
        for ckpt in Path(name, "checkpoints").iterdir():
            weights = checkpoint.read(ckpt)["state_dict"].values()
            assert all(torch.isfinite(weight).all() for weight in weights)


def test_a_full_disk_keeps_the_last_good_checkpoint(
    fit: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = [*fit, folder("run")]
    main([*fit, "--trainer.max_epochs=1"])
    size = last("run").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))
    try:
        line = error([*fit, f"--ckpt_path={last('run')}"], capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert "cannot be written: File too large. The previous file is kept" in line
    assert {path.name for path in last("run").parent.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert checkpoint.read(last("run"))["global_step"] == 5


def test_an_unreachable_wandb_does_not_stop_a_fit(
    fit: list[str],
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    main([*fit[:-1], "--trainer.max_epochs=1"])
    assert "WANDB_MODE" not in os.environ
    out = capsys.readouterr().out
    assert "W&B at http://127.0.0.1:9 does not answer (" in out
    (run,) = Path("runs/wandb").glob("offline-run-*")
    assert f"(http://127.0.0.1:9 does not answer). Upload with: wandb sync {run}\n" in out
