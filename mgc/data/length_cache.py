"""Caches the lengths of audio files on disk, so that large data sets load quickly."""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

# Increase the number in the table's name when its columns change.
_CREATE = """CREATE TABLE IF NOT EXISTS lengths_1 (path TEXT PRIMARY KEY, size INTEGER,
    time INTEGER, samples INTEGER, rate INTEGER, channels INTEGER)"""
_SELECT = "SELECT samples, rate, channels FROM lengths_1 WHERE path=? AND size=? AND time=?"
_INSERT = "INSERT OR REPLACE INTO lengths_1 VALUES (?, ?, ?, ?, ?, ?)"

#: Maximum time to wait for a lock held by another process, in seconds.
LOCK_TIMEOUT = 30.0

FileKey = tuple[str, int, int]
FileLength = tuple[int, int, int]


def cache_file() -> Path:
    """Return the path of the cache, in ``MGC_CACHE_DIR`` or else in the user's cache folder."""
    folder = os.environ.get("MGC_CACHE_DIR")
    if folder:
        return Path(folder, "lengths.sqlite")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base, "mgc", "lengths.sqlite")


def file_key(path: str) -> FileKey | None:
    """Return the absolute path, size and modification time of a file; None if it is missing."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return os.path.abspath(path), status.st_size, status.st_mtime_ns


def load_lengths(keys: Sequence[FileKey]) -> dict[FileKey, FileLength]:
    """Return the samples, sample rate and number of channels of each cached file, by key."""
    try:
        with closing(_connect()) as cache:
            rows = [(key, cache.execute(_SELECT, key).fetchone()) for key in keys]
    except (sqlite3.Error, OSError):
        return {}  # the cache is optional
    return {key: row for key, row in rows if row}


def save_lengths(rows: Iterable[tuple[FileKey, FileLength]]) -> None:
    """Add files to the cache. Does nothing if it cannot be written."""
    try:
        with closing(_connect()) as cache, cache:
            cache.executemany(_INSERT, [(*key, *value) for key, value in rows])
    except (sqlite3.Error, OSError):
        pass


def _connect() -> sqlite3.Connection:
    path = cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT)
    try:
        connection.execute(_CREATE)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
