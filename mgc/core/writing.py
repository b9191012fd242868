"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give another name to write to, which takes the place of the file when all is written.

    Args:
        path: File to write; its folder is made.

    Yields:
        A name beside it for the time being.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Machines that share a disk may have equal process numbers, so these would not do.
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def all_or_nothing(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a folder to write to, whose files move to their place when all are written.

    Args:
        folder: Where the files go; it is made.

    Yields:
        A folder within it for the time being.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place, prefix=".partial-") as partial:
        yield Path(partial)
        for path in Path(partial).iterdir():
            path.replace(place / path.name)
