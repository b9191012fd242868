"""Convolutional network over audio words with k-max pooling (KCNN; Zhang et al., 2015)."""

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from mgc.core.ranges import CheckedArguments, LearningRate, Range, Seed, WeightDecay, Width
from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.features.audio_words import (
    COMPONENTS,
    SEGMENT_FRAMES,
    AudioWords,
    SegmentVectors,
    sample_training_segments,
    share_fitted,
)
from mgc.features.beat_batches import length_mask
from mgc.features.frame_bands import FRAME_FEATURES
from mgc.features.k_max import k_max_pool
from mgc.features.segment_cache import SegmentCache
from mgc.models.base import MusicModel

log = logging.getLogger(__name__)

#: Names of the features in the paper's tables.
Features = Literal["MEL", "SFM", "SCF", "ALL"]


class KCNN(CheckedArguments, nn.Module):
    """Lookup tables, convolutions over words, k-max pooling, a sigmoid layer and a linear layer.

    ``tables`` has the number of words and of dimensions of each feature's lookup table.
    """

    def __init__(
        self,
        num_classes: Width,
        tables: Mapping[str, tuple[int, int]],
        window: Annotated[int, Range(1, 1023, odd=True)] = 5,
        units: Annotated[int, Range(1, 2**14)] = 500,
        layers: Annotated[int, Range(1, 100)] = 1,
        k: Annotated[int, Range(1, 1000)] = 5,
        hidden: Width = 300,
        learn_tables: bool = True,
    ) -> None:
        super().__init__()
        self.k = k
        self.tables = nn.ModuleDict(
            {name: nn.Embedding(words, width) for name, (words, width) in tables.items()}
        )
        self.tables.requires_grad_(learn_tables)
        widths = [sum(width for _, width in tables.values())] + [units] * layers
        self.convs = nn.ModuleList(
            nn.Conv1d(before, after, window, padding=window // 2)
            for before, after in pairwise(widths)
        )
        self.hidden = nn.Linear(units * k, hidden)
        self.head = nn.Linear(hidden, num_classes)

    def features(self, words: Mapping[str, Tensor], length: Tensor | None = None) -> Tensor:
        """Return the outputs of the hidden layer, from 0 to 1, of shape (batch, hidden).

        Words have shape (batch, segments), the number of segments of each song (batch,).
        """
        x = torch.cat([table(words[name]) for name, table in self.tables.items()], 2)
        x = x.transpose(1, 2)
        inside = None if length is None else length_mask(length, x.shape[2])[:, None]
        for number, conv in enumerate(self.convs):
            if number:
                x = x.sigmoid()
            # Zero the padding, as a convolution pads with zeros, so that a song's outputs do not
            # depend on the other songs of its batch.
            x = conv(x if inside is None else x * inside)
        return self.hidden(k_max_pool(x, self.k, length).flatten(1)).sigmoid()

    def forward(self, words: Mapping[str, Tensor], length: Tensor | None = None) -> Tensor:
        """Return logits of shape (batch, classes) for the arguments of :meth:`features`."""
        return self.head(self.features(words, length))


class KCNNClassifier(MusicModel):
    """Convolutional network with k-max pooling over the audio words of complete tracks (KCNN).

    Zhang, Zheng, Zhang, Li, Qian, He, Zhang and Wang, "A deep neural network for modeling music",
    ICMR 2015. The paper uses complete tracks at 22 050 Hz: set ``clip_seconds`` to at least the
    longest track, and ``short: keep``.

    Before the first epoch, the codebooks are fitted in one pass over the training tracks, on
    ``vectors_per_word`` random segments per word. Checkpoints contain them.

    Without an ``optimizer`` section, the model is trained by plain gradient descent as in the
    paper. At the paper's learning rate the lookup tables stay within 1 % of the centres, so trained
    and frozen tables give the same predictions: the whitened centres are large in comparison with
    the gradients. ``table_lr: 2`` moves them by a third or more in the same number of epochs.

    Args:
        features: Frame features of the words: ``MEL`` (mel-spectrogram), ``SFM`` (spectral
            flatness), ``SCF`` (spectral crest factor), or ``ALL`` (all three, each with its own
            codebook and lookup table).
        codebook_size: Words per codebook (not given in the paper).
        segment_frames: Frames per word, with 50 % overlap (not given in the paper).
        components: Dimensions of a word after whitening (not given in the paper).
        window: Kernel size of the convolutions in words (table 1).
        units: Units of each convolution (table 1).
        layers: Number of convolutions.
        k: Number of values that k-max pooling keeps per unit (table 1).
        hidden: Units of the hidden layer, the song representation (table 1).
        learn_tables: Whether the lookup tables are trained. If not, they stay the cluster centres
            (``ULT`` in the paper) and ``table_lr`` has no effect.
        vectors_per_word: Random training segments per word for fitting the codebooks.
        codebook_seed: Seed of the segment sample and of k-means.
        weight_decay: λ of the penalty λ/2‖θ‖² on tables, weights and biases (table 1). Ignored with
            an ``optimizer`` section.
        lr: Learning rate (table 1). Ignored with an ``optimizer`` section.
        table_lr: Learning rate of the lookup tables; ``lr`` by default, as in the paper. Raises an
            error if there is an ``optimizer`` section.
        **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.
    """

    training_settings = ("vectors_per_word", "learn_tables")

    def __init__(
        self,
        features: Features = "ALL",
        codebook_size: Annotated[int, Range(2, 2**16)] = 256,
        segment_frames: Annotated[int, Range(1, 4096)] = SEGMENT_FRAMES,
        components: Annotated[int, Range(1, 4096)] = COMPONENTS,
        window: Annotated[int, Range(1, 1023, odd=True)] = 5,
        units: Annotated[int, Range(1, 2**14)] = 500,
        layers: Annotated[int, Range(1, 100)] = 1,
        k: Annotated[int, Range(1, 1000)] = 5,
        hidden: Width = 300,
        learn_tables: bool = True,
        vectors_per_word: Annotated[int, Range(1, 10**5)] = 256,
        codebook_seed: Seed = 0,
        weight_decay: WeightDecay = 1e-4,
        lr: LearningRate = 0.02,
        table_lr: LearningRate | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(lr=lr, **kwargs)
        names = FRAME_FEATURES if features == "ALL" else (features,)
        self.words = AudioWords(
            SegmentVectors(self.sample_rate, names, segment_frames, components), codebook_size
        )
        tables = {n: (codebook_size, w) for n, w in self.words.segments.dimensions.items()}
        self.net = KCNN(self.num_classes, tables, window, units, layers, k, hidden, learn_tables)
        self.sample_size = vectors_per_word * codebook_size
        self.codebook_seed = codebook_seed
        self.weight_decay = weight_decay
        self.cache: SegmentCache | None = None
        self.table_lr = table_lr

    def forward(self, audio: Tensor, length: Tensor | None = None) -> Tensor:
        """Return logits of shape (batch, classes) for tracks of shape (batch, samples).

        ``length`` is the number of samples of each track without padding, of shape (batch,).

        Raises:
            MgcError: If the codebooks are not fitted.
        """
        return self.net(self.words(audio), self._segments(length))

    def features(self, audio: Tensor, length: Tensor | None = None) -> dict[str, Tensor]:
        """Return ``hidden`` of shape (batch, 300), the song representation (section 4.3)."""
        return {"hidden": self.net.features(self.words(audio), self._segments(length))}

    def logits(self, batch: Batch) -> Tensor:
        """Compute logits of a batch of tracks of any length."""
        audio, length = batch["audio"], batch.get("length")
        if self.cache is None:
            return self(audio, length)
        return self.net(self.cache(self.words, audio, length), self._segments(length))

    def on_fit_start(self) -> None:
        """Fit the codebooks, unless a checkpoint contained them."""
        # An optimizer section replaces the method on the instance.
        if self.table_lr is not None and "configure_optimizers" in vars(self):
            raise MgcError(
                f"table_lr={self.table_lr} is ignored with an optimizer section. "
                "Remove one of them."
            )
        super().on_fit_start()
        # The codebooks no longer change, so the words of a track can be cached.
        self.cache = SegmentCache()
        if self.words.segments.fitted:
            return
        sample = sample_training_segments(
            self, self.words.segments, self.sample_size, self.codebook_seed, self.words.size
        )
        if self.trainer.is_global_zero:
            inertia = self.words.fit(sample, self.codebook_seed)
            log.info(
                "Fitted codebooks of %d words on %d training segments; mean squared distance to "
                "the nearest word: %s.",
                self.words.size,
                len(next(iter(sample.values()))),
                ", ".join(f"{value:.1f} ({name})" for name, value in inertia.items()),
            )
        share_fitted(self, self.words)
        with torch.no_grad():
            for name, table in self.net.tables.items():
                table.weight.copy_(self.words.centres(name))  # type: ignore[operator] # a tensor

    def on_fit_end(self) -> None:
        """Clear the cached words."""
        super().on_fit_end()
        self.cache = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the paper's optimizer: gradient descent with an L2 penalty."""
        tables = [p for p in self.net.tables.parameters() if p.requires_grad]
        rest = [p for n, p in self.named_parameters() if not n.startswith("net.tables.")]
        table_lr = self.lr if self.table_lr is None else self.table_lr
        groups: list[dict[str, Any]] = [{"params": rest}, {"params": tables, "lr": table_lr}]
        return torch.optim.SGD(groups, self.lr, weight_decay=self.weight_decay)

    def _segments(self, length: Tensor | None) -> Tensor | None:
        return None if length is None else self.words.segments.num_segments(length)
