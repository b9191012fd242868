"""Opens HDF5 files of others for reading."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import h5py


@contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open a file for reading, even if another program holds a lock on it.

    Raises:
        OSError: If it cannot be read. Describe it with :func:`describe_hdf5_error`.
    """
    # Network disks keep locks of programs that have ended, and some support none.
    with h5py.File(path, "r", locking=False) as file:
        yield file


def describe_hdf5_error(error: Exception) -> str:
    """Return why a file cannot be read, without its name."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read ({os.strerror(error.errno)})"
    return "not a readable HDF5 file"
