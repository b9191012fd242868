"""SIGTERM and Ctrl-C stop commands cleanly."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mgc import cli
from mgc.cli import main
from mgc.core.stopping import Signals, Stopped
from mgc.core.writing import replacing
from mgc.transfer.extraction import PartWriter
from mgc.transfer.feature_table import FeatureTable


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], int]:
    """Function that runs a callable as a command and returns the exit code."""

    def run(command: Callable[[], None]) -> int:
        monkeypatch.setattr(cli, "run", lambda argv: command())
        with pytest.raises(SystemExit) as stop:
            main(["list"])
        assert isinstance(stop.value.code, int)
        return stop.value.code

    return run


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_stopped_command_leaves_no_partial_file(
    signum: signal.Signals,
    runs: Callable[[Callable[[], None]], int],
    workdir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def write() -> None:
        with replacing("table.csv") as partial:
            partial.write_text("half")
            send(signum)

    before = signal.getsignal(signum)
    assert runs(write) == 128 + signum
    assert capsys.readouterr().err == f"mgc: stopped by {signum.name}.\n"
    assert not list(workdir.iterdir())
    assert signal.getsignal(signum) is before


def test_full_disk_is_reported_in_one_line(
    runs: Callable[[Callable[[], None]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    def write() -> None:
        with open("/dev/full", "w") as file:
            file.write("anything")

    assert runs(write) == 2
    line = "mgc: error: A file cannot be written: No space left on device.\n"
    assert capsys.readouterr().err == line


def test_dead_worker_process_is_reported_in_one_line(
    runs: Callable[[Callable[[], None]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        with ProcessPoolExecutor(1) as pool:
            list(pool.map(os._exit, [1]))

    assert runs(work) == 2
    assert capsys.readouterr().err.startswith("mgc: error: A worker process died, ")


def test_deferred_signal_is_recorded_and_a_later_ctrl_c_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signals = Signals()
    with signals.handled():
        signals.deferred = True
        send(signal.SIGINT)
        send(signal.SIGINT)  # the same Ctrl-C, passed on by a parent
        assert signals.received == signal.SIGINT
        monkeypatch.setattr("mgc.core.stopping.SAME_SIGNAL_SECONDS", -1.0)
        with pytest.raises(Stopped):
            send(signal.SIGINT)


def test_stopped_extraction_resumes(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(9):
        soundfile.write(workdir / f"{number}.wav", np.full(8000, 0.1 * number), 8000)
    words = ["extract", str(workdir), "--model=mfcc", "--sample_rate=8000", "--clip_seconds=1"]
    words += ["--accelerator=cpu", "--out=out.parquet", "--batch_size=2"]
    write = PartWriter._write

    def write_and_stop(self: PartWriter, number: int, rows: dict[str, np.ndarray]) -> None:
        write(self, number, rows)
        send(signal.SIGTERM)

    with monkeypatch.context() as context:
        context.setattr(PartWriter, "_write", write_and_stop)
        with pytest.raises(SystemExit) as stop:
            main(words)
    assert stop.value.code == 128 + signal.SIGTERM
    assert "stopped by SIGTERM. Run the same command again to resume." in capsys.readouterr().err
    assert len(list(workdir.glob("out.parquet.parts/part-*.npz"))) == 1
    main(words)
    assert "1 of 3 parts are already computed" in capsys.readouterr().out
    assert len(FeatureTable.load("out.parquet").tracks) == 9


def test_a_signal_during_an_import_waits_for_its_end(
    runs: Callable[[Callable[[], None]], int], workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules of PyTorch abort the process if a signal handler raises while they are imported."""
    Path("sends_sigterm.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.2)\nend = 1\n"
    )
    monkeypatch.syspath_prepend(str(workdir))

    def command() -> None:
        importlib.import_module("sends_sigterm")
        time.sleep(5)

    assert runs(command) == 128 + signal.SIGTERM
    assert sys.modules.pop("sends_sigterm").end == 1


def test_a_dead_worker_is_reported_even_if_python_ignores_the_first_report() -> None:
    """PyTorch raises its error in a SIGCHLD handler, which may run in a destructor."""
    script = """
import time
from mgc.core.stopping import signals

class Batch:
    def __del__(self):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

with signals.handled(exits=True):
    Batch()
    try:
        time.sleep(20)
    except RuntimeError as error:
        print("raised", error)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == "raised DataLoader worker (pid 7) is killed by signal: Killed.\n"
    assert run.stderr == ""
