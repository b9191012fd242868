"""Limits of memory, and reuse of freed memory."""

import ctypes
import functools
import os
from pathlib import Path

#: Parameters of glibc's ``mallopt``.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

#: Largest block that comes from the heap, glibc's own limit for its dynamic threshold.
LARGEST_BLOCK = 32 << 20

#: Freed memory that the process keeps.
KEPT_BYTES = 128 << 20

#: Files with the limit of a container, of both versions of control groups.
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@functools.cache  # once per process; child processes inherit it by fork
def reuse_freed_memory() -> None:
    """Reuse the memory of freed arrays instead of returning it to the system.

    glibc returns free memory at the end of the heap. Whether arrays of a few 100 KB, such as the
    samples of a clip, lie there is a matter of luck. Getting the memory again costs up to twice the
    time of reading a clip (``benchmarks/decoding.py``). Other C libraries have no such function.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def memory_limit() -> int:
    """Return the bytes of memory that this process may use: the machine's, or its container's."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CGROUP_LIMITS:
        try:
            limits.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # another system, or "max"
    return min(limits)
