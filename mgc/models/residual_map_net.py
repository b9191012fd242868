"""Residual network over maps of features (Senac, Pellegrini, Mouret and Pinquier, 2017)."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.features.frames import FRAME_SECONDS, STFTMap
from mgc.features.music_map import MusicMap
from mgc.models.base import MusicModel

#: Outputs of the hidden dense layers (figure 1).
DENSE = (300, 150)

#: Length of the filters in frames (figure 1).
KERNEL = 4


class ResidualBranch(nn.Module):
    """Three convolutions over time; the output of the first is added to that of the third.

    The first combines all features of four frames at once, the others see time only (section 3).
    Each is zero-padded, so that all have as many frames as the map and any length will do.
    """

    def __init__(self, height: int, filters: int) -> None:
        """Initialize a new branch.

        Args:
            height: Rows of the map.
            filters: Filters of each convolution.
        """
        super().__init__()
        self.conv1 = nn.Conv1d(height, filters, KERNEL)
        self.conv2 = nn.Conv1d(filters, filters, KERNEL)
        self.conv3 = nn.Conv1d(filters, filters, KERNEL)

    def forward(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the convolutions.

        Args:
            feature_map: Maps of shape (batch, height, frames).

        Returns:
            Outputs of the first and of the third convolution, before the sum, both of shape
            (batch, filters, frames).
        """
        # Four frames have no middle: the padding leans to one side and back.
        short, long = (KERNEL - 1) // 2, KERNEL // 2
        first = F.relu(self.conv1(F.pad(feature_map, (short, long))))
        second = F.relu(self.conv2(F.pad(first, (long, short))))
        third = F.relu(self.conv3(F.pad(second, (short, long))))
        return first, third


class ResidualMapNet(nn.Module):
    """A residual branch for each map, joined before three dense layers.

    With one map it is ``net_STFT`` or ``net_MUSIC`` (figure 1); with both it is the early fusion
    that the paper's section 5 plans.
    """

    def __init__(
        self,
        num_classes: int,
        heights: Sequence[int],
        filters: int = 256,
        dropout: float = 0.2,
    ) -> None:
        """Initialize a new network.

        Args:
            num_classes: Number of outputs.
            heights: Rows of each map.
            filters: Filters of each convolution. The paper does not give their number; 256 is that
                of the network it reuses (Zhang et al., Interspeech 2016).
            dropout: Share of the inputs of the dense layers dropped in training.
        """
        super().__init__()
        self.branches = nn.ModuleList(ResidualBranch(height, filters) for height in heights)
        self.dropout = nn.Dropout(dropout)
        self.dense1 = nn.Linear(2 * filters * len(heights), DENSE[0])
        self.dense2 = nn.Linear(DENSE[0], DENSE[1])
        self.head = nn.Linear(DENSE[1], num_classes)

    def features(self, *maps: Tensor) -> dict[str, Tensor]:
        """Compute the outputs of the layers.

        Args:
            *maps: Maps of shape (batch, height, frames), in the order of ``heights``, all with the
                same frames.

        Returns:
            ``conv1`` and ``conv3`` of shape (batch, filters, frames), those of several maps one
            after the other; ``pooled``, the largest and the mean value of their sum over time, of
            shape (batch, 2 * filters) a map; ``dense1`` (batch, 300); ``dense2`` (batch, 150).
        """
        outputs = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        conv1, conv3 = (torch.cat(layer, 1) for layer in zip(*outputs, strict=True))
        total = conv1 + conv3
        pooled = torch.cat([total.amax(2), total.mean(2)], 1)
        dense1 = F.relu(self.dense1(self.dropout(pooled)))
        dense2 = F.relu(self.dense2(self.dropout(dense1)))
        return {
            "conv1": conv1,
            "conv3": conv3,
            "pooled": pooled,
            "dense1": dense1,
            "dense2": dense2,
        }

    def forward(self, *maps: Tensor) -> Tensor:
        """Score maps.

        Args:
            *maps: Maps of shape (batch, height, frames), in the order of ``heights``.

        Returns:
            Logits of shape (batch, classes).
        """
        return self.head(self.dropout(self.features(*maps)["dense2"]))


class ResidualMapClassifier(MusicModel):
    """Residual network over a spectrogram, a map of eight music features, or both.

    Senac, Pellegrini, Mouret and Pinquier, "Music feature maps with convolutional neural networks
    for music genre classification", CBMI 2017. The paper's setting is 3 s at 22 050 Hz, where the
    spectrogram has 513 bins and a clip 128 frames.
    """

    def __init__(
        self,
        maps: Literal["stft", "music", "both"] = "music",
        filters: int = 256,
        dropout: float = 0.2,
        frame_seconds: float = FRAME_SECONDS,
        cutoff_hz: float = 1500.0,
        standardize: bool = False,
        **kwargs: Any,
    ) -> None:
        """Initialize a new classifier.

        Args:
            maps: Which maps it sees: ``stft`` (magnitudes of the spectrum), ``music`` (eight music
                features) or ``both``, joined before the dense layers.
            filters: Filters of each convolution.
            dropout: Share of the inputs of the dense layers dropped in training.
            frame_seconds: Length of a frame in seconds; the next one covers half of it.
            cutoff_hz: Frequency in Hz above which energy counts as bright.
            standardize: Whether the music features get mean 0 and standard deviation 1, as measured
                once on an epoch of the training data. They do not in the paper.
            **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__(**kwargs)
        if maps not in ("stft", "music", "both"):
            raise MgcError(f"maps={maps!r}: choose stft, music or both.")
        if standardize and maps == "stft":
            raise MgcError("standardize=True: there are no music features with maps='stft'.")
        self.standardize = standardize
        front_ends: dict[str, STFTMap | MusicMap] = {}
        if maps != "music":
            front_ends["stft"] = STFTMap(self.sample_rate, frame_seconds)
        if maps != "stft":
            front_ends["music"] = MusicMap(self.sample_rate, frame_seconds, cutoff_hz=cutoff_hz)
        heights = [front_end.height for front_end in front_ends.values()]
        self.maps = nn.ModuleDict(front_ends)
        self.net = ResidualMapNet(self.num_classes, heights, filters, dropout)

    def forward(self, audio: Tensor) -> Tensor:
        """Score clips.

        Args:
            audio: Clips of shape (batch, samples) at ``sample_rate``.

        Returns:
            Logits of shape (batch, classes).
        """
        return self.net(*(front_end(audio) for front_end in self.maps.values()))

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Compute embeddings of clips.

        Args:
            audio: Clips of shape (batch, samples) at ``sample_rate``.

        Returns:
            ``conv1`` and ``conv3``, averaged over time, of shape (batch, filters) a map; ``pooled``
            (batch, 2 * filters) a map; ``dense1`` (batch, 300); ``dense2`` (batch, 150).
        """
        layers = self.net.features(*(front_end(audio) for front_end in self.maps.values()))
        return {name: x.mean(2) if x.ndim == 3 else x for name, x in layers.items()}

    def on_train_start(self) -> None:
        """Measure the statistics of the music features, unless a checkpoint brought them."""
        music = self.maps["music"] if self.standardize else None
        if not isinstance(music, MusicMap) or music.fitted:
            return
        batches: Iterable[Batch] = self.trainer.train_dataloader  # type: ignore[assignment]
        music.fit_statistics(batch["audio"].to(self.device) for batch in batches)
        # Each device has seen its share of the data; the first one's serves all.
        for statistic in (music.mean, music.scale):
            statistic.copy_(self.trainer.strategy.broadcast(statistic))
