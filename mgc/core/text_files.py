"""Reads text, JSON and settings of runs; damaged files raise one-line errors."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

from mgc.errors import MgcError


def read_text(path: str | PathLike[str], max_chars: int | None = None) -> str:
    """Read a text file in UTF-8, at most ``max_chars`` characters.

    Raises:
        MgcError: If it is missing, no regular file such as a named pipe, not readable or not text.
    """
    check_regular(path)
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(max_chars)
    except OSError as error:
        raise MgcError(f"{path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise MgcError(f"{path} is not a text file: {error}.") from error


def check_regular(path: str | PathLike[str]) -> None:
    """Check that an existing path is a file. Opening a named pipe would wait for a writer.

    Raises:
        MgcError: If it is something else.
    """
    if Path(path).exists() and not Path(path).is_file():
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
