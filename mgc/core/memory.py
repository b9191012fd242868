"""Keeps the C library from returning memory that the next operation needs."""

import ctypes
import functools

#: Parameters of glibc's ``mallopt``.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

#: Largest block that comes from the heap, glibc's own limit for its dynamic threshold.
LARGEST_BLOCK = 32 << 20

#: Freed memory that the process keeps.
KEPT_BYTES = 128 << 20


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
