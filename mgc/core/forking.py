"""Makes it safe to fork a process that has used OpenMP."""

import ctypes
import functools
import os

from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

#: Argument of OpenMP's ``omp_pause_resource_all``.
OMP_PAUSE_SOFT = 1


@functools.cache  # hooks cannot be removed
def release_threads_before_forks() -> None:
    """Stop the idle threads of GNU OpenMP before each fork of this process.

    A forked process inherits the thread pool without its threads, and its first parallel operation
    waits for them forever. ``ddp_fork``, ``ddp_notebook`` and data loaders fork. Parent and child
    create new threads on demand.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_release_threads)


def _release_threads() -> None:
    """Stop the idle OpenMP threads of the calling thread, in every loaded copy of GNU OpenMP.

    The OpenMP libraries of LLVM and Intel handle forks themselves.
    """
    for library in threadpool_info():
        if library["prefix"] == "libgomp":
            ctypes.CDLL(library["filepath"]).omp_pause_resource_all(OMP_PAUSE_SOFT)
