"""Reads text, JSON and settings of runs; damaged files raise one-line errors."""

import errno
import json
import os
import stat
from os import PathLike
from typing import Any

from mgc.errors import MgcError


def read_text(path: str | PathLike[str], max_chars: int | None = None) -> str:
    """Read a text file in UTF-8, at most ``max_chars`` characters.

    Raises:
        MgcError: If it is missing, no regular file such as a named pipe, not readable or not text.
    """
    try:
        # Opening a named pipe would wait for a writer.
        with open(path, encoding="utf-8", opener=_open_regular) as file:
            return file.read(max_chars)
    except OSError as error:
        raise MgcError(f"{path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise MgcError(f"{path} is not a text file: {error}.") from error


def check_regular(path: str | PathLike[str]) -> None:
    """Check that a path is not something else than a file, before a library waits for a pipe.

    Raises:
        MgcError: If it is.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise MgcError(f"{path} is not a regular file.")


def read_json_object(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a JSON file that contains an object.

    Raises:
        MgcError: If it cannot be read or contains something else.
    """
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise MgcError(f"{path} is damaged: it is not valid JSON ({error}).") from error
    if not isinstance(value, dict):
        raise MgcError(f"{path} is damaged: it is not a JSON object.")
    return value


def _open_regular(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is a folder" if folder else "is not a regular file", path)
    return descriptor
