"""Keeps the lengths of audio files between runs, so that large data sets start without delay."""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

# The number changes with the meaning of the table.
_CREATE = """CREATE TABLE IF NOT EXISTS lengths_1 (path TEXT PRIMARY KEY, size INTEGER,
    time INTEGER, samples INTEGER, rate INTEGER, channels INTEGER)"""
_SELECT = "SELECT samples, rate, channels FROM lengths_1 WHERE path=? AND size=? AND time=?"
_INSERT = "INSERT OR REPLACE INTO lengths_1 VALUES (?, ?, ?, ?, ?, ?)"

#: Seconds to wait for another process that writes.
TIMEOUT = 30.0

Key = tuple[str, int, int]
Value = tuple[int, int, int]


def cache_file() -> Path:
    """Return the file: in ``MGC_CACHE_DIR``, else in the user's cache folder."""
    folder = os.environ.get("MGC_CACHE_DIR")
    if folder:
        return Path(folder, "lengths.sqlite")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base, "mgc", "lengths.sqlite")


def file_key(path: str) -> Key | None:
    """Return what identifies a version of a file: its absolute path, size and time of change."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return os.path.abspath(path), status.st_size, status.st_mtime_ns


def load_lengths(keys: Sequence[Key]) -> dict[Key, Value]:
    """Return the known ones: number of samples, sample rate and number of channels by key."""
    try:
        with closing(_connect()) as cache:
            rows = [(key, cache.execute(_SELECT, key).fetchone()) for key in keys]
    except (sqlite3.Error, OSError):
        return {}  # the cache only saves time
    return {key: row for key, row in rows if row}


def save_lengths(rows: Iterable[tuple[Key, Value]]) -> None:
    """Add files. Does nothing if the cache cannot be written."""
    try:
        with closing(_connect()) as cache, cache:
            cache.executemany(_INSERT, [(*key, *value) for key, value in rows])
    except (sqlite3.Error, OSError):
        pass


def _connect() -> sqlite3.Connection:
    path = cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=TIMEOUT)
    try:
        connection.execute(_CREATE)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
