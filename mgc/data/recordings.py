"""Finds tracks with the same recording: other codecs, levels, rates and channels, and cuts."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from mgc.core.file_cache import FileCache, stamp_file
from mgc.data import audio
from mgc.data.identical import MAX_LISTED_PAIRS, merge_groups
from mgc.data.landmarks import HOP, RATE, find_landmarks
from mgc.data.verification import Problem

log = logging.getLogger(__name__)

#: Copies have at least so many landmarks in common, and this share of those of the track with
#: fewer (measured by ``benchmarks/recordings.py``). Unrelated recordings of music have at most 6;
#: notes of one synthesizer at regular times up to 14, or 2.2 %.
MIN_LANDMARKS, MIN_SHARE = 10, 0.025

#: Landmarks that occur more often in a data set are ignored. They are no evidence, but take time.
MAX_OCCURRENCES = 1000

#: Difference in start that is mentioned, in seconds.
MIN_OFFSET = 0.1

#: Files that are decoded between two writes to the cache.
BATCH = 64

_CACHE = FileCache("landmarks.sqlite", "landmarks_1", {"landmarks": "BLOB"}, kind=True)


def find_copies(
    catalogue: pd.DataFrame, channel: int | None = None, show_progress: bool = False
) -> pd.DataFrame:
    """Find tracks with the same recording.

    The landmarks of a file are computed once and cached. Files that cannot be read have no copies.

    Args:
        catalogue: ``path`` of each track, and ``begin`` and ``end`` in seconds of excerpts.
        channel: Index of the channel that is used; the mean of all channels by default.
        show_progress: Whether to show the progress of new files.

    Returns:
        A row per pair: ``first`` and ``second``, rows of the catalogue; ``landmarks`` that they
        have in common; ``share`` of the landmarks of the one with fewer; ``offset``: time in the
        second at which the first begins, in seconds.
    """
    paths = catalogue["path"].unique()
    known = dict(zip(paths, read_landmarks(paths, channel, show_progress), strict=True))
    landmarks = [known[path] for path in catalogue["path"]]
    if {"begin", "end"} <= set(catalogue):
        limits = (catalogue[["begin", "end"]].to_numpy(float) * RATE / HOP).tolist()
        landmarks = [
            marks[:, (marks[1] >= begin) & (marks[1] < end)]
            for marks, (begin, end) in zip(landmarks, limits, strict=True)
        ]
    return match_landmarks(landmarks)


def group_copies(catalogue: pd.DataFrame, copies: pd.DataFrame) -> pd.DataFrame:
    """Merge the groups of tracks with the same recording, so that they share a split.

    Args:
        catalogue: ``track`` and ``group`` of each track.
        copies: Pairs (see :func:`find_copies`).
    """
    if len(copies):
        log.info("%d pairs of tracks have the same recording and share a split.", len(copies))
    return merge_groups(catalogue, copies["first"].to_numpy(), copies["second"].to_numpy())


def describe_copies(catalogue: pd.DataFrame, copies: pd.DataFrame) -> list[Problem]:
    """Describe pairs of tracks with the same recording.

    Args:
        catalogue: ``track``, ``split``, and perhaps ``label`` of each track.
        copies: Pairs (see :func:`find_copies`).

    Returns:
        A problem per pair: ``divided`` if the tracks are in different splits, else ``copy``.
    """
    problems = []
    for first, second, landmarks, _, offset in copies.itertuples(index=False, name=None):
        one, two = (catalogue.iloc[row].to_dict() for row in (first, second))
        detail = f"the same recording as {one['track']}"
        if abs(offset) >= MIN_OFFSET:
            detail += f", starting {abs(offset):.1f} s {'later' if offset < 0 else 'earlier'}"
        divided = "" not in (one["split"], two["split"]) and one["split"] != two["split"]
        for column, said in (("label", "labelled"), ("split", "in")):
            values = [str(track.get(column)) for track in (one, two)]
            if values[0] != values[1]:
                detail += f", {said} {values[1] or 'no split'} and {values[0] or 'no split'}"
        detail += f" ({landmarks} landmarks in common)"
        problems.append(Problem("divided" if divided else "copy", str(two["track"]), detail))
    return problems


def warn_about_divided_copies(catalogue: pd.DataFrame, copies: pd.DataFrame) -> None:
    """Log the pairs of tracks with the same recording that are in different splits."""
    problems = describe_copies(catalogue, copies)
    found = [f"{p.name}: {p.detail}" for p in problems if p.kind == "divided"]
    if found:
        log.warning(
            "%d tracks have their recording in another split, too, so scores are too high: %s%s",
            len(found),
            "; ".join(found[:MAX_LISTED_PAIRS]),
            " ..." if len(found) > MAX_LISTED_PAIRS else "",
        )


def read_landmarks(
    paths: Sequence[str] | np.ndarray, channel: int | None = None, show_progress: bool = False
) -> list[np.ndarray]:
    """Return the landmarks of files, from the cache if possible (see :func:`find_landmarks`).

    Files that cannot be read have none.
    """
    kind = "mean" if channel is None else f"channel {channel}"
    stamps = [stamp_file(path) for path in paths]
    known = _CACHE.load([(*stamp, kind) for stamp in stamps if stamp])
    found = {
        path: np.frombuffer(known[(*stamp, kind)][0], np.uint32).reshape(2, -1)
        for path, stamp in zip(paths, stamps, strict=True)
        if stamp and (*stamp, kind) in known
    }
    new = [(path, stamp) for path, stamp in zip(paths, stamps, strict=True) if path not in found]

    def read(path: str) -> np.ndarray:
        try:
            return find_landmarks(audio.read(path, RATE, channel=channel))
        except audio.AudioError:
            return np.zeros((2, 0), np.uint32)

    # Threads suffice: decoders and NumPy release the interpreter lock.
    pool = Parallel(n_jobs=-1, prefer="threads", return_as="generator")
    unsaved = []
    reads = tqdm(
        zip(new, pool(delayed(read)(path) for path, _ in new), strict=True),
        "Landmarks",
        len(new),
        unit="file",
        disable=not (show_progress and new),
    )
    for (path, stamp), landmarks in reads:
        found[path] = landmarks
        if stamp:
            unsaved.append((*stamp, kind, landmarks.tobytes()))
        if len(unsaved) == BATCH:
            _CACHE.save(unsaved)
            unsaved = []
    _CACHE.save(unsaved)
    return [found[path] for path in paths]


def match_landmarks(landmarks: Sequence[np.ndarray]) -> pd.DataFrame:
    """Find pairs of recordings with many landmarks at the same distance in time.

    The time grows with the number of recordings, not of pairs: each recording looks up its
    landmarks in an index.

    Args:
        landmarks: Landmarks of each recording (see :func:`mgc.data.landmarks.find_landmarks`).

    Returns:
        As :func:`find_copies`.
    """
    sizes = np.array([marks.shape[1] for marks in landmarks], np.int64)
    owners = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    hashes, frames = np.concatenate([np.zeros((2, 0), np.uint32), *landmarks], axis=1)
    order = np.argsort(hashes, kind="stable")
    hashes, owners, frames = hashes[order], owners[order], frames[order].astype(np.int64)
    found = [
        row
        for first, marks in enumerate(landmarks)
        for row in _match(first, marks, hashes, owners, frames, sizes)
    ]
    pairs = pd.DataFrame(found, columns=["first", "second", "landmarks", "share", "offset"])
    return pairs.astype({"first": int, "second": int, "landmarks": int})


def _match(
    first: int,
    marks: np.ndarray,
    hashes: np.ndarray,
    owners: np.ndarray,
    frames: np.ndarray,
    sizes: np.ndarray,
) -> Iterator[tuple[int, int, int, float, float]]:
    """Match a recording with all later ones in the index."""
    start = np.searchsorted(hashes, marks[0], "left")
    count = np.searchsorted(hashes, marks[0], "right") - start
    rare = count <= MAX_OCCURRENCES
    start, count, time = start[rare], count[rare], marks[1][rare].astype(np.int64)
    # The index rows of all landmarks: start, start + 1, ... of each.
    rows = np.arange(count.sum()) + np.repeat(start - np.cumsum(count) + count, count)
    other, shift = owners[rows], frames[rows] - np.repeat(time, count)
    needed = np.maximum(MIN_LANDMARKS, MIN_SHARE * np.minimum(sizes, sizes[first]))
    common = np.bincount(other, minlength=len(sizes))
    likely = (common >= needed)[other] & (other > first)
    if not likely.any():
        return
    # A copy has most landmarks at one shift, up to a frame, in which rounding differs.
    span = 1 + int(shift[likely].max() - shift[likely].min()) + 2
    keys, counts = np.unique(
        other[likely] * np.int64(span) + shift[likely] - shift[likely].min() + 1, return_counts=True
    )
    near = counts.copy()
    for step in (-1, 1):
        place = np.minimum(np.searchsorted(keys, keys + step), len(keys) - 1)
        near += np.where(keys[place] == keys + step, counts[place], 0)
    best = pd.DataFrame({"other": keys // span, "near": near, "shift": keys % span})
    best = best.sort_values("near", kind="stable").drop_duplicates("other", keep="last")
    for second, landmarks, shifted in best.itertuples(index=False):
        if landmarks >= needed[second]:
            share = landmarks / min(sizes[first], sizes[second])
            offset = (shifted - 1 + shift[likely].min()) * HOP / RATE
            yield first, second, landmarks, share, offset
