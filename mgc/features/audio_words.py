"""Audio words: vectors of consecutive frames, quantized with codebooks."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from mgc.core.ranges import Range
from mgc.core.stopping import signals
from mgc.data.clips import Batch, random_numbers
from mgc.errors import MgcError
from mgc.features.codebook import check_enough, fit_codebook, nearest_centre
from mgc.features.frame_bands import FRAME_FEATURES, FrameBands
from mgc.features.precision import Float32Module

#: Frames per segment, and dimensions per segment and feature. The paper specifies neither.
SEGMENT_FRAMES = 8
COMPONENTS = 16

#: Variances below this share of the largest one are treated as noise, not amplified by whitening.
MIN_VARIANCE = 1e-5


class SegmentVectors(Float32Module):
    """Consecutive frames, concatenated and whitened by principal component analysis (PCA).

    A track is cut into non-overlapping segments of ``segment_frames`` frames. For each feature, the
    values of a segment are transformed into at most ``components`` numbers that are uncorrelated
    and have variance 1 over the training segments. :meth:`fit` computes the transformations, which
    are saved with the weights. ``widths`` and ``dimensions`` are the numbers of values per segment
    before and after whitening, by feature; ``segment_length`` and ``hop_length`` are in samples.

    Source: Zhang et al. 2015, section 4.2.
    """

    fitted: Tensor

    def __init__(
        self,
        sample_rate: int = 22050,
        features: Sequence[str] = FRAME_FEATURES,
        segment_frames: Annotated[int, Range(1, 4096)] = SEGMENT_FRAMES,
        components: Annotated[int, Range(1, 4096)] = COMPONENTS,
    ) -> None:
        super().__init__()
        # Its constructor computes with values, which the meta device lacks.
        with torch.device("cpu"):
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
        """Return the number of complete segments; at least 1, since short clips are padded."""
        return ((length - self.segment_length) // self.hop_length + 1).clamp(min=1)

    def join(self, audio: Tensor) -> dict[str, Tensor]:
        """Return the values before whitening, of shape (batch, segments, width), by feature."""
        audio = F.pad(audio, (0, max(0, self.segment_length - audio.shape[-1])))
        joined = {}
        for name, values in self.bands(audio).items():
            whole = values.shape[1] // self.segment_frames
            part = values[:, : whole * self.segment_frames]
            joined[name] = part.reshape(part.shape[0], whole, self.widths[name])
        return joined

    def forward(self, audio: Tensor) -> dict[str, Tensor]:
        """Return the whitened vectors, of shape (batch, segments, dimensions), by feature.

        Raises:
            MgcError: If the transformations are not fitted.
        """
        # An exported graph cannot check this.
        if not torch.compiler.is_compiling() and not self.fitted:
            raise MgcError(
                "The segment vectors of this model are not fitted. Train it (mgc fit) or load a "
                "checkpoint."
            )
        with torch.autocast(audio.device.type, enabled=False):
            return {name: self.whiten(name, x) for name, x in self.join(audio).items()}

    def whiten(self, feature: str, values: Tensor) -> Tensor:
        """Whiten the values of :meth:`join` into vectors of shape (..., dimensions)."""
        mean, whitening = (self.get_buffer(f"{n}_{feature}") for n in ("mean", "whitening"))
        return (values - mean) @ whitening

    @torch.no_grad()
    def fit(self, samples: Mapping[str, Tensor]) -> None:
        """Fit the whitening to values of :meth:`join`, of shape (segments, width), by feature."""
        for name, values in samples.items():
            mean = values.mean(0, dtype=torch.float64)
            covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
            for part in values.split(4096):
                centred = part.double() - mean
                covariance += (centred.T @ centred).cpu() / len(values)
            variance, axes = torch.linalg.eigh(covariance)
            best = variance.argsort(descending=True)[: self.dimensions[name]]
            variance, axes = variance[best], axes[:, best]
            # Fix the sign of each axis, which differs between solvers.
            axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
            floor = max(float(variance[0]) * MIN_VARIANCE, torch.finfo(torch.float32).tiny)
            self.get_buffer(f"mean_{name}").copy_(mean)
            self.get_buffer(f"whitening_{name}").copy_(axes / variance.clamp(min=floor).sqrt())
        self.fitted.fill_(True)


class AudioWords(Float32Module):
    """Codebooks that assign one of ``size`` words to each segment of a track, for each feature."""

    def __init__(self, segments: SegmentVectors, size: Annotated[int, Range(2, 2**16)]) -> None:
        super().__init__()
        self.segments = segments
        self.size = size
        for name, width in segments.dimensions.items():
            centres = torch.zeros(size, width, dtype=torch.float32)
            self.register_buffer(f"centres_{name}", centres)

    def centres(self, feature: str) -> Tensor:
        """Return the cluster centres of a feature, of shape (words, dimensions)."""
        return self.get_buffer(f"centres_{feature}")

    def forward(self, audio: Tensor) -> dict[str, Tensor]:
        """Return the words of clips, counted from 0, of shape (batch, segments), by feature."""
        vectors = self.segments(audio)
        with torch.autocast(audio.device.type, enabled=False):
            return {name: nearest_centre(x, self.centres(name)) for name, x in vectors.items()}

    @torch.no_grad()
    def fit(self, samples: Mapping[str, Tensor], seed: int = 0) -> dict[str, float]:
        """Fit the whitening and the codebooks to :func:`sample_training_segments`.

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
    """Draws a random sample of at most ``size`` segments from a stream of segments.

    Each segment has a random number that depends only on the seed, the track and the position. The
    sample holds the segments with the smallest numbers, so it does not depend on the order, the
    batches or the number of devices.

    Memory for three features (656 numbers per segment) and 256 words with 256 vectors each: 0.22
    GB, briefly 0.5 GB, for any number of tracks.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.seed = seed
        self._pieces: list[tuple[np.ndarray, dict[str, Tensor]]] = []
        self._limit = np.iinfo(np.int64).max

    def add(
        self, values: Mapping[str, Tensor], track: np.ndarray, start: np.ndarray, valid: np.ndarray
    ) -> None:
        """Add the values of :meth:`SegmentVectors.join` where ``valid``.

        ``track``, ``start`` (first sample of a segment in its track) and ``valid`` have shape
        (batch, segments).
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
        """Return the random numbers of the sampled segments, ascending, and their values."""
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
    """Draw a random sample of the segments of the training tracks, in one pass.

    Call it in a model's ``on_fit_start``. Each device reads its share of the first epoch, up to the
    trainer's ``limit_train_batches``. The sample is the same for any number of devices.

    Returns:
        Values before whitening, of shape (segments, width), by feature, on the CPU. There are at
        most ``size`` segments, and at least ``words``.

    Raises:
        MgcError: If the trainer has no data module or the training tracks have too few segments.
            All devices raise it, so that none waits for another.
        Stopped: If a single-device process receives a signal to stop.
    """
    data = module.trainer.datamodule  # type: ignore[attr-defined] # Lightning sets it
    if data is None:
        raise MgcError(
            "Audio words are fitted on training tracks. Pass a data module to the trainer."
        )
    loader: Iterable[Batch] = data.train_dataloader()
    sample = SegmentSample(size, seed)
    for batch in islice(loader, _max_batches(loader, module.trainer.limit_train_batches)):
        audio = batch["audio"].to(module.device)
        values = segments.join(audio)
        count = next(iter(values.values())).shape[1]
        length = batch.get("length")
        if length is None:
            length = torch.full((len(audio),), audio.shape[1])
        position = np.arange(count)
        sample.add(
            values,
            np.repeat(batch["track"].numpy()[:, None], count, 1),
            batch["start"].numpy()[:, None] + position * segments.hop_length,
            (position < segments.num_segments(length).numpy()[:, None])
            & (batch["track"].numpy()[:, None] >= 0),
        )
        if module.trainer.world_size == 1:
            # Otherwise a signal takes effect only at the first training batch, maybe an hour later.
            signals.raise_received()
    keys, values = sample.result()
    if not len(keys):
        values = {name: torch.zeros(0, width) for name, width in segments.widths.items()}
    values = _gather(module, keys, values, size)
    count = len(next(iter(values.values())))
    if not count:
        raise MgcError(
            "No training track could be read, so audio words cannot be fitted. Check the data "
            "with mgc data verify."
        )
    check_enough(count, words)
    return values


