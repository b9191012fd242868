"""Checks a copy of a data set for missing, broken or duplicate files."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mgc.data import audio
from mgc.data.audio import AudioError

#: Wraps a sized iterable to show progress; ``iter`` shows none.
Progress = Callable[[Sequence[Any]], Iterable[Any]]

#: Number of bytes at the start, middle and end of a file that :func:`sample_hash` covers.
SAMPLE_BYTES = 16384

#: Audio with a lower peak is silent. In 16-bit audio, smaller values are rounded to zero.
SILENCE = 2.0**-15


@dataclass(frozen=True)
class Problem:
    """A problem with a copy of a data set.

    Attributes:
        kind: ``missing``, ``broken``, ``length``, ``silent``, ``duplicate``, ``unexpected`` or
            ``checksum``.
        name: Track or file.
        detail: Description of the problem.
    """

    kind: str
    name: str
    detail: str


def verify_audio(
    catalogue: pd.DataFrame,
    expected_tracks: set[str],
    expected_seconds: tuple[float, float],
    stray_files: Sequence[Path],
    progress: Progress = iter,
    channel: int | None = None,
) -> list[Problem]:
    """Decode every file and compare the copy with a complete one.

    Args:
        catalogue: ``track``, ``path`` and ``group`` of each track.
        expected_tracks: Tracks of a complete copy; empty if unknown.
        expected_seconds: Minimum and maximum length of a file, in seconds.
        stray_files: Files that do not belong to the data set.
        progress: Wraps a sized iterable to show progress.
        channel: Index of the channel that is used; the mean of all channels by default.
    """
    problems = [
        Problem("missing", track, "not in the folder")
        for track in sorted(expected_tracks - set(catalogue["track"]))
    ]
    problems += [
        Problem("unexpected", str(path), "not part of the data set") for path in stray_files
    ]
    files = catalogue.drop_duplicates("path")
    contents: dict[str, list[int]] = defaultdict(list)
    with ThreadPoolExecutor() as pool:
        checks = [
            pool.submit(_check_file, path, expected_seconds, channel)
            for path in files["path"].tolist()
        ]
        for row, check in enumerate(progress(checks)):
            digest, found = check.result()
            track = str(files["track"].iloc[row])
            problems += [Problem(kind, track, detail) for kind, detail in found]
            if digest:
                contents[digest].append(row)
    for rows in contents.values():
        twins = files.iloc[rows]
        # Known duplicates share a group, so they never cross a split.
        known = " (known)" if twins["group"].nunique() == 1 else ""
        for row in rows[1:]:
            first, second = (str(files["track"].iloc[r]) for r in (rows[0], row))
            problems.append(Problem("duplicate", second, f"the same file as {first}{known}"))
    return problems


def verify_counts(catalogue: pd.DataFrame, expected: dict[str, dict[Any, int]]) -> list[Problem]:
    """Compare the number of files per value of a catalogue column with that of a complete copy."""
    files = catalogue.drop_duplicates("path")
    problems = []
    for column, counts in expected.items():
        found = files[column].value_counts()
        for value, count in counts.items():
            listed = int(found.get(value, 0))
            if listed != count:
                kind = "missing" if listed < count else "unexpected"
                problems.append(Problem(kind, f"{column} {value}", f"{listed} of {count} files"))
    return problems


def verify_checksums(catalogue: pd.DataFrame, checksums: dict[str, str]) -> list[Problem]:
    """Compare files with their MD5 checksums, by track. Missing files are skipped."""
    return [
        Problem("checksum", track, f"{path} differs from the original")
        for track, path in zip(catalogue["track"], catalogue["path"], strict=True)
        if track in checksums and os.path.exists(path) and whole_hash(path) != checksums[track]
    ]


def _check_file(
    path: str, seconds: tuple[float, float], channel: int | None
) -> tuple[str, list[tuple[str, str]]]:
    """Return the hash of a readable file and its problems."""
    if not os.path.exists(path):
        return "", [("missing", f"{path}: listed in the catalogue, but not in the folder")]
    try:
        info = audio.probe(path)
        frames, peak = 0, 0.0
        for block in audio.blocks(path):
            frames += len(block)
            mono = block.mean(axis=1) if channel is None else block[:, channel : channel + 1]
            peak = max(peak, float(np.abs(mono).max(initial=0)))
    except AudioError as error:
        return "", [("broken", str(error))]
    found = []
    if frames != info.frames:
        found.append(("broken", f"{path}: only {frames} of {info.frames} samples can be decoded"))
    if not seconds[0] <= info.seconds <= seconds[1]:
        found.append(("length", f"{path}: {info.seconds:.2f} s"))
    if peak < SILENCE:
        subject = "the mean of its channels is" if info.channels > 1 and channel is None else ""
        found.append(("silent", f"{path}: {subject} silent".replace("  ", " ")))
    return whole_hash(path), found


def sample_hash(path: str) -> str:
    """Return a hash of the start, middle and end of a file, which is fast for files of any size."""
    digest = hashlib.blake2b(digest_size=16)
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        for start in (0, size // 2, max(0, size - SAMPLE_BYTES)):
            file.seek(start)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def whole_hash(path: str) -> str:
    """Return the MD5 checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
