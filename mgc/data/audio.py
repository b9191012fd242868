"""Decode audio files: only the samples that a clip needs, at the rate that is asked for."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import soundfile

from mgc.data.resampling import Resampling, resampler
from mgc.errors import MgcError

#: Endings of the files that libsndfile reads and that collections of music come in.
SUFFIXES = (".wav", ".au", ".mp3", ".flac", ".ogg", ".aif", ".aiff")

#: Largest term of a ratio of two rates: the filter that changes the rate has about as many values
#: as the product of both terms, 100 MB with this.
MAX_TERM = 5000


class AudioError(MgcError):
    """A file that is missing, broken or shorter than its header says."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says.

    Attributes:
        frames: Length in samples per channel.
        sample_rate: Rate in Hz.
        channels: Number of channels.
    """

    frames: int
    sample_rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def find_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Find audio files by their ending, in all sub-folders.

    Args:
        folder: Where to look. A folder that does not exist holds no files.

    Returns:
        Their paths in order; hidden files and folders are left out.
    """
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(where, name)
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return sorted(found)


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """Read a file's header and its last samples.

    libsndfile believes the header: a truncated MP3 reports its full length and reads nothing
    after a seek. So the end is read as well, which costs about as much as opening the file.

    Args:
        path: Audio file that libsndfile reads: WAV, AU, FLAC, OGG, MP3.

    Returns:
        Length, rate and channels.

    Raises:
        AudioError: If the file is missing, has no readable header, is empty or is cut short.
    """
    try:
        with soundfile.SoundFile(path) as file:
            info = AudioInfo(file.frames, file.samplerate, file.channels)
            if info.frames <= 0:
                raise AudioError(f"{path}: no audio in the file")
            tail = min(info.frames, 1024)
            file.seek(info.frames - tail)
            if len(file.read(tail, dtype="float32")) < tail:
                raise AudioError(f"{path}: cut short, the header promises {info.seconds:.1f} s")
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path}: {_reason(path, error)}") from error
    return info


def probe_all(paths: Sequence[str] | np.ndarray) -> list[AudioInfo | AudioError]:
    """Probe many files at once.

    Args:
        paths: Audio files.

    Returns:
        What :func:`probe` gives or raises for each file, in order.
    """

    def one(path: str) -> AudioInfo | AudioError:
        try:
            return probe(path)
        except AudioError as error:
            return error

    # Threads: libsndfile releases the interpreter lock, and the disk is what one waits for.
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, paths))


def read(
    path: str | os.PathLike[str],
    sample_rate: int,
    start: int = 0,
    samples: int | None = None,
    channel: int | None = None,
    resampling: Resampling = "fast",
) -> np.ndarray:
    """Read a part of a file, mono, at the rate asked for.

    The result is the same, to rounding, as the part of the whole file resampled.

    Args:
        path: Audio file that libsndfile reads.
        sample_rate: Rate of the result in Hz.
        start: First sample, counted at ``sample_rate``.
        samples: How many samples to read at ``sample_rate``; by default all that follow.
        channel: Number of the channel to read; by default the mean of all channels.
        resampling: How carefully the rate is changed, ``fast`` or ``best``.

    Returns:
        Float32 of shape (samples,) in [-1, 1]; shorter only where the file ends.

    Raises:
        AudioError: If the file is missing, broken, or ends before its header says.
    """
    try:
        with soundfile.SoundFile(path) as file:
            if channel is not None and channel >= file.channels:
                raise AudioError(
                    f"{path}: has {file.channels} channels, so there is no channel {channel}"
                )
            source, target = _ratio(file.samplerate, sample_rate)
            check_rates(path, file.samplerate, sample_rate)
            total = resampled_length(file.frames, file.samplerate, sample_rate)
            stop = total if samples is None else min(total, start + samples)
            # Whole periods of the rate ratio around the part, and the resampling filter's width.
            margin = 0 if source == target else _margin(source, target, resampling)
            first = max(0, start // target - margin)
            last = -(-stop // target) + margin
            file.seek(min(first * source, file.frames))
            wanted = min(last * source, file.frames) - file.tell()
            audio = file.read(wanted, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path}: {_reason(path, error)}") from error
    if len(audio) < wanted:
        raise AudioError(f"{path}: cut short, {len(audio)} of {wanted} samples could be read")
    if audio.shape[1] == 1:
        mono = audio[:, 0]
    else:
        mono = audio.mean(axis=1) if channel is None else audio[:, channel]
    if source != target:
        mono = resampler(source, target, resampling)(mono)
    offset = start - first * target
    return mono[offset : offset + max(0, stop - start)]


def check_rates(path: str | os.PathLike[str], source_rate: int, target_rate: int) -> None:
    """Check that a rate can be changed to another one.

    Args:
        path: Audio file.
        source_rate: Its rate in Hz.
        target_rate: Rate after resampling in Hz.

    Raises:
        AudioError: If the rates have too little in common, as 22 050 and 22 051 Hz have.
    """
    if max(_ratio(source_rate, target_rate)) <= MAX_TERM:
        return
    near = (rate for d in count(1) for rate in (target_rate - d, target_rate + d) if rate > 0)
    usable = next(rate for rate in near if max(_ratio(source_rate, rate)) <= MAX_TERM)
    raise AudioError(
        f"{path}: its {source_rate} Hz cannot be resampled to {target_rate} Hz, with which they "
        f"have too little in common; {usable} Hz, for one, can be had. Set sample_rate={usable}"
    )


def resampled_length(frames: int, source_rate: int, target_rate: int) -> int:
    """Length of a signal after resampling.

    Args:
        frames: Length in samples.
        source_rate: Rate of the signal in Hz.
        target_rate: Rate after resampling in Hz.

    Returns:
        Length in samples at the target rate.
    """
    return math.ceil(frames * target_rate / source_rate)


def fit_length(audio: np.ndarray, samples: int, short: str) -> np.ndarray:
    """Give a clip its length.

    Args:
        audio: Clip of shape (any number of samples,).
        samples: Length of the result.
        short: What happens to a shorter clip: ``repeat``, ``pad`` with silence at the end, or
            ``keep`` as it is.

    Returns:
        Clip of shape (samples,), or shorter if it is kept.
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
    """Width of the resampling filter in periods of ``source`` samples."""
    return -(-resampler(source, target, resampling).width // source) + 1


def _reason(path: str | os.PathLike[str], error: Exception) -> str:
    """What libsndfile or the system says, without the path it repeats."""
    if not os.path.exists(path):
        return "missing"
    if isinstance(error, soundfile.LibsndfileError):
        return str(error.error_string).strip().rstrip(".")
    return str(getattr(error, "strerror", None) or error)
