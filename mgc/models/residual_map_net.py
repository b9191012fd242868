"""Residual network on feature maps (Senac, Pellegrini, Mouret and Pinquier, 2017)."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.core.ranges import CheckedArguments, Dropout, Range, Seconds
from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.features.frames import FRAME_SECONDS, STFTMap
from mgc.features.music_map import MusicMap
from mgc.models.base import MusicModel

#: Units of the hidden dense layers (figure 1).
DENSE_UNITS = (300, 150)

#: Length of the filters in frames (figure 1).
KERNEL = 4


class ResidualBranch(nn.Module):
    """Three convolutions over time; the output of the first is added to that of the third.

    The first convolution combines all features of four frames; the others only extend over time
    (section 3). All are zero-padded and keep the number of frames, so maps of any length work.
    """

    def __init__(self, height: int, filters: Annotated[int, Range(1, 2**14)]) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(height, filters, KERNEL)
        self.conv2 = nn.Conv1d(filters, filters, KERNEL)
        self.conv3 = nn.Conv1d(filters, filters, KERNEL)

    def forward(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs of the first and third convolution, before the sum."""
        # A kernel of even size has no centre: the padding alternates between the sides.
        short, long = (KERNEL - 1) // 2, KERNEL // 2
        first = F.relu(self.conv1(F.pad(feature_map, (short, long))))
        second = F.relu(self.conv2(F.pad(first, (long, short))))
        third = F.relu(self.conv3(F.pad(second, (short, long))))
        return first, third


class ResidualMapNet(CheckedArguments, nn.Module):
    """A residual branch for each map, concatenated before three dense layers.

    With one map it is ``net_STFT`` or ``net_MUSIC`` (figure 1); with both it is the early fusion
    planned in section 5 of the paper. ``heights`` are the numbers of rows of the maps. The paper
    does not specify the number of filters; 256 is the number in the network it is based on (Zhang
    et al., Interspeech 2016).
    """

    def __init__(
        self,
        num_classes: int,
        heights: Sequence[int],
        filters: Annotated[int, Range(1, 2**14)] = 256,
        dropout: Dropout = 0.2,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(ResidualBranch(height, filters) for height in heights)
        self.dropout = nn.Dropout(dropout)
        self.dense1 = nn.Linear(2 * filters * len(heights), DENSE_UNITS[0])
        self.dense2 = nn.Linear(*DENSE_UNITS)
        self.head = nn.Linear(DENSE_UNITS[1], num_classes)

    def features(self, *maps: Tensor) -> dict[str, Tensor]:
        """Return the outputs of the layers for maps of shape (batch, height, frames).

        They are ``conv1`` and ``conv3`` of shape (batch, filters, frames), concatenated over maps;
        ``pooled``, the maximum and mean of their sum over time, of shape (batch, 2 * filters) per
        map; ``dense1`` (batch, 300); and ``dense2`` (batch, 150).
        """
        outputs = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        conv1, conv3 = (torch.cat(layer, 1) for layer in zip(*outputs, strict=True))
        total = conv1 + conv3
        pooled = torch.cat([total.amax(2), total.mean(2)], 1)
        dense1 = F.relu(self.dense1(self.dropout(pooled)))
        dense2 = F.relu(self.dense2(self.dropout(dense1)))
        layers = {"conv1": conv1, "conv3": conv3, "pooled": pooled}
        return layers | {"dense1": dense1, "dense2": dense2}

    def forward(self, *maps: Tensor) -> Tensor:
        """Return logits of shape (batch, classes) for the maps of :meth:`features`."""
        return self.head(self.dropout(self.features(*maps)["dense2"]))


class ResidualMapClassifier(MusicModel):
    """Residual network on a spectrogram, a map of eight music features, or both.

    Senac, Pellegrini, Mouret and Pinquier, "Music feature maps with convolutional neural networks
    for music genre classification", CBMI 2017. The paper uses clips of 3 s at 22 050 Hz: 513 bins
    and 128 frames.

    Args:
        maps: Input maps: ``stft`` (magnitude spectrogram), ``music`` (eight music features) or
            ``both``, concatenated before the dense layers.
        filters: Filters of each convolution.
        dropout: Dropout probability before the dense layers.
        frame_seconds: Length of a frame in seconds; frames overlap by half.
        cutoff_hz: Cutoff frequency of the brightness in Hz.
        standardize: Whether to standardize the music features with statistics of one epoch of
            training data. The paper does not.
        map_seconds: Length of the map in seconds: the middle of each clip. Only the key clarity
            uses the complete clip, so clips of 6 s give the windows of the paper. By default, the
            map is as long as the clip.
        raw_units: Whether the network gets zero crossings per second, as in the paper, instead of
            their share of the largest possible rate.
        **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.
    """

    def __init__(
        self,
        maps: Literal["stft", "music", "both"] = "music",
        filters: Annotated[int, Range(1, 2**14)] = 256,
        dropout: Dropout = 0.2,
        frame_seconds: Annotated[float, Range(0, 10, closed="right")] = FRAME_SECONDS,
        cutoff_hz: Annotated[float, Range(0, 192000)] = 1500.0,
        standardize: bool = False,
        map_seconds: Seconds | None = None,
        raw_units: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if standardize and maps == "stft":
            raise MgcError("standardize=True: maps='stft' has no music features.")
        self.standardize = standardize
        front_ends: dict[str, STFTMap | MusicMap] = {}
        if maps != "music":
            front_ends["stft"] = STFTMap(self.sample_rate, frame_seconds, map_seconds=map_seconds)
        if maps != "stft":
            front_ends["music"] = MusicMap(
                self.sample_rate,
                frame_seconds,
                cutoff_hz=cutoff_hz,
                map_seconds=map_seconds,
                raw_units=raw_units,
            )
        heights = [front_end.height for front_end in front_ends.values()]
        self.maps = nn.ModuleDict(front_ends)
        self.net = ResidualMapNet(self.num_classes, heights, filters, dropout)

    def forward(self, audio: Tensor) -> Tensor:
        """Return logits of shape (batch, classes) for clips of shape (batch, samples)."""
        return self.net(*(front_end(audio) for front_end in self.maps.values()))

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Return the layers of :meth:`ResidualMapNet.features`, convolutions averaged over time."""
        layers = self.net.features(*(front_end(audio) for front_end in self.maps.values()))
        return {name: x.mean(2) if x.ndim == 3 else x for name, x in layers.items()}

    def on_train_start(self) -> None:
        """Compute the statistics of the music features, unless a checkpoint contained them."""
        music = self.maps["music"] if self.standardize else None
        if not isinstance(music, MusicMap) or music.fitted:
            return
        batches: Iterable[Batch] = self.trainer.train_dataloader  # type: ignore[assignment]
        music.fit_statistics(batch["audio"].to(self.device) for batch in batches)
        # Each device has read its share of the data; all use the statistics of the first.
        for statistic in (music.mean, music.scale):
            statistic.copy_(self.trainer.strategy.broadcast(statistic))
