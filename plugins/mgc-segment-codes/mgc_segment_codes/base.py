"""Base class of the three models."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from mgc.core.ranges import Range, Seed
from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.features.audio_words import (
    COMPONENTS,
    SEGMENT_FRAMES,
    SegmentVectors,
    sample_training_segments,
    share_fitted,
)
from mgc.features.frame_bands import FRAME_FEATURES
from mgc.features.segment_cache import SegmentCache
from mgc.models.base import MusicModel, readable


class SegmentCoder(MusicModel):
    """Learns codes of segment vectors without labels, and max-pools them over the track.

    Each feature has its own codes, which are concatenated. A linear layer on the pooled codes is
    trained with labels to monitor training; no gradient reaches the codes. To evaluate the codes,
    train an SVM on them with ``mgc extract`` and ``mgc transfer``.

    Batches hold padded tracks of any length (``short: keep``).

    Source: Zhang et al., "A deep neural network for modeling music", ICMR 2015, section 4.3.
    """

    def __init__(
        self,
        features: Literal["MEL", "SFM", "SCF", "ALL"] = "ALL",
        segment_frames: Annotated[int, Range(1, 4096)] = SEGMENT_FRAMES,
        components: Annotated[int, Range(1, 4096)] = COMPONENTS,
        sample_size: Annotated[int, Range(1, 10**7)] = 65536,
        sample_seed: Seed = 0,
        **kwargs: Any,
    ) -> None:
        """Initialize the model.

        Args:
            features: Frame features: ``MEL``, ``SFM``, ``SCF`` or ``ALL`` three.
            segment_frames: Number of frames in a segment.
            components: Dimensions of the vectors of each feature after whitening.
            sample_size: Number of random training segments to fit the whitening to.
            sample_seed: Seed of these segments.
            **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__(**kwargs)
        if features not in (*FRAME_FEATURES, "ALL"):
            raise MgcError(f"features={features!r}: choose MEL, SFM, SCF or ALL.")
        names = FRAME_FEATURES if features == "ALL" else (features,)
        self.segments = SegmentVectors(self.sample_rate, names, segment_frames, components)
        self.sample_size = sample_size
        self.sample_seed = sample_seed
        self.cache: SegmentCache | None = None

    def make_head(self, size: int) -> None:
        """Create the linear layer for codes of ``size`` numbers per feature.

        Constructors of subclasses call this first. ``size`` is not an argument of the constructor
        here, because checkpoints save all of these.
        """
        if size < 1:
            raise MgcError(f"Codes of {size} numbers: at least 1 is needed.")
        self.head = nn.Linear(size * len(self.segments.features), self.num_classes)

    def code(self, feature: str, vectors: Tensor) -> Tensor:
        """Map whitened vectors of a feature to codes: (..., dimensions) to (..., size)."""
        raise NotImplementedError

    def objective(self, feature: str, vectors: Tensor) -> Tensor | None:
        """Return the loss of the codes for vectors of shape (segments, dimensions).

        None by default, for codes that are not learned by gradient descent.
        """
        return None

    def error(self, feature: str, vectors: Tensor) -> Tensor:
        """Return the mean squared error of reconstructing vectors from their codes."""
        raise NotImplementedError

    def measures(self, feature: str, vectors: Tensor) -> dict[str, Tensor]:
        """Return more scalars to log in validation, as ``val/<feature>_<name>``."""
        return {}

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Learn parameters before the first epoch, on rank 0 only.

        Args:
            samples: Whitened vectors of training segments by feature, of shape (segments,
                dimensions).
        """

    def pool(self, vectors: Mapping[str, Tensor], length: Tensor | None = None) -> Tensor:
        """Max-pool the codes over the segments of a track: (batch, size × features).

        Args:
            vectors: Vectors by feature, of shape (batch, segments, dimensions).
            length: Length of each track in samples, of shape (batch,); by default no padding.
        """
        codes = torch.cat([self.code(name, x) for name, x in vectors.items()], 2)
        if length is not None:
            codes = codes.masked_fill(~self._segment_mask(codes, length)[..., None], -torch.inf)
        return codes.amax(1)

    def features(self, audio: Tensor, length: Tensor | None = None) -> dict[str, Tensor]:
        """Return the pooled codes as ``codes``, of shape (batch, size × features)."""
        return {"codes": self.pool(self._cast(self.segments(audio)), length)}

    def forward(self, audio: Tensor, length: Tensor | None = None) -> Tensor:
        """Return the logits of the linear layer for tracks, of shape (batch, classes)."""
        return self.head(self.features(audio, length)["codes"].detach())

    def logits(self, batch: Batch) -> Tensor:
        """Return the logits of a batch."""
        return self(batch["audio"], batch.get("length"))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the sum of the codes' objectives and the loss of the linear layer."""
        loss, vectors = self.linear_loss(readable(batch))
        for name, x in vectors.items():
            objective = self.objective(name, x) if len(x) else None
            if objective is not None:
                self.log(f"train/objective_{name}", objective, batch_size=len(x))
                loss = loss + objective
        return loss

    def linear_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the linear layer, and the segment vectors by feature.

        The batch must not contain unreadable tracks. Vectors have shape (segments, dimensions).
        """
        if not len(batch["target"]):
            # Other devices wait for gradients.
            zeros = [0 * p.sum() for p in self.parameters() if p.requires_grad]
            empty = {
                name: torch.zeros(0, width, device=self.device)
                for name, width in self.segments.dimensions.items()
            }
            return torch.stack(zeros).sum(), empty
        vectors, length = self._vectors(batch)
        loss = self.loss(self.head(self.pool(vectors, length).detach()), batch["target"])
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["target"]))
        return loss, self._drop_padding(vectors, length)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the logits of a batch, and log ``val/error`` and :meth:`measures`."""
        vectors, length = self._vectors(batch)
        inside = self._drop_padding(vectors, length)
        error = torch.stack([self.error(name, x) for name, x in inside.items()]).mean()
        count = len(next(iter(inside.values())))
        self.log("val/error", error, batch_size=count, sync_dist=True)
        for name, x in inside.items():
            for measure, value in self.measures(name, x).items():
                self.log(f"val/{name}_{measure}", value, batch_size=count, sync_dist=True)
        return {"logits": self.head(self.pool(vectors, length))}

    def on_fit_start(self) -> None:
        """Fit the whitening and call :meth:`prepare`, unless loaded from a checkpoint."""
        super().on_fit_start()
        # With fixed whitening, the vectors of a track do not change.
        self.cache = SegmentCache()
        if self.segments.fitted:
            return
        samples = sample_training_segments(self, self.segments, self.sample_size, self.sample_seed)
        if self.trainer.is_global_zero:
            self.segments.fit(samples)
            self.prepare(
                {n: self.segments.whiten(n, x.to(self.device)) for n, x in samples.items()}
            )
        share_fitted(self, self)

    def on_fit_end(self) -> None:
        """Clear the cached vectors."""
        super().on_fit_end()
        self.cache = None

    def _vectors(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor | None]:
        audio, length = batch["audio"], batch.get("length")
        if self.cache is None:
            return self._cast(self.segments(audio)), length
        return self._cast(self.cache(self.segments, audio, length)), length

    def _cast(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cast vectors to the dtype of the weights, which trainers may cast."""
        return {name: x.to(self.head.weight.dtype) for name, x in vectors.items()}

    def _segment_mask(self, values: Tensor, length: Tensor) -> Tensor:
        place = torch.arange(values.shape[1], device=values.device)
        return place < self.segments.num_segments(length)[:, None]

    def _drop_padding(
        self, vectors: Mapping[str, Tensor], length: Tensor | None
    ) -> dict[str, Tensor]:
        """Drop vectors of padding, and flatten to shape (segments, dimensions)."""
        if length is None:
            return {name: x.flatten(0, 1) for name, x in vectors.items()}
        return {name: x[self._segment_mask(x, length)] for name, x in vectors.items()}
