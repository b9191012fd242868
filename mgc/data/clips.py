"""Clips of tracks: random clips for training, clips at a fixed hop for evaluation."""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset, DistributedSampler

from mgc.data import audio
from mgc.data.audio import AudioError, Resampling

Batch = dict[str, Any]

#: Epoch and index of an item, or only its index.
Key = tuple[int, int] | int

#: Maximum number of tracks to try in place of an unreadable one.
MAX_REPLACEMENTS = 10


class TrackReader(Protocol):
    """Interface for reading excerpts of tracks.

    Attributes:
        lengths: Length of each track in samples, of shape (tracks,).
    """

    lengths: np.ndarray

    def read(self, track: int, start: int, out: np.ndarray) -> int:
        """Read an excerpt of a track into ``out``, float32 of shape (samples,) in [-1, 1].

        Returns:
            Number of samples read, less than ``len(out)`` only at the end of the track.

        Raises:
            AudioError: If the audio is broken.
        """


def excerpt_length(length: int, start: int, samples: int) -> int:
    """Return the number of samples of an excerpt that are within a track of ``length`` samples.

    Raises:
        ValueError: If the excerpt begins outside the track.
    """
    if not 0 <= start <= length:
        raise ValueError(f"An excerpt at sample {start} is outside the track of {length} samples.")
    return min(samples, length - start)


class FileReader:
    """Reads tracks from audio files of any sample rate.

    Args:
        paths: File of each track.
        lengths: Length of each track in samples at ``sample_rate``, of shape (tracks,).
        sample_rate: Sample rate of the result in Hz.
        channel: Index of the channel to read; the mean of all channels by default.
        starts: First sample of each track in its file; 0 by default.
        resampling: Quality of resampling, ``fast`` or ``best``.
    """

    def __init__(
        self,
        paths: Sequence[str],
        lengths: np.ndarray,
        sample_rate: int,
        channel: int | None = None,
        starts: np.ndarray | None = None,
        resampling: Resampling = "fast",
    ) -> None:
        # An array of bytes, because workers would gradually copy a list of strings: reading a
        # string changes its reference count.
        self._paths = np.array([os.fsencode(path) for path in paths])
        self.lengths = lengths
        self.sample_rate = sample_rate
        self.channel = channel
        self.resampling: Resampling = resampling
        self._starts = np.zeros(len(lengths), np.int64) if starts is None else starts

    def read(self, track: int, start: int, out: np.ndarray) -> int:
        """Read an excerpt of a track (see :class:`TrackReader`)."""
        samples = excerpt_length(int(self.lengths[track]), start, len(out))
        start += int(self._starts[track])
        path = os.fsdecode(self._paths[track])
        part = audio.read(path, self.sample_rate, start, samples, self.channel, self.resampling)
        out[: len(part)] = part
        return len(part)


