"""Files that belong together."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


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