def share_fitted(module: LightningModule, fitted: nn.Module) -> None:
    """Broadcast the buffers of a module from the first device to all devices."""
    for buffer in fitted.buffers():
        # Broadcast from the CPU, because other devices would load a GPU tensor on the first GPU.
        buffer.copy_(module.trainer.strategy.broadcast(buffer.cpu()))


def _max_batches(loader: Iterable[Batch], limit: int | float | None) -> int | None:
    if limit is None or (limit == 1.0 and isinstance(limit, float)):
        return None
    return limit if isinstance(limit, int) else int(limit * len(loader))  # type: ignore[arg-type]


def _gather(
    module: LightningModule, keys: np.ndarray, values: dict[str, Tensor], size: int
) -> dict[str, Tensor]:
    """Merge the samples of all devices: the smallest keys, each once."""
    world = module.trainer.world_size
    if world == 1:
        return values
    # Pad the keys, since all devices must exchange tensors of the same shape.
    last = np.iinfo(np.int64).max
    padded = np.full(size, last)
    padded[: len(keys)] = keys
    exchanged: Tensor = module.all_gather(  # type: ignore[assignment] # of one tensor
        torch.from_numpy(padded).to(module.device)
    )
    all_keys = exchanged.cpu().numpy()
    chosen = np.unique(all_keys[all_keys < last])[:size]
    # Every device takes part in the exchange, even without segments.
    taken = [np.isin(row, chosen) for row in all_keys]
    counts = [int(mask.sum()) for mask in taken]
    rows = torch.from_numpy(np.flatnonzero(np.isin(keys, chosen)))
    order = np.unique(
        np.concatenate([k[mask] for k, mask in zip(all_keys, taken, strict=True)]),
        return_index=True,
    )[1]
    joined: dict[str, Tensor] = {}
    for name, own in values.items():
        part = F.pad(own[rows], (0, 0, 0, max(counts) - len(rows))).to(module.device)
        parts: Tensor = module.all_gather(part)  # type: ignore[assignment] # of one tensor
        whole = torch.cat([x[:n] for x, n in zip(parts.cpu(), counts, strict=True)])
        joined[name] = whole[torch.from_numpy(order)]
    return joined
