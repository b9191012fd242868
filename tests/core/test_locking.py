"""Only one process writes an output, and a killed process leaves nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from locked_elsewhere import locked_elsewhere

from mgc.core import locking
from mgc.core.locking import locked
from mgc.core.writing import all_or_nothing, replacing
from mgc.errors import MgcError


@pytest.mark.parametrize("output", ["table.csv", ".", f"{'n' * 250}.csv"])
def test_an_output_in_use_is_refused(output: str, workdir: Path) -> None:
    path = workdir / output
    with (
        locked_elsewhere(path),
        pytest.raises(MgcError, match="is in use by another mgc process"),
        locked(path),
    ):
        pass
    with locked(path), locked(path):  # by the same thread, as a command and the library do
        pass
    assert not list(workdir.iterdir())


def test_links_to_an_output_have_one_lock(workdir: Path) -> None:
    (workdir / "link.csv").symlink_to("table.csv")
    (workdir / "folder").symlink_to(".", target_is_directory=True)
    for other in (Path("link.csv"), Path("folder/table.csv"), workdir / "folder" / "link.csv"):
        with locked_elsewhere(Path("table.csv")), pytest.raises(MgcError), locked(other):
            pass


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_launched_processes_leave_the_lock_to_rank_zero(
    variable: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked_elsewhere(Path("table.csv")):
        monkeypatch.setenv(variable, "1")
        with locked(Path("table.csv")) as inherited:
            assert not inherited
        monkeypatch.setenv(variable, "0")
        with pytest.raises(MgcError), locked(Path("table.csv")):
            pass


def test_file_systems_without_locks_are_used_with_a_warning(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(descriptor: int, *, blocking: bool) -> bool:
        raise OSError("not supported")

    monkeypatch.setattr("filelock.lock_descriptor", fail)
    with locked(Path("table.csv")), replacing("table.csv") as partial:
        partial.write_text("1")
    assert [path.name for path in workdir.iterdir()] == ["table.csv"]
    assert "Do not run two commands with the same output" in caplog.text


WRITE = """
import sys, time
from mgc.core.locking import locked
from mgc.core.writing import all_or_nothing, replacing
from pathlib import Path
with locked(Path("table.csv")), replacing("table.csv") as partial, all_or_nothing(".") as folder:
    partial.write_text("half")
    (folder / "a.csv").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def killed(workdir: Path) -> Callable[[], None]:
    """Function that starts a process that writes, and kills it when called."""
    process = subprocess.Popen([sys.executable, "-c", WRITE], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "writing\n"

    def kill() -> None:
        process.kill()
        process.wait()
        process.stdout.close()

    return kill


def test_the_next_process_removes_what_a_killed_one_left(
    killed: Callable[[], None], workdir: Path
) -> None:
    with pytest.raises(MgcError), locked(Path("table.csv")):
        pass
    locking.remove_abandoned(workdir, ".partial")
    half = sorted(path.name for path in workdir.iterdir())
    assert sum(name.endswith(".partial") for name in half) == 2  # it is still running
    killed()
    with locked(Path("table.csv")):
        locking.remove_abandoned(workdir, ".partial")
    assert not list(workdir.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_worker_does_not_keep_a_lock(workdir: Path) -> None:
    with locked(Path("table.csv")):
        worker = os.fork()
        if not worker:
            signal.pause()
    try:
        with locked(Path("table.csv")):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def test_other_hidden_files_are_kept(workdir: Path) -> None:
    names = [".archive.zip.partial", ".songs.lock", f".{'0' * 32}.partial"]
    for name in names:
        Path(name).touch()
    locking.remove_abandoned(workdir, ".partial")
    assert sorted(path.name for path in workdir.iterdir()) == sorted(names)
    with all_or_nothing("."):
        pass
    assert sorted(path.name for path in workdir.iterdir()) == sorted(names)
