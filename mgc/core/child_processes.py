"""Runs work in several processes, and ends processes."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker, util
from pathlib import Path
from typing import Any

from mgc.errors import MgcError

#: Processes of multiprocessing and joblib that remove shared memory and files after this process.
TRACKER = "resource_tracker"

#: Maximum length of a folder for sockets, whose paths have at most 103 characters on macOS and 107
#: on Linux. File names take up to 35.
MAX_SOCKET_FOLDER_CHARS = 65

#: Environment variable that keeps the working folder out of the import path of Python processes.
SAFE_PATH = "PYTHONSAFEPATH"


def run_parallel(
    tasks: Iterable[tuple[Any, ...]], jobs: int, ordered: bool = True
) -> Iterator[Any]:
    """Yield the results of ``joblib.delayed`` calls as they finish, or in order.

    Ctrl-C in a terminal interrupts this process only, which then ends the others.
    """
    from joblib import Parallel

    kind = "generator" if ordered else "generator_unordered"
    if jobs != 1 and hasattr(signal, "pthread_sigmask"):
        # Starting it with the first child process would let signals through again.
        resource_tracker.ensure_running()
    with uninterrupted_children():
        results = Parallel(jobs, return_as=kind)(tasks)
    yield from results


def count_jobs(jobs: int) -> int:
    """Return a number of processes: ``jobs``, at most one per core, which -1 means.

    Raises:
        MgcError: If it is 0 or less than -1.
    """
    from joblib import cpu_count

    if jobs < 1 and jobs != -1:
        raise MgcError(f"--jobs {jobs}: must be at least 1, or -1 for one per core.")
    return cpu_count() if jobs == -1 else min(jobs, max(2, cpu_count()))


@contextmanager
def uninterrupted_children() -> Iterator[None]:
    """Make processes that this thread starts ignore Ctrl-C. It reaches this process afterwards.

    Files of the working folder shadow nothing in them (see :func:`safe_imports`).

    Raises:
        MgcError: If the path of the folder for temporary files is too long for sockets.
    """
    _shorten_socket_paths()
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        with _safe_environment():
            yield
        return
    # Child processes inherit it, from their first instruction on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _safe_environment():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def safe_imports() -> Iterator[None]:
    """Find modules of the working folder after all others, here and in child processes.

    Plugins there can be imported, but a file such as ``random.py`` shadows no other module.

    Raises:
        MgcError: If the working folder was removed, or the path of the folder for temporary files
            is too long for sockets.
    """
    try:
        folder = os.getcwd()
    except FileNotFoundError as error:
        raise MgcError("The working folder was removed. Change to another folder.") from error
    added = folder not in sys.path
    if added:
        sys.path.append(folder)
    _shorten_socket_paths()
    try:
        with _safe_environment():
            yield
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)


def _shorten_socket_paths() -> None:
    """Let multiprocessing create its sockets in a short folder, as Python 3.14 does.

    With a long ``TMPDIR``, workers could not send batches.
    """
    given = tempfile.gettempdir()
    if len(given) <= MAX_SOCKET_FOLDER_CHARS:
        return
    short = next((path for path in ("/tmp", "/var/tmp") if os.access(path, os.W_OK)), None)  # noqa: S108 # multiprocessing creates a private folder there
    if short is None:
        raise MgcError(
            f"TMPDIR={given} is too long for the sockets of child processes. Set it to a path of "
            f"at most {MAX_SOCKET_FOLDER_CHARS} characters."
        )
    before, tempfile.tempdir = tempfile.tempdir, short
    try:
        util.get_temp_dir()  # is kept until the process exits, and child processes inherit it
    finally:
        tempfile.tempdir = before


@contextmanager
def _safe_environment() -> Iterator[None]:
    """Start Python processes with the effect of ``-P``, however they are started.

    Packages that this process imported are found before the working folder, too.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    added = _folders_outside_path()
    end = sys.path.index(os.getcwd()) if os.getcwd() in sys.path else len(sys.path)
    sys.path[end:end] = added  # child processes of multiprocessing and joblib copy it
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)
        if before is None:
            os.environ.pop(SAFE_PATH, None)
        else:
            os.environ[SAFE_PATH] = before


def _folders_outside_path() -> list[str]:
    """Return the folders of imported packages that are not on the import path.

    Finders of editable installations find these packages, but only after the import path.
    """
    found: dict[str, None] = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if "." in name or spec is None or not spec.has_location or spec.name != name:
            continue
        if spec.submodule_search_locations and os.path.basename(spec.origin or "") == "__init__.py":
            found[str(Path(spec.origin).parents[1])] = None
    return [folder for folder in found if folder not in sys.path]


def kill_descendants() -> None:
    """Kill the child processes of this process and theirs, except those that clean up."""
    children: dict[int, list[int]] = {}
    for process, parent in _list_processes():
        children.setdefault(parent, []).append(process)
    found = [os.getpid()]
    for process in found:
        found += children.get(process, [])
    for process in found[1:]:
        if not _is_tracker(process):
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)


def _list_processes() -> list[tuple[int, int]]:
    """Return the ids of all processes and of their parents."""
    if Path("/proc/self/stat").is_file():
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                # The second field, the name, may contain spaces.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                found.append((int(folder.name), int(fields[1])))
        return found
    try:
        listed = subprocess.run(  # fixed words
            ["ps", "-A", "-o", "pid=,ppid="],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=1,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [(int(a), int(b)) for a, b in (line.split() for line in listed.splitlines())]


def _is_tracker(process: int) -> bool:
    try:
        return TRACKER.encode() in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
