"""What the three models have in common."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

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
    """Codes segment vectors without labels, and max-pools the codes over the track.

    The codes of each feature are learned apart and joined. A linear layer learns the labels from
    the pooled codes and gives the codes no gradient: its accuracy tells how training goes, and
    labels never reach the codes. The figure to report is that of a support vector machine on the
    features (``mgc extract``, ``mgc transfer``).

    Tracks are padded batches of any lengths (``short: keep``).

    Source: Zhang et al., "A deep neural network for modeling music", ICMR 2015, section 4.3.
    """

    def __init__(
        self,
        features: Literal["MEL", "SFM", "SCF", "ALL"] = "ALL",
        segment_frames: int = SEGMENT_FRAMES,
        components: int = COMPONENTS,
        sample_size: int = 65536,
        sample_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        """Initialize a coder.

        Args:
            features: What segments are made of: ``MEL``, ``SFM``, ``SCF`` or ``ALL`` three.
            segment_frames: Frames of a segment.
            components: Numbers of a segment of each feature after whitening.
            sample_size: Random training segments that the whitening is fitted on.
            sample_seed: Seed of those segments.
            **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__(**kwargs)
        if features not in (*FRAME_FEATURES, "ALL"):
            raise MgcError(f"features={features!r}: choose MEL, SFM, SCF or ALL.")
        if sample_size < 1:
            raise MgcError(f"sample_size={sample_size}: at least 1 is needed.")
        if sample_seed < 0:
            raise MgcError(f"sample_seed={sample_seed}: at least 0 is needed.")
        names = FRAME_FEATURES if features == "ALL" else (features,)
        self.segments = SegmentVectors(self.sample_rate, names, segment_frames, components)
        self.sample_size = sample_size
        self.sample_seed = sample_seed
        self.cache: SegmentCache | None = None

    def make_head(self, size: int) -> None:
        """Make the linear layer; a model's constructor calls this first.

        It is no argument of the constructor here, as checkpoints keep all of those.

        Args:
            size: Numbers of a code, for each feature.

        Raises:
            MgcError: If there are none.
        """
        if size < 1:
            raise MgcError(f"Codes of {size} numbers: at least 1 is needed.")
        self.head = nn.Linear(size * len(self.segments.features), self.num_classes)

    def code(self, feature: str, vectors: Tensor) -> Tensor:
        """Code the vectors of a feature. Every model implements this.

        Args:
            feature: Name of the feature.
            vectors: Whitened vectors of shape (..., dimensions).

        Returns:
            Codes of shape (..., size).
        """
        raise NotImplementedError

    def objective(self, feature: str, vectors: Tensor) -> Tensor | None:
        """Compute what training lowers, where the codes are learned by gradients.

        Args:
            feature: Name of the feature.
            vectors: Whitened vectors of shape (segments, dimensions).

        Returns:
            A scalar, or nothing.
        """
        return None

    def error(self, feature: str, vectors: Tensor) -> Tensor:
        """Mean squared error of the vectors as their codes give them back. Every model has this.

        Args:
            feature: Name of the feature.
            vectors: Whitened vectors of shape (segments, dimensions).

        Returns:
            A scalar.
        """
        raise NotImplementedError

    def measures(self, feature: str, vectors: Tensor) -> dict[str, Tensor]:
        """What else of a feature is logged of held-out tracks, as ``val/<feature>_<name>``.

        Args:
            feature: Name of the feature.
            vectors: Whitened vectors of shape (segments, dimensions).

        Returns:
            Scalars by name.
        """
        return {}

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Learn what is learned before the first epoch; called on the first device alone.

        Args:
            samples: Whitened vectors of training segments, of shape (segments, dimensions), by
                feature.
        """

    def pool(self, vectors: Mapping[str, Tensor], length: Tensor | None = None) -> Tensor:
        """Take the largest value of every number of the codes over the segments of a track.

        Args:
            vectors: Of shape (batch, segments, dimensions), by feature.
            length: Samples of each track, of shape (batch,); by default all.

        Returns:
            Of shape (batch, size × features).
        """
        codes = torch.cat([self.code(name, x) for name, x in vectors.items()], 2)
        if length is not None:
            codes = codes.masked_fill(~self._inside(codes, length)[..., None], -torch.inf)
        return codes.amax(1)

    def features(self, audio: Tensor, length: Tensor | None = None) -> dict[str, Tensor]:
        """Represent tracks by the pooled codes.

        Args:
            audio: Tracks of shape (batch, samples) at ``sample_rate``.
            length: Samples of each track, of shape (batch,); by default all.

        Returns:
            ``codes`` of shape (batch, size × features).
        """
        return {"codes": self.pool(self._cast(self.segments(audio)), length)}

    def forward(self, audio: Tensor, length: Tensor | None = None) -> Tensor:
        """Score tracks by the linear layer.

        Args:
            audio: Tracks of shape (batch, samples) at ``sample_rate``.
            length: Samples of each track, of shape (batch,); by default all.

        Returns:
            Logits of shape (batch, classes).
        """
        return self.head(self.features(audio, length)["codes"].detach())

    def logits(self, batch: Batch) -> Tensor:
        """Score a batch of tracks of any lengths."""
        return self(batch["audio"], batch.get("length"))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the objective of the codes and, apart from it, the loss of the linear layer."""
        loss, vectors = self.linear_loss(readable(batch))
        for name, x in vectors.items():
            objective = self.objective(name, x) if len(x) else None
            if objective is not None:
                self.log(f"train/objective_{name}", objective, batch_size=len(x))
                loss = loss + objective
        return loss

    def linear_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute what the linear layer learns from.

        Args:
            batch: Training tracks that could be read.

        Returns:
            Loss of the linear layer, and whitened vectors of all segments of the tracks, of shape
            (segments, dimensions), by feature.
        """
        if not len(batch["target"]):
            # Nothing to learn, but other devices wait for gradients.
            zeros = [0 * p.sum() for p in self.parameters() if p.requires_grad]
            nothing = {
                name: torch.zeros(0, width, device=self.device)
                for name, width in self.segments.dimensions.items()
            }
            return torch.stack(zeros).sum(), nothing
        vectors, length = self._vectors(batch)
        loss = self.loss(self.head(self.pool(vectors, length).detach()), batch["target"])
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["target"]))
        return loss, self._inside_only(vectors, length)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Score a batch, and log ``val/error``, the mean squared error, and what else there is."""
        vectors, length = self._vectors(batch)
        inside = self._inside_only(vectors, length)
        error = torch.stack([self.error(name, x) for name, x in inside.items()]).mean()
        count = len(next(iter(inside.values())))
        self.log("val/error", error, batch_size=count, sync_dist=True)
        for name, x in inside.items():
            for measure, value in self.measures(name, x).items():
                self.log(f"val/{name}_{measure}", value, batch_size=count, sync_dist=True)
        return {"logits": self.head(self.pool(vectors, length))}

    def on_fit_start(self) -> None:
        """Fit the whitening, and what else comes before training, unless a checkpoint did."""
        super().on_fit_start()
        # The whitening stays as it is from here on, and so do the vectors of every track.
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
        """Forget the vectors of the tracks."""
        super().on_fit_end()
        self.cache = None

    def _vectors(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor | None]:
        audio, length = batch["audio"], batch.get("length")
        if self.cache is None:
            return self._cast(self.segments(audio)), length
        return self._cast(self.cache(self.segments, audio, length)), length

    def _cast(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give vectors the type of the weights, where a trainer casts whole models."""
        return {name: x.to(self.head.weight.dtype) for name, x in vectors.items()}

    def _inside(self, values: Tensor, length: Tensor) -> Tensor:
        place = torch.arange(values.shape[1], device=values.device)
        return place < self.segments.num_segments(length)[:, None]

    def _inside_only(
        self, vectors: Mapping[str, Tensor], length: Tensor | None
    ) -> dict[str, Tensor]:
        """Vectors without those of padding, of shape (segments, dimensions)."""
        if length is None:
            return {name: x.flatten(0, 1) for name, x in vectors.items()}
        return {name: x[self._inside(x, length)] for name, x in vectors.items()}
