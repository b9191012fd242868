"""Small convolutional network on log-mel spectrograms."""

from itertools import pairwise
from typing import Annotated, Any

import torch.nn.functional as F
from torch import Tensor, nn

from mgc.core.ranges import MelBands, Range
from mgc.features.spectrogram import LogMelSpectrogram
from mgc.models.base import MusicModel


class ExampleNet(MusicModel):
    """Three convolutions on a log-mel spectrogram.

    :class:`mgc.models.base.MusicModel` provides losses, metrics, checkpoints and an Adam optimizer
    with ``lr``. The spectrogram is part of the model, so that a checkpoint takes raw audio.
    """

    def __init__(
        self, channels: Annotated[int, Range(1, 4096)] = 32, n_mels: MelBands = 64, **kwargs: Any
    ) -> None:
        """Initialize the model.

        Args:
            channels: Channels of each convolution.
            n_mels: Number of mel bands.
            **kwargs: Arguments of :class:`mgc.models.base.MusicModel`: ``num_classes``, ``task``
                and ``sample_rate``, which the data set determines, and ``lr``.
        """
        super().__init__(**kwargs)
        self.spectrogram = LogMelSpectrogram(
            self.sample_rate, n_fft=512, hop_length=256, n_mels=n_mels
        )
        widths = (1, channels, channels, channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, padding=1) for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.head = nn.Linear(channels, self.num_classes)

    def forward(self, audio: Tensor) -> Tensor:
        """Map clips of shape (batch, samples) to logits of shape (batch, num_classes)."""
        return self.head(self.features(audio)["conv3"])

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Return layers for ``mgc extract`` (optional): ``conv1`` to ``conv3``, (batch, channels).

        Each is averaged over bands and frames.
        """
        x = self.spectrogram(audio).unsqueeze(1)
        layers = {}
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True), start=1):
            x = F.max_pool2d(F.relu(norm(conv(x))), 2, ceil_mode=True)
            layers[f"conv{number}"] = x.mean(dim=(2, 3))
        return layers