class ClipDataset(Dataset[Batch]):
    """Clips of equal length from the tracks of one split.

    Returns whole batches: an index is a list of clips.

    Args:
        reader: Reader of all tracks.
        tracks: Indices of the split's tracks.
        targets: Target of every track of the reader, by index.
        clip_samples: Length of a clip.
        hop_samples: Distance between clip starts.
        short: How to handle tracks shorter than a clip: ``repeat`` them, ``pad`` them, or ``keep``
            their length, so that a batch is as long as its longest clip.
        random: Whether clips start at random samples instead of multiples of the hop.
        clips_per_track: Random clips per track and epoch; by default the number of clips at the
            fixed hop.
        seed: Seed of the random starts.
        replace_broken: Whether clips of unreadable tracks are replaced by clips of other tracks,
            instead of silence. By default, random clips are.
    """

    def __init__(
        self,
        reader: TrackReader,
        tracks: np.ndarray,
        targets: torch.Tensor,
        clip_samples: int,
        hop_samples: int,
        short: Literal["repeat", "pad", "keep"] = "repeat",
        random: bool = False,
        clips_per_track: int | None = None,
        seed: int = 0,
        replace_broken: bool | None = None,
    ) -> None:
        self.reader = reader
        self.targets = targets
        self.clip_samples = clip_samples
        self.short = short
        self.random = random
        self.replace_broken = random if replace_broken is None else replace_broken
        self.seed = seed
        max_start = np.maximum(reader.lengths[tracks] - clip_samples, 0)
        if random and clips_per_track is not None:
            counts = np.full(len(tracks), clips_per_track)
        else:
            counts = max_start // hop_samples + 1
        self.tracks = np.repeat(tracks, counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        self.clips = np.arange(len(self.tracks)) - first
        # Index of the next track's first clip.
        self._next = (first + np.repeat(counts, counts)) % max(1, len(self.tracks))
        self.starts = self.clips * hop_samples
        self._max_start = np.repeat(max_start, counts)

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Read a batch of clips.

        With ``replace_broken``, a clip of an unreadable track is replaced by the first clip of the
        next track. Otherwise, or after many unreadable tracks in a row, it becomes silence with
        ``track`` -1.

        Random starts depend only on the seed and the keys, the epoch and index of each clip. A
        resumed run therefore reads the same clips, with any number of workers.

        Returns:
            ``audio`` (batch, samples), ``target``, ``track``, ``clip`` (index of the clip in its
            track), ``start`` (in samples), ``length`` (samples before padding), and ``broken``
            (index of the unreadable track, or -1).
        """
        clips = np.zeros((len(keys), self.clip_samples), dtype=np.float32)
        epochs, index = split_keys(keys)
        starts = self._starts(epochs, index)
        broken = np.full(len(keys), -1)
        unreadable = np.ones(len(keys), bool)
        lengths = np.full(len(keys), self.clip_samples)
        for row in range(len(keys)):
            for _attempt in range(1 + MAX_REPLACEMENTS):
                track = int(self.tracks[index[row]])
                try:
                    samples = self.reader.read(track, int(starts[row]), clips[row])
                except AudioError:
                    broken[row] = track
                    if not self.replace_broken:
                        break
                    index[row] = self._next[index[row]]
                    one = slice(row, row + 1)
                    starts[one] = self._starts(epochs[one], index[one])
                    continue
                if samples < self.clip_samples:
                    part = audio.fit_length(clips[row, :samples], self.clip_samples, self.short)
                    clips[row, : len(part)] = part
                    lengths[row] = samples if self.short == "pad" else len(part)
                unreadable[row] = False
                break
        tracks = self.tracks[index]
        if self.short == "keep" and not unreadable.all():
            # Unreadable clips are silent, so any length fits them.
            longest = lengths[~unreadable].max()
            clips, lengths = clips[:, :longest].copy(), lengths.clip(max=longest)
        return {
            "audio": torch.from_numpy(clips),
            "target": self.targets[tracks],
            "track": torch.from_numpy(np.where(unreadable, -1, tracks)),
            "clip": torch.from_numpy(self.clips[index]),
            "start": torch.from_numpy(starts),
            "length": torch.from_numpy(lengths),
            "broken": torch.from_numpy(broken),
        }

    def _starts(self, epoch: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Return the first sample of each clip."""
        if not self.random:
            return self.starts[index]
        return random_numbers(self.seed, epoch, index) % (self._max_start[index] + 1)


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Distributed sampler that yields (epoch, index).

    The order depends only on the seed and the epoch. All devices get the same number of indices, so
    a few may be repeated. Repeated clips have the same ``track`` and ``clip``.
    """

    def __init__(
        self, length: int, replicas: int = 1, rank: int = 0, shuffle: bool = False, seed: int = 0
    ) -> None:
        super().__init__(
            range(length),  # type: ignore[arg-type] # only its length is used
            num_replicas=replicas,
            rank=rank,
            shuffle=shuffle,
            seed=seed,
        )
        self.length = length
        #: Number of this device's indices to skip at the start of the next epoch.
        self.skip = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the epoch and each index of this device."""
        for index in islice(super().__iter__(), self.skip, None):
            yield self.epoch, int(index)  # type: ignore[call-overload] # typed like its items


def split_keys(keys: Sequence[Key]) -> tuple[np.ndarray, np.ndarray]:
    """Split the keys of a batch into epochs and indices, both of shape (items,).

    Plain indices, as from Lightning's own samplers (``overfit_batches``), count as epoch 0.
    """
    pairs = [key if isinstance(key, tuple) else (0, key) for key in keys]
    epochs, index = np.array(pairs, np.int64).reshape(-1, 2).T
    return epochs, index


def random_numbers(seed: int, epoch: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return random integers from 0 to 2⁶³ - 1 that depend only on the arguments.

    ``epoch``, ``index`` and the result have shape (numbers,). NumPy's generators take longer to set
    up than a clip takes to read. This is the output function of SplitMix64 (Steele, Lea and Flood,
    "Fast splittable pseudorandom number generators", OOPSLA 2014), applied to each argument in
    turn.
    """
    state = np.zeros(len(index), np.uint64)
    for value in (seed, epoch, index):
        state = state + np.asarray(value).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(1)).astype(np.int64)


def keep_batch(batch: Batch) -> Batch:
    """Return the batch unchanged. Collate function for datasets that return whole batches."""
    return batch
