"""Experiments of several fits: a process each, some at a time, ended together.

A process per fit leaves nothing behind for the next one (memory, random state, the W&B run), and
sees one device only.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import filelock

from mgc.errors import MgcError

#: What the process of a fit says, in its folder.
LOG = "log.txt"


class Job(Protocol):
    """A fit of an experiment."""

    @property
    def folder(self) -> str:
        """Where its results go."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def finished(self) -> bool:
        """Whether its results are there."""


P = TypeVar("P", bound=Job)


def run_jobs(
    parts: Sequence[P],
    folder: Path,
    jobs: int | None,
    start: Callable[[P, dict[str, str], tuple[int, ...]], "subprocess.Popen[bytes]"],
    ended: Callable[[P], bool],
) -> None:
    """Run all parts of an experiment that are not finished.

    Args:
        parts: The parts.
        folder: Folder of the experiment; no other process may be at it.
        jobs: Parts at a time; by default one per GPU, and one where there is none.
        start: Starts the process of a part, from its environment variables and the file descriptors
            of :func:`locked`, which the process keeps open while it lives.
        ended: Called when a process has ended; tells whether to start others.

    Raises:
        MgcError: If another process is at it.
    """
    devices = visible_devices()
    jobs = max(1, len(devices)) if jobs is None else jobs
    if jobs < 1:
        raise MgcError(f"--jobs {jobs}: at least 1 is needed.")
    pending = [part for part in parts if not part.finished]
    free = [_environment(devices, jobs, job) for job in range(jobs)]
    running: dict[subprocess.Popen[bytes], tuple[P, dict[str, str]]] = {}
    go_on = True
    with locked(folder) as lock:
        try:
            while running or (pending and go_on):
                while pending and free and go_on:
                    part, environment = pending.pop(0), free.pop(0)
                    running[start(part, environment, lock)] = (part, environment)
                    print(f"{part.name}: started, log in {part.folder}/{LOG}", flush=True)
                time.sleep(0.1)
                for process in [p for p in running if p.poll() is not None]:
                    part, environment = running.pop(process)
                    free.append(environment)
                    go_on = ended(part) and go_on
        finally:
            # Told to stop, this process must not leave its parts running.
            for process in running:
                process.terminate()
            for process in running:
                process.wait()


def start_module(
    module: str, folder: str, environment: dict[str, str], lock: tuple[int, ...]
) -> "subprocess.Popen[bytes]":
    """Start a Python module on a folder.

    Args:
        module: Name of the module.
        folder: Its only argument; what it prints goes to a log there.
        environment: Environment variables of the process.
        lock: File descriptors that the process keeps open while it lives.

    Returns:
        The process.
    """
    with Path(folder, LOG).open("ab") as log:
        return subprocess.Popen(  # noqa: S603 # this interpreter, with a path of ours
            [sys.executable, "-m", module, folder],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            pass_fds=lock,
        )


def visible_devices() -> list[str]:
    """Name the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch

    count = torch.cuda.device_count()
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return names.split(",")[:count] if names else [str(number) for number in range(count)]


def read_error(part: Job) -> str:
    """Find the error that a part ended with.

    Args:
        part: A part that has failed.

    Returns:
        The error, or the last line of its log.
    """
    log = Path(part.folder, LOG).read_text(errors="replace", encoding="utf-8")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("mgc: error:")]
    return (errors or lines or ["no word"])[-1].removeprefix("mgc: error:").strip()


@contextmanager
def locked(folder: Path) -> Iterator[tuple[int, ...]]:
    """Keep a folder to this process and the parts that it starts, which may outlive it.

    The system releases the lock when the last process that has the file open ends. Windows does not
    pass the file on: there the lock ends with this process.

    Args:
        folder: Folder of an experiment.

    Yields:
        File descriptors that the parts keep open; none on Windows.

    Raises:
        MgcError: If another process is at it, or the folder's file system has no locks.
    """
    with (folder / ".lock").open("wb") as file:
        try:
            free = filelock.lock_descriptor(file.fileno(), blocking=False)
        except OSError as error:
            raise MgcError(
                f"{folder}: cannot be locked ({error.strerror}). Choose an --out on a disk that "
                "supports file locks."
            ) from error
        if not free:
            raise MgcError(
                f"{folder}: another process is at it. Wait for it, or choose another --out."
            )
        yield (file.fileno(),) if os.name == "posix" else ()


def _environment(devices: list[str], jobs: int, job: int) -> dict[str, str]:
    """Environment of the parts that run in one of the places."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}  # the log's encoding
    if jobs > 1 and devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[job % len(devices)]
    if jobs > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (cores or 1) // jobs)))
    return environment
