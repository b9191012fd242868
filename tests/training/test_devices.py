"""Training on several devices: two processes on the CPU."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mgc import checkpoint
from mgc.cli import main
from mgc.data import base
from mgc.evaluation.results import Results
from mgc.experiments.fold_run import Fold, run_fold

TWO = ["--trainer.strategy=ddp_fork", "--trainer.devices=2"]
LAUNCH = Path(__file__).parents[2] / "scripts" / "launch"


@pytest.fixture
def fit(tones: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A fit of a model without batch normalization, whose clips are independent."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "third_party")
    return [
        *("fit", "--data", "gtzan", f"--data.root={tones}", "--data.sample_rate=8000"),
        *("--data.clip_seconds=1", "--trainer.accelerator=cpu", "--trainer.max_epochs=2"),
        *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
        *("--model=mgc_tiny.TinyNet", "--trainer.logger=false"),
    ]


def last(name: str) -> Path:
    return Path(name, "checkpoints", "last.ckpt")


def test_two_devices_train_the_same_weights_as_one(
    fit: list[str],
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Equal batches give equal weights up to rounding, and each file is opened once."""
    probe_all = base.audio.probe_all

    def noted(paths: object) -> object:
        with Path("probed").open("a") as file:
            file.write(f"{os.getpid()}\n")
        return probe_all(paths)  # type: ignore[arg-type]

    monkeypatch.setattr(base.audio, "probe_all", noted)
    main([*fit, "--data.batch_size=16", "--trainer.default_root_dir=one"])
    main([*fit, "--data.batch_size=8", "--trainer.default_root_dir=two", *TWO])
    out = capfd.readouterr().out
    assert "Batch: 16 per device x 1 device = 16 clips per step; learning rate 0.03 as given" in out
    assert out.count("8 per device x 2 devices = 16 clips per step; learning rate 0.03") == 1
    assert len(Path("probed").read_text().split()) == 2
    one, two = (checkpoint.read(last(name))["state_dict"] for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(weight, two[name], rtol=1e-5, atol=1e-6)


def test_a_fold_of_a_cross_validation_on_two_devices(
    fit: list[str], tones: Path, workdir: Path
) -> None:
    config = {
        "model": {"class_path": "mgc_tiny.TinyNet"},
        "data": {
            "class_path": "gtzan",
            "init_args": {"root": str(tones), "sample_rate": 8000, "clip_seconds": 1.0},
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
    }
    Path("tiny.yaml").write_text(yaml.safe_dump(config))
    overrides = (*TWO, "--trainer.logger=false", "--data.clip_seconds=0.7", "--data.batch_size=7")
    fold = Fold(str(workdir / "fold"), "tiny.yaml", overrides, 0, 1, 5, "group")
    run_fold(fold)
    assert fold.finished
    for stage in ("validate", "test"):
        results = Results.load(Path(fold.folder, stage))
        # With an odd number of batches, some clips are evaluated twice but counted once.
        assert not results.clips.duplicated(["track", "clip"]).any()
        assert len(results.tracks) == 20


@pytest.mark.parametrize(("strategy", "killed"), [("ddp", True), ("ddp_spawn", False)])
def test_processes_that_lightning_starts(
    strategy: str, killed: bool, fit: list[str], workdir: Path
) -> None:
    """A run ends well, or in one line if one of its processes is killed."""
    Path("own_model.py").write_text(
        "import os, signal\n"
        "from mgc_tiny import TinyNet\n"
        "class Net(TinyNet):\n"
        "    def training_step(self, batch, batch_idx):\n"
        "        if self.global_rank == 1 and batch_idx == 1 and 'KILLED' in os.environ:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().training_step(batch, batch_idx)\n"
    )
    folders = [str(Path(__file__).parents[1] / "third_party"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    options = ["--data.batch_size=8", "--trainer.max_epochs=1", "--trainer.devices=2"]
    words = [*fit[:-2], *options, "--model=own_model.Net", "--trainer.logger=false"]
    run = subprocess.run(
        [sys.executable, "-m", "mgc", *words, f"--trainer.strategy={strategy}"],
        env=environment | ({"KILLED": "1"} if killed else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )
    assert run.returncode == (2 if killed else 0), run.stdout
    assert "Traceback" not in run.stdout
    assert run.stdout.count("mgc: error:") == killed
    assert len(list(Path().glob("runs/mgc/*/checkpoints/best.ckpt"))) == (not killed)


def test_the_script_for_torchrun(fit: list[str], workdir: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1] / "third_party"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DEVICES": "2",
        "RUN_ID": "job",
    }
    words = [str(LAUNCH / "torchrun.sh"), *fit[1:-1], "--data.batch_size=8"]
    del environment["WANDB_MODE"]
    command = ["bash", *words, "--trainer.max_epochs=1"]
    run = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    assert checkpoint.read(last("runs/mgc/job"))["global_step"] == 10
    (folder,) = Path("runs/wandb").glob("offline-run-*")
    # Only one of the two processes sets the mode and reports it.
    assert run.stdout.count("Not logged in to W&B") == 1
    assert run.stdout.count(f"Upload with: wandb login && wandb sync {folder}\n") == 1


def test_the_requeue_signal_of_slurm(
    fit: list[str], workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning's own handler would save in mid-step."""
    for name, value in {"NTASKS": 1, "JOB_ID": 7, "PROCID": 0, "LOCALID": 0, "NODEID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    kill = ["--trainer.callbacks+=interrupting.Kill", "--trainer.callbacks.epoch=0"]
    kill += ["--trainer.callbacks.batch=1", f"--trainer.callbacks.signum={int(signal.SIGUSR1)}"]
    with pytest.raises(SystemExit) as stop:
        main([*fit, *kill, "--data.batch_size=16", "--trainer.default_root_dir=run"])
    assert stop.value.code == 138
    assert checkpoint.read(last("run"))["global_step"] == 2


def test_fast_kernels_change_no_names(fit: list[str], workdir: Path) -> None:
    words = [*fit[:-2], "--model=vgg_tagger", "--model.channels=2", "--trainer.logger=false"]
    words += ["--trainer.callbacks+=mgc.training.kernels.FastKernels"]
    words += ["--trainer.callbacks.backend=eager"]
    main([*words, "--trainer.max_epochs=1", "--trainer.default_root_dir=run"])
    model = checkpoint.load(last("run"))
    assert not any("_orig_mod" in name for name in checkpoint.read(last("run"))["state_dict"])
    main(["validate", "--config=run/config.yaml", f"--ckpt_path={last('run')}"])
    assert model(torch.zeros(1, 8000)).shape == (1, 10)
