"""Caches values of files on disk. A value is valid while the file's stamp is the same."""

import os
import sqlite3
import stat
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

K = TypeVar("K", bound=tuple[Any, ...])

#: Maximum time to wait for a lock of a cache, in seconds.
LOCK_TIMEOUT = 30.0


class FileStamp(NamedTuple):
    """Absolute path, size and times of a file. They change with its content."""

    path: str
    size: int
    modified_ns: int
    changed_ns: int


def stamp_file(path: str | os.PathLike[str]) -> FileStamp | None:
    """Return the stamp of a regular file; None if it is missing or something else."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return FileStamp(os.path.abspath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def cache_folder() -> Path:
    """Return the folder of caches: ``MGC_CACHE_DIR``, or else in the user's cache folder."""
    folder = os.environ.get("MGC_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(folder) if folder else Path(base, "mgc")


class FileCache:
    """Table in an SQLite file in :func:`cache_folder`. Without it, everything works, but slowly.

    Args:
        file: Name of the SQLite file.
        table: Name of the table. It ends in a number: increase it when columns or values change.
        values: Columns of the value, with types.
        kind: Whether a key has a kind after the stamp. A file then has a value of each kind.
    """

    def __init__(self, file: str, table: str, values: dict[str, str], kind: bool = False) -> None:
        self.file = file
        kinds = ["kind"] if kind else []
        columns = ["path", "size", "modified", "changed", *kinds, *values]
        types = {"path": "TEXT", "kind": "TEXT"} | values
        declared = ", ".join(f"{name} {types.get(name, 'INTEGER')}" for name in columns)
        unique = ", ".join(["path", *kinds])
        where = " AND ".join(f"{name}=?" for name in columns[: 4 + len(kinds)])
        marks = ", ".join("?" for _ in columns)
        self._create = f"CREATE TABLE IF NOT EXISTS {table} ({declared}, PRIMARY KEY ({unique}))"
        self._select = f"SELECT {', '.join(values)} FROM {table} WHERE {where}"  # noqa: S608 # our own names
        self._insert = f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608

    @property
    def path(self) -> Path:
        """Path of the SQLite file."""
        return cache_folder() / self.file

    def load(self, keys: Sequence[K]) -> dict[K, Any]:
        """Return the cached values by key."""
        try:
            with closing(self._connect()) as cache:
                rows = [(key, cache.execute(self._select, key).fetchone()) for key in keys]
        except (sqlite3.Error, OSError):
            return {}
        return {key: row for key, row in rows if row}

    def save(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Store keys, each followed by its value. Does nothing if the file cannot be written."""
        rows = list(rows)
        if not rows:
            return
        try:
            with closing(self._connect()) as cache, cache:
                cache.executemany(self._insert, rows)
        except (sqlite3.Error, OSError):
            pass

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT)
        try:
            connection.execute(self._create)
        except sqlite3.Error:
            connection.close()
            raise
        return connection
