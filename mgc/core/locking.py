"""Locks outputs, so that two processes never write the same files.

Locks are those of the kernel: they end with the process, even if it is killed. A lock file exists
only while it is in use, or after its process was killed; the next process removes it.
"""

import hashlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from mgc.errors import MgcError

log = logging.getLogger(__name__)

#: Longest name of a lock file in bytes, below the limit of all common file systems.
MAX_NAME_BYTES = 140

#: Environment variables with the rank of a process that a launcher started.
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", "NODE_RANK")

#: Locks held by this process: path of the lock file, thread, and descriptor (see :func:`locked`).
_held: dict[tuple[str, int], int] = {}

#: Names of the lock files of :func:`locked_name`.
_LOCKED_NAME = re.compile(r"\.[0-9a-f]{32}\.lock")

#: Descriptors that forked processes close. Otherwise a data loader's worker would hold the lock for
#: seconds after this process was killed.
_descriptors: set[int] = set()


@contextmanager
def locked(
    output: str | os.PathLike[str], advice: str = ", or choose another --out"
) -> Iterator[tuple[int, ...]]:
    """Hold the exclusive lock of an output while it is written.

    A thread may lock the same output again. Launched processes of a run do not lock: the process
    of rank zero does. If the file system has no locks, a warning is logged.

    Args:
        output: File, or folder if it is one. Its parent must exist.
        advice: End of the message if the output is in use: what to do other than to wait.

    Yields:
        File descriptors for child processes to inherit, so that they keep the lock; none if there
        is nothing to inherit. On Windows, processes do not inherit locks.

    Raises:
        MgcError: If another process holds the lock.
    """
    if not is_rank_zero():
        yield ()
        return
    file = _lock_file(Path(output))
    key = os.fspath(file), threading.get_ident()
    if key in _held:
        yield (_held[key],) if os.name == "posix" else ()
        return
    descriptor, acquired = _open_locked(file)
    if acquired is False:
        raise MgcError(f"{output} is in use by another mgc process. Wait for it{advice}.")
    if acquired is None:
        log.warning(
            "%s: the file system has no locks. Do not run two commands with the same output.",
            output,
        )
    _held[key] = descriptor
    try:
        yield (descriptor,) if os.name == "posix" else ()
    finally:
        del _held[key]
        _remove(file, descriptor)


@contextmanager
def locked_name(folder: Path) -> Iterator[str]:
    """Yield a new name in a folder; :func:`remove_abandoned` spares it until the process ends.

    A lock file of that name exists meanwhile. The file of that name itself is not locked, because
    locks are mandatory on some file systems.
    """
    while True:
        # Process ids are not unique among machines that share a disk.
        name = f".{uuid4().hex}"
        file = folder / f"{name}.lock"
        descriptor, acquired = _open_locked(file)
        if acquired is not False:
            break
    try:
        yield name
    finally:
        _remove(file, descriptor)


def remove_abandoned(folder: Path, suffix: str) -> None:
    """Remove files and folders NAME + ``suffix`` of :func:`locked_name` in killed processes."""
    with os.scandir(folder) as entries:
        locks = [Path(entry.path) for entry in entries if _LOCKED_NAME.fullmatch(entry.name)]
    for file in locks:
        with suppress(OSError):
            descriptor = os.open(file, os.O_RDWR)
            if _try_lock(descriptor):
                left = file.with_suffix(suffix)
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink(missing_ok=True)
                file.unlink(missing_ok=True)
            os.close(descriptor)


def is_rank_zero() -> bool:
    """Return whether this process is the first of those that a launcher started, or was not."""
    ranks = (os.environ.get(name) for name in RANK_VARIABLES)
    return next((rank for rank in ranks if rank and rank != "0"), "0") == "0"


def _lock_file(output: Path) -> Path:
    """Return the lock file, which is the same for all paths to an output."""
    output = Path(os.path.realpath(output))
    if output.is_dir():
        return output / ".lock"
    name = output.name
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return output.with_name(f".{name}.lock")


def _open_locked(file: Path) -> tuple[int, bool | None]:
    """Create and lock a lock file.

    Returns:
        The descriptor, -1 if another process holds the lock, and whether it was locked: None if
        the file system has no locks.
    """
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            # Created by another user.
            descriptor = os.open(file, os.O_RDONLY)
        acquired = _try_lock(descriptor)
        # Another process may have removed the file before this one locked it.
        if acquired is None or (acquired and _is_same_file(file, descriptor)):
            _descriptors.add(descriptor)
            return descriptor, acquired
        os.close(descriptor)
        if acquired is False:
            return -1, False


def _remove(file: Path, descriptor: int) -> None:
    """Remove a lock file, and release its lock."""
    # While it is locked: no other process may lock a file that is removed afterwards.
    with suppress(OSError):  # Windows removes no open file
        file.unlink()
    _descriptors.discard(descriptor)
    os.close(descriptor)


def _try_lock(descriptor: int) -> bool | None:
    """Lock an open file unless another process has locked it; None if that is not possible."""
    import filelock  # not installed for serving

    try:
        return filelock.lock_descriptor(descriptor, blocking=False)
    except OSError:
        return None


def _is_same_file(path: Path, descriptor: int) -> bool:
    """Return whether a path still refers to an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _close_descriptors() -> None:
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_descriptors)
