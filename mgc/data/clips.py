"""Clips of tracks: random ones to train on, all of them at a fixed hop to evaluate."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset, DistributedSampler

from mgc.data import audio
from mgc.data.audio import AudioError

Batch = dict[str, Any]


class TrackReader(Protocol):
    """Reads parts of tracks.

    Attributes:
        lengths: Length of each track in samples, of shape (tracks,).
    """

    lengths: np.ndarray

    def read(self, track: int, start: int, samples: int) -> np.ndarray:
        """Read a part of a track.

        Args:
            track: Index of the track.
            start: First sample.
            samples: How many samples.

        Returns:
            Float32 of shape (samples,) in [-1, 1], or shorter at the end of the track.

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
    ) -> None:
        """Initialize a new reader.

        Args:
            paths: File of each track.
            lengths: Length of each track in samples at ``sample_rate``, of shape (tracks,).
            sample_rate: Rate of the result in Hz.
            channel: Number of the channel to read; by default the mean of all channels.
            starts: First sample of each track in its file, where tracks are parts of files.
        """
        # One array of bytes: a list of strings would be copied into every worker by and by, as
        # their reference counts change.
        self._paths = np.array([os.fsencode(path) for path in paths])
        self.lengths = lengths
        self.sample_rate = sample_rate
        self.channel = channel
        self._starts = np.zeros(len(lengths), np.int64) if starts is None else starts

    def read(self, track: int, start: int, samples: int) -> np.ndarray:
        """Read a part of a track (see :class:`TrackReader`)."""
        samples = min(samples, int(self.lengths[track]) - start)
        start += int(self._starts[track])
        path = os.fsdecode(self._paths[track])
        return audio.read(path, self.sample_rate, start, samples, self.channel)


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
        short: Literal["repeat", "pad"] = "repeat",
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
            short: What happens to tracks shorter than a clip: ``repeat`` or ``pad``.
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
        self.starts = self.clips * hop_samples
        self._room = np.repeat(room, counts)

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitems__(self, keys: list[tuple[int, int]]) -> Batch:
        """Read a batch of clips.

        Args:
            keys: Epoch and index of each clip. A random start depends on nothing else, so that a
                resumed run sees the clips that an unbroken one sees, with any number of workers.

        Returns:
            ``audio`` (batch, samples), ``target``, ``track``, ``clip`` (number of the clip in its
            track), ``start`` (in samples), and ``broken``: the track that could not be read, or
            -1. In training a broken track is replaced by the next one, in evaluation ``track`` is
            -1 and the audio silent.
        """
        clips = np.zeros((len(keys), self.clip_samples), dtype=np.float32)
        index = np.array([index for _, index in keys])
        starts = self.starts[index]
        broken = np.full(len(keys), -1)
        for row, (epoch, _) in enumerate(keys):
            # A run of broken tracks longer than the attempts ends in silence of no track.
            for _attempt in range(10):
                clip = index[row]
                if self.random:
                    generator = np.random.default_rng((self.seed, epoch, int(clip)))
                    starts[row] = generator.integers(self._room[clip] + 1)
                else:
                    starts[row] = self.starts[clip]
                track = int(self.tracks[clip])
                try:
                    part = self.reader.read(track, int(starts[row]), self.clip_samples)
                except AudioError:
                    broken[row] = track
                    if not self.random:
                        break
                    index[row] = (clip + 1) % len(self)
                    continue
                clips[row] = audio.fit_length(part, self.clip_samples, self.short)
                break
        tracks = self.tracks[index]
        lost = (broken >= 0) & ~clips.any(axis=1)
        return {
            "audio": torch.from_numpy(clips),
            "target": self.targets[tracks],
            "track": torch.from_numpy(np.where(lost, -1, tracks)),
            "clip": torch.from_numpy(self.clips[index]),
            "start": torch.from_numpy(starts),
            "broken": torch.from_numpy(broken),
        }


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

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Pair each index of this device with the epoch."""
        for index in super().__iter__():
            yield self.epoch, int(index)  # type: ignore[call-overload] # typed as its items


def keep_batch(batch: Batch) -> Batch:
    """Collate nothing: the data set gives whole batches.

    Args:
        batch: A batch.

    Returns:
        The batch.
    """
    return batch
