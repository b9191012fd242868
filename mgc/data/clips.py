"""Clips of tracks: random ones to train on, all of them at a fixed hop to evaluate."""

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

#: Epoch and index of an item, or its index alone.
Key = tuple[int, int] | int

#: How many tracks are tried in place of one that cannot be read.
REPLACEMENTS = 10


class TrackReader(Protocol):
    """Reads parts of tracks.

    Attributes:
        lengths: Length of each track in samples, of shape (tracks,).
    """

    lengths: np.ndarray

    def read(self, track: int, start: int, out: np.ndarray) -> int:
        """Read a part of a track.

        Args:
            track: Index of the track.
            start: First sample.
            out: Where the samples go, in [-1, 1]: float32 of shape (samples,).

        Returns:
            How many samples were read: less than there is room for only at the end of the track.

        Raises:
            AudioError: If the audio is broken.
        """


class FileReader:
    """Reads tracks from audio files of any rate.

    Attributes:
        lengths: Length of each track in samples at ``sample_rate``, of shape (tracks,).
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
        """Initialize a new reader.

        Args:
            paths: File of each track.
            lengths: Length of each track in samples at ``sample_rate``, of shape (tracks,).
            sample_rate: Rate of the result in Hz.
            channel: Number of the channel to read; by default the mean of all channels.
            starts: First sample of each track in its file, where tracks are parts of files.
            resampling: How carefully the rate is changed, ``fast`` or ``best``.
        """
        # One array of bytes: a list of strings would be copied into every worker by and by, as
        # their reference counts change.
        self._paths = np.array([os.fsencode(path) for path in paths])
        self.lengths = lengths
        self.sample_rate = sample_rate
        self.channel = channel
        self.resampling: Resampling = resampling
        self._starts = np.zeros(len(lengths), np.int64) if starts is None else starts

    def read(self, track: int, start: int, out: np.ndarray) -> int:
        """Read a part of a track (see :class:`TrackReader`)."""
        samples = min(len(out), int(self.lengths[track]) - start)
        start += int(self._starts[track])
        path = os.fsdecode(self._paths[track])
        part = audio.read(path, self.sample_rate, start, samples, self.channel, self.resampling)
        out[: len(part)] = part
        return len(part)


class ClipDataset(Dataset[Batch]):
    """Clips of one length from the tracks of one split.

    Gives whole batches: an index is a list of clips.
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
    ) -> None:
        """Initialize a new set of clips.

        Args:
            reader: Reads the audio of the tracks.
            tracks: Indices of the split's tracks.
            targets: Target of every track that the reader knows, by index.
            clip_samples: Length of a clip.
            hop_samples: Distance between the starts of two clips.
            short: What happens to tracks shorter than a clip: ``repeat``, ``pad``, or ``keep``,
                which makes a batch as long as its longest clip.
            random: Whether clips start anywhere rather than at multiples of the hop.
            clips_per_track: How many random clips of a track there are in an epoch; by default
                as many as there are at the fixed hop.
            seed: Seed of the random starts.
        """
        self.reader = reader
        self.targets = targets
        self.clip_samples = clip_samples
        self.short = short
        self.random = random
        self.seed = seed
        room = np.maximum(reader.lengths[tracks] - clip_samples, 0)
        if random and clips_per_track is not None:
            counts = np.full(len(tracks), clips_per_track)
        else:
            counts = room // hop_samples + 1
        self.tracks = np.repeat(tracks, counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        self.clips = np.arange(len(self.tracks)) - first
        # First clip of the next track.
        self._next = (first + np.repeat(counts, counts)) % max(1, len(self.tracks))
        self.starts = self.clips * hop_samples
        self._room = np.repeat(room, counts)

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Read a batch of clips.

        Args:
            keys: Epoch and index of each clip (see :func:`split_keys`). A random start depends on
                nothing else, so that a resumed run sees the clips that an unbroken one sees, with
                any number of workers.

        Returns:
            ``audio`` (batch, samples), ``target``, ``track``, ``clip`` (number of the clip in its
            track), ``start`` (in samples), ``length`` (samples of the clip; what follows is
            padding), and ``broken``: the track that could not be read, or
            -1. In training a clip of a broken track is replaced by the first one of the next
            track; in evaluation, or if many tracks in a row are broken, ``track`` is -1 and the
            audio silent.
        """
        clips = np.zeros((len(keys), self.clip_samples), dtype=np.float32)
        epochs, index = split_keys(keys)
        starts = self._starts(epochs, index)
        broken = np.full(len(keys), -1)
        lost = np.ones(len(keys), bool)
        lengths = np.full(len(keys), self.clip_samples)
        for row in range(len(keys)):
            for _attempt in range(1 + REPLACEMENTS):
                track = int(self.tracks[index[row]])
                try:
                    samples = self.reader.read(track, int(starts[row]), clips[row])
                except AudioError:
                    broken[row] = track
                    if not self.random:
                        break
                    index[row] = self._next[index[row]]
                    one = slice(row, row + 1)
                    starts[one] = self._starts(epochs[one], index[one])
                    continue
                if samples < self.clip_samples:
                    part = audio.fit_length(clips[row, :samples], self.clip_samples, self.short)
                    clips[row, : len(part)] = part
                    lengths[row] = samples if self.short == "pad" else len(part)
                lost[row] = False
                break
        tracks = self.tracks[index]
        if self.short == "keep" and not lost.all():
            # What could not be read is silent, however long.
            longest = lengths[~lost].max()
            clips, lengths = clips[:, :longest].copy(), lengths.clip(max=longest)
        return {
            "audio": torch.from_numpy(clips),
            "target": self.targets[tracks],
            "track": torch.from_numpy(np.where(lost, -1, tracks)),
            "clip": torch.from_numpy(self.clips[index]),
            "start": torch.from_numpy(starts),
            "length": torch.from_numpy(lengths),
            "broken": torch.from_numpy(broken),
        }

    def _starts(self, epoch: np.ndarray, index: np.ndarray) -> np.ndarray:
        """First sample of clips in some epochs."""
        if not self.random:
            return self.starts[index]
        return random_numbers(self.seed, epoch, index) % (self._room[index] + 1)


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Gives (epoch, index) instead of an index.

    The order depends on the seed and the epoch alone. With several devices every one gets the
    same number of indices; the few that repeat are told apart by track and clip.
    """

    def __init__(
        self, length: int, replicas: int = 1, rank: int = 0, shuffle: bool = False, seed: int = 0
    ) -> None:
        """Initialize a new sampler.

        Args:
            length: Number of items.
            replicas: Number of devices that share them.
            rank: Which of the devices this is.
            shuffle: Whether the order is random.
            seed: Seed of the order.
        """
        super().__init__(
            range(length),  # type: ignore[arg-type] # only its length is used
            num_replicas=replicas,
            rank=rank,
            shuffle=shuffle,
            seed=seed,
        )
        self.length = length
        #: How many indices of this device the next epoch leaves out at its beginning.
        self.skip = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Pair each index of this device with the epoch."""
        for index in islice(super().__iter__(), self.skip, None):
            yield self.epoch, int(index)  # type: ignore[call-overload] # typed as its items


def split_keys(keys: Sequence[Key]) -> tuple[np.ndarray, np.ndarray]:
    """Take the keys of a batch apart.

    Args:
        keys: Epoch and index of each item, as :class:`EpochSampler` gives them; or plain indices,
            as samplers of Lightning's own do (``overfit_batches``), which are of epoch 0.

    Returns:
        Epochs and indices, both of shape (items,).
    """
    pairs = [key if isinstance(key, tuple) else (0, key) for key in keys]
    epochs, index = np.array(pairs, np.int64).reshape(-1, 2).T
    return epochs, index


def random_numbers(seed: int, epoch: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Draw random numbers that depend on nothing but the arguments.

    Numpy's generators take longer to set up than a clip takes to read. This is the output function
    of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
    2014), applied to each argument in turn.

    Args:
        seed: Seed.
        epoch: Epochs, of shape (numbers,).
        index: Indices, of shape (numbers,).

    Returns:
        Whole numbers from 0 to 2⁶³ - 1, of shape (numbers,).
    """
    state = np.zeros(len(index), np.uint64)
    for value in (seed, epoch, index):
        state = state + np.asarray(value).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(1)).astype(np.int64)


def keep_batch(batch: Batch) -> Batch:
    """Collate nothing: the data set gives whole batches.

    Args:
        batch: A batch.

    Returns:
        The batch.
    """
    return batch
