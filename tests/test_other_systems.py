"""Test mgc without POSIX modules and signals, other text encodings and Windows paths."""

import os
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest

from mgc.commands import doctor
from mgc.data import audio
from mgc.data.folder import Folder

#: Removes what Python lacks on Windows. Lightning and torch check the name of the system, so names
#: that they use on Linux remain.
WITHOUT_POSIX = """
import multiprocessing, os, signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGHUP", "SIGALRM", "SIGQUIT", "SIGPIPE"):
    delattr(signal, name)
for name in ("fork", "forkpty", "killpg", "getuid", "geteuid", "getpgid", "setsid", "mkfifo"):
    delattr(os, name)
for name in ("sched_getaffinity", "statvfs", "getloadavg"):
    if hasattr(os, name):
        delattr(os, name)
multiprocessing.set_start_method("spawn")
multiprocessing.get_all_start_methods = lambda: ["spawn"]
kept = (signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGINT, signal.SIGSEGV, signal.SIGTERM)
signal.valid_signals = lambda: set(kept)
from mgc.cli import main
if "fit" in sys.argv:
    from lightning.pytorch.trainer.connectors import signal_connector
    from torch.utils.data._utils import signal_handling
    signal_connector._IS_WINDOWS = signal_handling.IS_WINDOWS = True
main(sys.argv[1:])
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="removes POSIX names")


def run(*words: str, code: str = WITHOUT_POSIX) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"WANDB_MODE": "disabled"}
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env=environment,
        text=True,
        encoding="utf-8",
        capture_output=True,
        timeout=300,
    )


@pytest.mark.parametrize("words", [["--help"], ["list"], ["classify", "--help"]])
def test_commands_start_without_posix(words: list[str]) -> None:
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "classify" in done.stdout or "vgg_tagger" in done.stdout


def test_fit_without_posix(tones: Path, workdir: Path) -> None:
    words = ["--model=vgg_tagger", "--data=gtzan", f"--data.root={tones}", "--trainer.max_epochs=1"]
    words += ["--data.sample_rate=8000", "--data.clip_seconds=1", "--trainer.logger=false"]
    words += [
        "--data.num_workers=1",
        "--trainer.accelerator=cpu",
        "--trainer.limit_train_batches=1",
        "--trainer.limit_val_batches=1",
        "--model.channels=4",
    ]
    done = run("fit", *words)
    assert done.returncode == 0, done.stderr
    assert list(workdir.glob("runs/**/best.ckpt"))


def test_without_locks_outputs_are_written_with_a_warning(workdir: Path) -> None:
    use = """
from mgc.core.locking import locked
from pathlib import Path
with report_user_errors([]), locked(Path("experiment")):
    print("locked")
"""
    Path("experiment").mkdir()
    start, _, _ = WITHOUT_POSIX.partition("from mgc.cli import main")
    done = run(code=f"{start}from mgc.cli import report_user_errors{use}")
    assert (done.returncode, done.stdout) == (0, "locked\n"), done.stderr
    assert "experiment: the file system has no locks." in done.stderr


def test_forking_is_refused_without_fork(
    tones: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mgc.cli import main

    monkeypatch.setattr("torch.multiprocessing.get_all_start_methods", lambda: ["spawn"])
    words = ["--model=vgg_tagger", "--data=gtzan", f"--data.root={tones}"]
    words += ["--trainer.accelerator=cpu", "--trainer.strategy=ddp_fork", "--trainer.devices=2"]
    with pytest.raises(SystemExit) as stop:
        main(["fit", *words, "--trainer.logger=false"])
    assert stop.value.code == 2
    assert "process forking is not supported" in capsys.readouterr().err


def test_doctor_reports_missing_system_features(monkeypatch: pytest.MonkeyPatch) -> None:
    found = doctor.Findings()
    doctor._check_system(found)
    assert not found.notes
    monkeypatch.setattr(doctor, "REQUEUE", ())
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    doctor._check_system(found)
    assert ["SIGUSR1" in found.notes[0], "ddp_fork" in found.notes[1]] == [True, True]


def test_characters_that_the_terminal_cannot_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    code = "import mgc.cli; mgc.cli.overview = lambda: 'mélodie.wav'; mgc.cli.main([])"
    assert run(code=code).stdout == "m\\xe9lodie.wav\n"


def test_track_names_are_the_same_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Folder(root="music", labels=["jazz"])
    monkeypatch.setattr(data, "root", PureWindowsPath("C:\\music"))
    monkeypatch.setattr(audio, "find_files", lambda folder: [folder / "album" / "1.wav"])
    catalogue = data.read_catalogue()
    assert catalogue["track"].tolist() == ["jazz/album/1.wav"]
    assert catalogue["path"].tolist() == ["C:\\music\\jazz\\album\\1.wav"]
