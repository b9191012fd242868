"""Audio words: vectors of consecutive frames, and the codebooks that turn them into words."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from mgc.core.stopping import signals
from mgc.data.clips import Batch, random_numbers
from mgc.errors import MgcError
from mgc.features.codebook import check_enough, fit_codebook, nearest_centre
from mgc.features.frame_bands import FRAME_FEATURES, FrameBands
from mgc.features.precision import Float32Module

#: Frames of a segment and numbers kept of it for each feature. The paper gives neither.
SEGMENT_FRAMES = 8
COMPONENTS = 16

#: Variance below this share of the largest is noise, which whitening does not blow up.
MIN_VARIANCE = 1e-5


class SegmentVectors(Float32Module):
    """Consecutive frames joined and whitened by principal component analysis (PCA).

    A track is cut into segments of ``segment_frames`` frames that follow one another. Their values
    are joined, and for each feature on its own turned into ``components`` numbers that are
    uncorrelated and have variance 1 over the training segments. :meth:`fit` finds the
    transformations; they are saved with the weights.

    Source: Zhang et al. 2015, section 4.2.

    Attributes:
        features: Names of the features.
        widths: Numbers of a segment before whitening, by feature.
        dimensions: Numbers of a segment after whitening, by feature.
        segment_length: Samples that a segment takes.
        hop_length: Samples from one segment to the next.
    """

    fitted: Tensor

    def __init__(
        self,
        sample_rate: int = 22050,
        features: Sequence[str] = FRAME_FEATURES,
        segment_frames: int = SEGMENT_FRAMES,
        components: int = COMPONENTS,
    ) -> None:
        """Initialize new vectors, which have to be fitted.

        Args:
            sample_rate: Rate of the audio in Hz.
            features: Which frame features: ``MEL``, ``SFM``, ``SCF``.
            segment_frames: Frames of a segment.
            components: Numbers of a segment for each feature; fewer where it has fewer values.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__()
        for name, value in (("segment_frames", segment_frames), ("components", components)):
            if value < 1:
                raise MgcError(f"{name}={value}: at least 1 is needed.")
        self.bands = FrameBands(sample_rate, features)
        self.features = self.bands.features
        self.segment_frames = segment_frames
        self.widths = {name: n * segment_frames for name, n in self.bands.widths.items()}
        self.dimensions = {name: min(components, n) for name, n in self.widths.items()}
        self.hop_length = segment_frames * self.bands.hop_length
        self.segment_length = self.hop_length - self.bands.hop_length + self.bands.frame_length
        for name, width in self.widths.items():
            size = (width, self.dimensions[name])
            self.register_buffer(f"mean_{name}", torch.zeros(width, dtype=torch.float32))
            self.register_buffer(f"whitening_{name}", torch.zeros(size, dtype=torch.float32))
        self.register_buffer("fitted", torch.tensor(False))

    def num_segments(self, length: Tensor) -> Tensor:
        """Number of whole segments, at least one: what is shorter is padded with silence.

        Args:
            length: Samples of each clip, of shape (batch,).
        """
        return ((length - self.segment_length) // self.hop_length + 1).clamp(min=1)

    def join(self, audio: Tensor) -> dict[str, Tensor]:
        """Compute the values of all segments as they are before whitening.

        Args:
            audio: Clips of shape (batch, samples), in [-1, 1].

        Returns:
            Values of shape (batch, segments, width), float32, by feature.
        """
        audio = F.pad(audio, (0, max(0, self.segment_length - audio.shape[-1])))
        joined = {}
        for name, values in self.bands(audio).items():
            whole = values.shape[1] // self.segment_frames
            part = values[:, : whole * self.segment_frames]
            joined[name] = part.reshape(part.shape[0], whole, self.widths[name])
        return joined

    def forward(self, audio: Tensor) -> dict[str, Tensor]:
        """Compute the vectors of all segments.

        Args:
            audio: Clips of shape (batch, samples), in [-1, 1].

        Returns:
            Vectors of shape (batch, segments, dimensions), float32, by feature.

        Raises:
            MgcError: If the vectors have not been fitted.
        """
        # An exported graph cannot ask.
        if not torch.compiler.is_compiling() and not self.fitted:
            raise MgcError(
                "The segment vectors of this model are not fitted: train it (mgc fit), or load a "
                "checkpoint."
            )
        with torch.autocast(audio.device.type, enabled=False):
            return {name: self.whiten(name, x) for name, x in self.join(audio).items()}

    def whiten(self, feature: str, values: Tensor) -> Tensor:
        """Whiten joined values.

        Args:
            feature: Name of the feature.
            values: See :meth:`join`.

        Returns:
            Vectors of shape (..., dimensions).
        """
        mean, whitening = (self.get_buffer(f"{n}_{feature}") for n in ("mean", "whitening"))
        return (values - mean) @ whitening

    @torch.no_grad()
    def fit(self, samples: Mapping[str, Tensor]) -> None:
        """Find the whitening transformations.

        Args:
            samples: Joined values of training segments, of shape (segments, width), by feature.
        """
        for name, values in samples.items():
            mean = values.mean(0, dtype=torch.float64)
            covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
            for part in values.split(4096):
                centred = part.double() - mean
                covariance += (centred.T @ centred).cpu() / len(values)
            variance, axes = torch.linalg.eigh(covariance)
            best = variance.argsort(descending=True)[: self.dimensions[name]]
            variance, axes = variance[best], axes[:, best]
            # Solvers differ in the sign of an axis.
            axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
            floor = max(float(variance[0]) * MIN_VARIANCE, torch.finfo(torch.float32).tiny)
            self.get_buffer(f"mean_{name}").copy_(mean)
            self.get_buffer(f"whitening_{name}").copy_(axes / variance.clamp(min=floor).sqrt())
        self.fitted.fill_(True)


class AudioWords(Float32Module):
    """Codebooks that give each segment of a track a word for each feature.

    Attributes:
        segments: The segment vectors.
        size: Words of each codebook.
    """

    def __init__(self, segments: SegmentVectors, size: int) -> None:
        """Initialize empty codebooks.

        Args:
            segments: Makes the vectors; fitted by :meth:`fit`.
            size: Words of each codebook.

        Raises:
            MgcError: If there are fewer than two words.
        """
        super().__init__()
        if size < 2:
            raise MgcError(f"codebook_size={size}: at least 2 words are needed.")
        self.segments = segments
        self.size = size
        for name, width in segments.dimensions.items():
            centres = torch.zeros(size, width, dtype=torch.float32)
            self.register_buffer(f"centres_{name}", centres)

    def centres(self, feature: str) -> Tensor:
        """Cluster centres of a codebook, of shape (words, dimensions)."""
        return self.get_buffer(f"centres_{feature}")

    def forward(self, audio: Tensor) -> dict[str, Tensor]:
        """Turn clips into words.

        Args:
            audio: Clips of shape (batch, samples), in [-1, 1].

        Returns:
            Words, from 0, of shape (batch, segments), by feature.

        Raises:
            MgcError: If the codebooks have not been fitted.
        """
        vectors = self.segments(audio)
        with torch.autocast(audio.device.type, enabled=False):
            return {name: nearest_centre(x, self.centres(name)) for name, x in vectors.items()}

    @torch.no_grad()
    def fit(self, samples: Mapping[str, Tensor], seed: int = 0) -> dict[str, float]:
        """Fit the whitening and the codebooks.

        Memory is that of the samples, whose size does not depend on the number of tracks (see
        :class:`SegmentSample`), and, for one feature at a time, of its whitened vectors: 4 MB for
        256 words of 256 vectors of 16 numbers, for a million tracks as for a hundred.

        Args:
            samples: Joined values of training segments, of shape (segments, width), by feature
                (see :func:`sample_training_segments`).
            seed: Seed of k-means.

        Returns:
            Mean squared distance of a vector to its word, by feature.

        Raises:
            MgcError: If there are fewer segments than words.
        """
        self.segments.fit(samples)
        inertia = {}
        for name, values in samples.items():
            device = self.centres(name).device
            parts = [self.segments.whiten(name, part.to(device)) for part in values.split(65536)]
            book = fit_codebook(torch.cat(parts), self.size, seed)
            self.centres(name).copy_(book.centres)
            inertia[name] = book.inertia
        return inertia


class SegmentSample:
    """A random sample of bounded size from a stream of segments.

    Every segment has a random number that depends on the seed, its track and its place alone, and
    the segments with the smallest numbers stay. So the sample is the same in whatever order, in
    whatever batches and on however many devices the segments come.

    Memory: at most 1.25 × ``size`` × width floats, and somewhat more than that again for a moment,
    while segments are left out. For the three features (656 numbers a segment) and 256 words of 256
    vectors that is 0.22 GB and for a moment 0.5 GB, for a hundred tracks as for a million.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        """Initialize an empty sample.

        Args:
            size: Largest number of segments.
            seed: Another seed gives another sample.
        """
        self.size = size
        self.seed = seed
        self._pieces: list[tuple[np.ndarray, dict[str, Tensor]]] = []
        self._limit = np.iinfo(np.int64).max

    def add(
        self, values: Mapping[str, Tensor], track: np.ndarray, start: np.ndarray, valid: np.ndarray
    ) -> None:
        """Add the segments of some clips.

        Args:
            values: Joined values of shape (batch, segments, width), by feature.
            track: Track of each segment, of shape (batch, segments).
            start: First sample of each segment in its track, of shape (batch, segments).
            valid: Whether the segment counts, of shape (batch, segments).
        """
        keys = random_numbers(self.seed, track.ravel(), start.ravel())
        kept = np.flatnonzero(valid.ravel() & (keys < self._limit))
        if not len(kept):
            return
        rows = torch.from_numpy(kept)
        piece = {n: x.flatten(0, 1)[rows.to(x.device)].cpu() for n, x in values.items()}
        self._pieces.append((keys[kept], piece))
        if sum(len(keys) for keys, _ in self._pieces) > 1.25 * self.size:
            self._prune()

    def result(self) -> tuple[np.ndarray, dict[str, Tensor]]:
        """Random numbers of the segments in the sample, which rise, and their values."""
        self._prune()
        return self._pieces[0] if self._pieces else (np.empty(0, np.int64), {})

    def _prune(self) -> None:
        if not self._pieces:
            return
        keys, order = np.unique(np.concatenate([keys for keys, _ in self._pieces]), True)
        rows = torch.from_numpy(order[: self.size])
        values = {
            name: torch.cat([piece[name] for _, piece in self._pieces])[rows]
            for name in self._pieces[0][1]
        }
        self._pieces = [(keys[: self.size], values)]
        if len(keys) >= self.size:
            self._limit = keys[self.size - 1]


@torch.no_grad()
def sample_training_segments(
    module: LightningModule, segments: SegmentVectors, size: int, seed: int = 0, words: int = 1
) -> dict[str, Tensor]:
    """Take a random sample of the segments of the training tracks, in one pass over them.

    For a model's ``on_fit_start``. Each device reads its share of the first epoch; the sample is
    that of all of them together, and is the same for any number of devices. The trainer's
    ``limit_train_batches`` holds here, too.

    Args:
        module: Model with a trainer that has a data module.
        segments: Computes the values.
        size: Largest number of segments.
        seed: Seed of the sample.
        words: Size of the codebooks that the sample is for, the fewest segments that do.

    Returns:
        Joined values of shape (segments, width), by feature, on the CPU.

    Raises:
        MgcError: If there is no data module, or too few segments in its training tracks. All
            devices raise it, so that none waits for another one.
        Stopped: If the process was told to stop, on one device.
    """
    data = module.trainer.datamodule  # type: ignore[attr-defined] # Lightning sets it
    if data is None:
        raise MgcError("Audio words are fitted on training tracks: give the trainer a data module.")
    loader: Iterable[Batch] = data.train_dataloader()
    sample = SegmentSample(size, seed)
    for batch in islice(loader, _limit(loader, module.trainer.limit_train_batches)):
        audio = batch["audio"].to(module.device)
        values = segments.join(audio)
        count = next(iter(values.values())).shape[1]
        length = batch.get("length")
        if length is None:
            length = torch.full((len(audio),), audio.shape[1])
        place = np.arange(count)
        sample.add(
            values,
            np.repeat(batch["track"].numpy()[:, None], count, 1),
            batch["start"].numpy()[:, None] + place * segments.hop_length,
            (place < segments.num_segments(length).numpy()[:, None])
            & (batch["track"].numpy()[:, None] >= 0),
        )
        if module.trainer.world_size == 1:
            # A fit stops between its batches, which may be an hour away. There is nothing to keep.
            signals.act()
    keys, values = sample.result()
    if not len(keys):
        values = {name: torch.zeros(0, width) for name, width in segments.widths.items()}
    values = _gather(module, keys, values, size)
    count = len(next(iter(values.values())))
    if not count:
        raise MgcError(
            "The training tracks have no segment to fit audio words on: none of them could be read "
            "(mgc data verify tells why)."
        )
    check_enough(count, words)
    return values


def share_fitted(module: LightningModule, fitted: nn.Module) -> None:
    """Give all devices the constants that the first one has fitted.

    Args:
        module: Model with a trainer.
        fitted: Module with the constants.
    """
    for buffer in fitted.buffers():
        # From the CPU: others would unpack a tensor of the first GPU on that very GPU.
        buffer.copy_(module.trainer.strategy.broadcast(buffer.cpu()))


def _limit(loader: Iterable[Batch], limit: int | float | None) -> int | None:
    if limit is None or (limit == 1.0 and isinstance(limit, float)):
        return None
    return limit if isinstance(limit, int) else int(limit * len(loader))  # type: ignore[arg-type]


def _gather(
    module: LightningModule, keys: np.ndarray, values: dict[str, Tensor], size: int
) -> dict[str, Tensor]:
    """Join the samples of all devices: of all keys the smallest, each once."""
    world = module.trainer.world_size
    if world == 1:
        return values
    # Devices may have different numbers of segments, but exchange tensors of one shape.
    last = np.iinfo(np.int64).max
    padded = np.full(size, last)
    padded[: len(keys)] = keys
    exchanged: Tensor = module.all_gather(  # type: ignore[assignment] # of one tensor
        torch.from_numpy(padded).to(module.device)
    )
    everyone = exchanged.cpu().numpy()
    chosen = np.unique(everyone[everyone < last])[:size]
    # Every device exchanges values, also one that has none.
    taken = [np.isin(row, chosen) for row in everyone]
    counts = [int(some.sum()) for some in taken]
    rows = torch.from_numpy(np.flatnonzero(np.isin(keys, chosen)))
    order = np.unique(
        np.concatenate([k[some] for k, some in zip(everyone, taken, strict=True)]),
        return_index=True,
    )[1]
    joined: dict[str, Tensor] = {}
    for name, mine in values.items():
        part = F.pad(mine[rows], (0, 0, 0, max(counts) - len(rows))).to(module.device)
        parts: Tensor = module.all_gather(part)  # type: ignore[assignment] # of one tensor
        whole = torch.cat([x[:n] for x, n in zip(parts.cpu(), counts, strict=True)])
        joined[name] = whole[torch.from_numpy(order)]
    return joined
