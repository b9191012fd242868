"""Convolutional recurrent network (Choi, Fazekas, Sandler and Cho, 2017)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.errors import MgcError
from mgc.features.spectrogram import LogMelSpectrogram
from mgc.models.base import MusicModel

#: Bands and frames that each convolution's maps are pooled by. They take 96 × 1440 to 48 × 720,
#: 16 × 240, 4 × 60 and 1 × 15.
POOLING = (2, 3, 4, 4)

#: Frames that become one step of the recurrent layers.
STEP = 2 * 3 * 4 * 4


class CRNN(nn.Module):
    """Four convolutions that summarise bands, two recurrent layers that summarise time."""

    def __init__(
        self,
        num_classes: int,
        n_mels: int = 96,
        channels: Sequence[int] = (68, 137, 137, 137),
        hidden: int = 68,
        dropout: float = 0.1,
        head_dropout: float = 0.3,
    ) -> None:
        """Initialize a new network.

        Args:
            num_classes: Number of outputs.
            n_mels: Number of mel bands.
            channels: Channels of each convolution.
            hidden: Units of each recurrent layer.
            dropout: Share of the outputs of each convolution dropped in training.
            head_dropout: Share of the inputs of the last layer dropped in training.
        """
        super().__init__()
        # Each band has a mean and a variance of its own.
        self.norm = nn.BatchNorm1d(n_mels)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1)
            for before, after in zip((1, *channels[:-1]), channels, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in channels)
        self.dropout = nn.Dropout(dropout)
        bands = n_mels
        for pool in POOLING:
            bands = max(1, bands // pool)
        self.rnn = nn.GRU(channels[-1] * bands, hidden, num_layers=2, batch_first=True)
        self.head_dropout = nn.Dropout(head_dropout)
        self.head = nn.Linear(hidden, num_classes)

    def layers(self, spectrogram: Tensor) -> dict[str, Tensor]:
        """Compute the outputs of all layers.

        Args:
            spectrogram: Log-mel-spectrograms of shape (batch, bands, frames).

        Returns:
            ``conv1`` to ``conv4``, averaged over bands and frames, of shape (batch, channels), and
            ``rnn``, the last state of the second recurrent layer, of shape (batch, hidden).
        """
        x = self.norm(spectrogram)
        # Whole steps: 1366 frames become 1440, with the same padding on both sides.
        missing = -x.shape[2] % STEP
        x = F.pad(x, (missing // 2, missing - missing // 2)).unsqueeze(1)
        outputs = {}
        for number, (conv, norm, pool) in enumerate(
            zip(self.convs, self.norms, POOLING, strict=True), start=1
        ):
            x = F.elu(norm(conv(x)))
            x = self.dropout(F.max_pool2d(x, (min(pool, x.shape[2]), pool)))
            outputs[f"conv{number}"] = x.mean(dim=(2, 3))
        steps = x.flatten(1, 2).transpose(1, 2)
        _, state = self.rnn(steps)
        return outputs | {"rnn": state[-1]}

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Score spectrograms.

        Args:
            spectrogram: Log-mel-spectrograms of shape (batch, bands, frames).

        Returns:
            Logits of shape (batch, classes).
        """
        return self.head(self.head_dropout(self.layers(spectrogram)["rnn"]))


class CRNNTagger(MusicModel):
    """CRNN: convolutions for what sounds like what, recurrent layers for its course in time.

    Choi, Fazekas, Sandler and Cho, "Convolutional recurrent neural networks for music
    classification", ICASSP 2017. The paper's setting is 29 s at 12 000 Hz, 96 mel bands and 1366
    frames, which become 15 steps of the recurrent layers. The default widths give half a million
    weights, a size that the paper compares networks at. Dropout and the normalisation of bands are
    those of the network that the authors released.
    """

    def __init__(
        self,
        channels: list[int] | None = None,
        hidden: int = 68,
        n_fft: int = 512,
        hop_length: int = 256,
        n_mels: int = 96,
        dropout: float = 0.1,
        head_dropout: float = 0.3,
        **kwargs: Any,
    ) -> None:
        """Initialize a new tagger.

        Args:
            channels: Channels of each of the four convolutions; by default 68, 137, 137, 137.
            hidden: Units of each recurrent layer.
            n_fft: Length of a frame of the spectrogram in samples.
            hop_length: Distance between two frames in samples.
            n_mels: Number of mel bands.
            dropout: Share of the outputs of each convolution dropped in training.
            head_dropout: Share of the inputs of the last layer dropped in training.
            **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.

        Raises:
            MgcError: If there are not four convolutions.
        """
        super().__init__(**kwargs)
        widths = channels or [68, 137, 137, 137]
        if len(widths) != len(POOLING):
            raise MgcError(f"channels={widths}: give the channels of {len(POOLING)} convolutions.")
        self.spectrogram = LogMelSpectrogram(self.sample_rate, n_fft, hop_length, n_mels)
        self.net = CRNN(self.num_classes, n_mels, widths, hidden, dropout, head_dropout)
        # Channels of a pixel side by side: faster on a CPU, and tensor cores need it.
        self.net.convs.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, audio: Tensor) -> Tensor:
        """Score clips.

        Args:
            audio: Clips of shape (batch, samples) at ``sample_rate``.

        Returns:
            Logits of shape (batch, classes).
        """
        return self.net(self.spectrogram(audio))

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Compute embeddings of clips.

        Args:
            audio: Clips of shape (batch, samples) at ``sample_rate``.

        Returns:
            ``conv1`` to ``conv4``, averaged over bands and frames, and ``rnn``, the summary of the
            clip; each of shape (batch, width of the layer).
        """
        return self.net.layers(self.spectrogram(audio))
