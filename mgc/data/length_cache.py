"""Caches the lengths of audio files on disk, so that large data sets load quickly."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from mgc.core.file_cache import FileCache, FileStamp

_CACHE = FileCache(
    "lengths.sqlite", "lengths_2", dict.fromkeys(("samples", "rate", "channels"), "INTEGER")
)

FileLength = tuple[int, int, int]


def cache_file() -> Path:
    """Return the path of the cache."""
    return _CACHE.path


def load_lengths(keys: Sequence[FileStamp]) -> dict[FileStamp, FileLength]:
    """Return the samples, sample rate and number of channels of each cached file, by key."""
    return _CACHE.load(keys)


def save_lengths(rows: Iterable[tuple[FileStamp, FileLength]]) -> None:
    """Add files to the cache. Does nothing if it cannot be written."""
    _CACHE.save((*key, *value) for key, value in rows)
