"""Writes files and folders atomically."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` on success. Creates the parent folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Process ids are not unique among machines that share a disk.
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def all_or_nothing(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder whose files move to ``folder`` on success. Creates ``folder``."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target, prefix=".partial-") as partial:
        yield Path(partial)
        for path in Path(partial).iterdir():
            path.replace(target / path.name)
