"""Caches the lengths of audio files on disk, so that large data sets load quickly."""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from mgc.core.fingerprint import LOCK_TIMEOUT, FileStamp, cache_folder

# Increase the number in the table's name when its columns change.
_CREATE = """CREATE TABLE IF NOT EXISTS lengths_2 (path TEXT PRIMARY KEY, size INTEGER,
    modified INTEGER, changed INTEGER, samples INTEGER, rate INTEGER,
    channels INTEGER)"""
_SELECT = """SELECT samples, rate, channels FROM lengths_2
    WHERE path=? AND size=? AND modified=? AND changed=?"""
_INSERT = "INSERT OR REPLACE INTO lengths_2 VALUES (?, ?, ?, ?, ?, ?, ?)"

FileLength = tuple[int, int, int]


def cache_file() -> Path:
    """Return the path of the cache."""
    return cache_folder() / "lengths.sqlite"


def load_lengths(keys: Sequence[FileStamp]) -> dict[FileStamp, FileLength]:
    """Return the samples, sample rate and number of channels of each cached file, by key."""
    try:
        with closing(_connect()) as cache:
            rows = [(key, cache.execute(_SELECT, key).fetchone()) for key in keys]
    except (sqlite3.Error, OSError):
        return {}  # the cache is optional
    return {key: row for key, row in rows if row}


def save_lengths(rows: Iterable[tuple[FileStamp, FileLength]]) -> None:
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
