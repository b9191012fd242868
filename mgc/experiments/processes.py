"""Runs the jobs of an experiment in child processes, several in parallel.

Each job has its own memory, random state, W&B run and, if needed, GPU.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from mgc.core.child_processes import SAFE_PATH
from mgc.core.locking import locked
from mgc.core.stopping import signals
from mgc.errors import MgcError

log = logging.getLogger(__name__)

#: Output of a job's process, in the job's folder.
LOG = "log.txt"

#: Begins the lines of a log that the parent process shows.
WARNING = "mgc: warning: "


class Job(Protocol):
    """A training run of an experiment."""

    @property
    def folder(self) -> str:
        """Output folder."""

    @property
    def name(self) -> str:
        """Name for messages."""

    @property
    def finished(self) -> bool:
        """Whether the results are complete."""


J = TypeVar("J", bound=Job)


def run_jobs(
    jobs: Sequence[J],
    folder: Path,
    max_parallel: int | None,
    start: Callable[[J, dict[str, str], tuple[int, ...]], "subprocess.Popen[bytes]"],
    on_exit: Callable[[J], bool],
) -> None:
    """Run all unfinished jobs of an experiment.

    Args:
        jobs: All jobs of the experiment.
        folder: Folder of the experiment, locked while jobs run.
        max_parallel: Number of jobs to run in parallel; by default the number of GPUs, or 1.
        start: Starts the process of a job. Takes the job, environment variables, and the file
            descriptors of :func:`mgc.core.locking.locked`, which the process must inherit.
        on_exit: Called when the process of a job exits. Returns whether to start more jobs.

    Raises:
        MgcError: If another process uses the folder.
    """
    devices = visible_devices()
    max_parallel = max(1, len(devices)) if max_parallel is None else max_parallel
    if max_parallel < 1:
        raise MgcError(f"--jobs {max_parallel}: must be at least 1.")
    pending = [job for job in jobs if not job.finished]
    free = [_environment(devices, max_parallel, slot) for slot in range(max_parallel)]
    running: dict[subprocess.Popen[bytes], tuple[J, dict[str, str]]] = {}
    start_more = True
    shown: set[str] = set()
    with locked(folder) as lock, signals.running_fits():
        try:
            while running or (pending and start_more):
                while pending and free and start_more:
                    job, environment = pending.pop(0), free.pop(0)
                    running[start(job, environment, lock)] = (job, environment)
                    log.info("%s: started, log in %s/%s", job.name, job.folder, LOG)
                time.sleep(0.1)
                for process in [p for p in running if p.poll() is not None]:
                    job, environment = running.pop(process)
                    free.append(environment)
                    for text in read_warnings(job):
                        if text not in shown:
                            log.warning("%s: %s", job.name, text)
                            shown.add(text)
                    start_more = on_exit(job) and start_more
        finally:
            # Stop all jobs after an error or a signal.
            for process in running:
                process.terminate()
            for process in running:
                process.wait()


def start_module(
    module: str, folder: str, environment: dict[str, str], lock: tuple[int, ...]
) -> "subprocess.Popen[bytes]":
    """Start ``python -m MODULE FOLDER`` and write its output to a log file in the folder.

    Files in the working folder cannot shadow the standard library or a package.
    Modules there can still be imported in training
    (see :func:`mgc.core.child_processes.safe_imports`).

    Args:
        module: Module to run.
        folder: Folder of the job.
        environment: Environment variables of the process.
        lock: File descriptors that the process inherits.
    """
    with Path(folder, LOG).open("ab") as output:
        return subprocess.Popen(  # noqa: S603 # this interpreter and a path of ours
            [sys.executable, "-m", module, folder],
            env=environment | {SAFE_PATH: "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            pass_fds=lock,
        )


def visible_devices() -> list[str]:
    """Return the GPUs of this process, in the format of ``CUDA_VISIBLE_DEVICES``."""
    import torch

    count = torch.cuda.device_count()
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return names.split(",")[:count] if names else [str(number) for number in range(count)]


def read_warnings(job: Job) -> list[str]:
    """Return the warnings of mgc in a job's log."""
    lines = _read_log(job)
    return [line.removeprefix(WARNING) for line in lines if line.startswith(WARNING)]


def read_error(job: Job) -> str:
    """Return the last error message in a job's log, or its last line."""
    lines = _read_log(job)
    errors = [line for line in lines if line.startswith("mgc: error:")]
    return (errors or lines or ["no output"])[-1].removeprefix("mgc: error:").strip()


def _read_log(job: Job) -> list[str]:
    text = Path(job.folder, LOG).read_text(errors="replace", encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _environment(devices: list[str], max_parallel: int, slot: int) -> dict[str, str]:
    """Return the environment variables for jobs in a parallel slot."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}  # the log's encoding
    if max_parallel > 1:
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (cores or 1) // max_parallel)))
    return environment
