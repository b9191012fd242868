"""Reads excerpts of audio files at any sample rate."""

import logging
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from mgc.core.file_cache import stamp_file
from mgc.data.decoding import (
    AV_SUFFIXES,
    MAX_SAMPLE,
    SUFFIXES,
    AudioError,
    Decoder,
    declared_samples,
    open_audio,
    printable,
)
from mgc.data.length_cache import load_lengths, save_lengths
from mgc.data.resampling import Resampling, get_resampler

__all__ = ["AV_SUFFIXES", "SUFFIXES", "AudioError"]

log = logging.getLogger(__name__)

#: Number of samples per block when reading whole files.
BLOCK = 1 << 20

#: Maximum term of the reduced ratio of two sample rates. The number of values in the resampling
#: filter is about the product of both terms, which takes 100 MB at this limit.
MAX_TERM = 5000


@dataclass(frozen=True)
class AudioInfo:
    """Length in samples per channel, sample rate in Hz and number of channels of a file."""

    frames: int
    sample_rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def find_files(
    folder: str | os.PathLike[str], suffixes: tuple[str, ...] = (*SUFFIXES, *AV_SUFFIXES)
) -> list[Path]:
    """Find the files in a folder and its sub-folders with one of some extensions, in any case.

    Paths are sorted. Hidden files and folders are skipped. Links are followed, but no folder is
    read twice. For a missing folder, the list is empty. Files whose names are not UTF-8 are logged
    and skipped, because tables, reports and terminals cannot represent these names. So are folders
    that cannot be read.
    """

    def report(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            log.warning("Skipped the folder %s: %s.", error.filename, error.strerror)

    found = []
    visited: set[tuple[int, int]] = set()
    for where, folders, names in os.walk(folder, onerror=report, followlinks=True):
        status = os.stat(where)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        # Sort, so that the same one of two links to a folder is always read.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.lower().endswith(suffixes) or name.startswith("."):
                continue
            path = Path(where, name)
            if printable(path) == str(path):
                found.append(path)
            else:
                log.warning(
                    "Skipped %s: the file name is not UTF-8. Rename the file.", printable(path)
                )
    return sorted(found)


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """Check a file by reading its header and its last samples, and return its length and format.

    This detects truncated files at about the cost of opening them. MP3 and Ogg files are read
    completely the first time, but not decoded. Files with float samples are decoded completely, to
    find samples that are not finite.

    Raises:
        AudioError: If the file is missing, unreadable, empty, truncated or not scaled.
    """
    with open_audio(path) as file:
        info = AudioInfo(file.frames, file.sample_rate, file.channels)
        if info.frames <= 0:
            raise AudioError(f"{path}: no audio in the file")
        declared = declared_samples(file)
        if declared > info.frames:
            raise AudioError(
                f"{path}: truncated, the header declares {declared / info.sample_rate:.1f} s but "
                f"the file has {info.seconds:.1f} s"
            )
        tail = min(info.frames, 1024)
        if len(_read(file, path, info.frames - tail, tail)) < tail:
            raise AudioError(f"{path}: truncated, the header declares {info.seconds:.1f} s")
        if file.floats:
            for start in range(0, info.frames, BLOCK):
                _read(file, path, start, BLOCK)
    return info


def blocks(path: str | os.PathLike[str]) -> Iterator[np.ndarray]:
    """Read a whole file in blocks of float32 samples of shape (samples, channels).

    Raises:
        AudioError: If the file is missing, broken or not scaled.
    """
    with open_audio(path) as file:
        for start in range(0, file.frames, BLOCK):
            yield _read(file, path, start, min(BLOCK, file.frames - start))


def probe_all(paths: Sequence[str] | np.ndarray) -> list[AudioInfo | AudioError]:
    """Probe many files in parallel. Returns the error for files that :func:`probe` rejects.

    Lengths are cached (see :mod:`mgc.data.length_cache`).
    """

    def probe_or_error(path: str) -> AudioInfo | AudioError:
        try:
            return probe(path)
        except AudioError as error:
            return error

    keys = [stamp_file(path) for path in paths]
    known = load_lengths([key for key in keys if key])
    new = [path for path, key in zip(paths, keys, strict=True) if key not in known]
    # Threads suffice: libsndfile releases the interpreter lock, and disk access dominates.
    with ThreadPoolExecutor(8) as pool:
        probed = dict(zip(new, pool.map(probe_or_error, new), strict=True))
    save_lengths(
        (key, (info.frames, info.sample_rate, info.channels))
        for path, key in zip(paths, keys, strict=True)
        if key and isinstance(info := probed.get(path), AudioInfo)
    )
    return [
        AudioInfo(*known[key]) if key in known else probed[path]
        for path, key in zip(paths, keys, strict=True)
    ]


def read(
    path: str | os.PathLike[str],
    sample_rate: int,
    start: int = 0,
    samples: int | None = None,
    channel: int | None = None,
    resampling: Resampling = "fast",
) -> np.ndarray:
    """Read an excerpt of a file as mono audio at the given sample rate.

    Up to rounding, the result equals the same excerpt of the resampled file.

    Args:
        path: Audio file of any format of :data:`SUFFIXES`; of :data:`AV_SUFFIXES` with PyAV.
        sample_rate: Sample rate of the result in Hz.
        start: First sample, counted at ``sample_rate``.
        samples: Number of samples to read, counted at ``sample_rate``; by default up to the end.
        channel: Index of the channel to read; the mean of all channels by default.
        resampling: Quality of resampling, ``fast`` or ``best``.

    Returns:
        Float32 of shape (samples,) in [-1, 1]; shorter at the end of the file.

    Raises:
        AudioError: If the file is missing, broken or truncated, cannot be resampled, or its samples
            are not finite or not scaled to [-1, 1].
        ValueError: If ``start`` is negative.
    """
    if start < 0:
        raise ValueError(f"{path}: start={start} is negative.")
    with open_audio(path) as file:
        if channel is not None and channel >= file.channels:
            raise AudioError(f"{path}: no channel {channel}, only {file.channels} channels")
        source, target = _ratio(file.sample_rate, sample_rate)
        check_rates(path, file.sample_rate, sample_rate)
        total = resampled_length(file.frames, file.sample_rate, sample_rate)
        stop = total if samples is None else min(total, start + samples)
        # Read whole periods of the rate ratio, widened by the resampling filter's width.
        margin = 0 if source == target else _margin(source, target, resampling)
        first = max(0, start // target - margin)
        last = -(-stop // target) + margin
        begin = min(first * source, file.frames)
        wanted = min(last * source, file.frames) - begin
        audio = _read(file, path, begin, wanted)
    if len(audio) < wanted:
        raise AudioError(f"{path}: truncated, only {len(audio)} of {wanted} samples are readable")
    if audio.shape[1] == 1:
        mono = audio[:, 0]
    else:
        mono = audio.mean(axis=1) if channel is None else audio[:, channel]
    del audio
    if source != target:
        mono = get_resampler(source, target, resampling)(mono)
    offset = start - first * target
    return mono[offset : offset + max(0, stop - start)]


def check_rates(path: str | os.PathLike[str], source_rate: int, target_rate: int) -> None:
    """Check that a file can be resampled.

    Raises:
        AudioError: If the ratio of the rates has large terms, as that of 22 050 and 22 051 Hz.
    """
    if max(_ratio(source_rate, target_rate)) <= MAX_TERM:
        return
    near = (rate for d in count(1) for rate in (target_rate - d, target_rate + d) if rate > 0)
    usable = next(rate for rate in near if max(_ratio(source_rate, rate)) <= MAX_TERM)
    raise AudioError(
        f"{path}: cannot resample {source_rate} Hz to {target_rate} Hz, the ratio is too complex. "
        f"Set sample_rate={usable}"
    )


def resampled_length(frames: int, source_rate: int, target_rate: int) -> int:
    """Return the length of a signal of ``frames`` samples after resampling."""
    return math.ceil(frames * target_rate / source_rate)


def fit_length(audio: np.ndarray, samples: int, short: str) -> np.ndarray:
    """Truncate, repeat or pad a clip to ``samples``.

    Args:
        audio: Clip of shape (any number of samples,).
        samples: Length of the result.
        short: How to handle a shorter clip: ``repeat`` it, ``pad`` it with silence at the end, or
            ``keep`` its length.
    """
    if len(audio) >= samples or short == "keep":
        return audio[:samples]
    if short == "repeat" and len(audio):
        return np.resize(audio, samples)
    return np.pad(audio, (0, samples - len(audio)))


def _ratio(source_rate: int, target_rate: int) -> tuple[int, int]:
    divisor = math.gcd(source_rate, target_rate)
    return source_rate // divisor, target_rate // divisor


def _margin(source: int, target: int, resampling: Resampling) -> int:
    """Return the width of the resampling filter in periods of ``source`` samples."""
    return -(-get_resampler(source, target, resampling).width // source) + 1


def _read(file: Decoder, path: str | os.PathLike[str], first: int, count: int) -> np.ndarray:
    """Decode an excerpt in all channels, and check its samples."""
    audio = file.read(first, count)
    if audio.size and not file.integers:
        largest = max(float(audio.max()), -float(audio.min()))
        if not math.isfinite(largest):
            raise AudioError(f"{path}: has samples that are not finite numbers")
        if largest > MAX_SAMPLE:
            raise AudioError(
                f"{path}: has samples up to {largest:g}. Scale it to [-1, 1], its full scale"
            )
    return audio
