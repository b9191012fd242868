"""Convolutional recurrent network (Choi, Fazekas, Sandler and Cho, 2017)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.core.ranges import Dropout, FrameLength, HopLength, MelBands, Width
from mgc.errors import MgcError
from mgc.features.spectrogram import LogMelSpectrogram
from mgc.models.base import MusicModel

#: Pooling of bands and frames after each convolution: from 96 × 1440 to 48 × 720, 16 × 240, 4 × 60
#: and 1 × 15.
POOLING = (2, 3, 4, 4)

#: Number of frames per step of the recurrent layers.
STEP = 2 * 3 * 4 * 4


class CRNN(nn.Module):
    """Four convolutions over bands and frames, and two recurrent layers over time."""

    def __init__(
        self,
        num_classes: int,
        n_mels: MelBands = 96,
        channels: Sequence[int] = (68, 137, 137, 137),
        hidden: Width = 68,
        dropout: Dropout = 0.1,
        head_dropout: Dropout = 0.3,
    ) -> None:
        super().__init__()
        # Normalises each band separately.
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
        """Return the outputs of all layers for spectrograms of shape (batch, bands, frames).

        ``conv1`` to ``conv4`` are averages over bands and frames, of shape (batch, channels).
        ``rnn`` is the last state of the second recurrent layer, of shape (batch, hidden).
        """
        x = self.norm(spectrogram)
        # Pads both sides to a multiple of STEP: 1366 frames become 1440.
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
        """Map log-mel spectrograms to logits of shape (batch, classes)."""
        return self.head(self.head_dropout(self.layers(spectrogram)["rnn"]))


class CRNNTagger(MusicModel):
    """CRNN: convolutions for local patterns, recurrent layers for their temporal order.

    Choi, Fazekas, Sandler and Cho, "Convolutional recurrent neural networks for music
    classification", ICASSP 2017. The paper uses 29 s at 12 000 Hz, 96 mel bands and 1366 frames: 15
    recurrent steps. The default has half a million weights, one of the sizes in the
    paper. Dropout and the normalisation of bands follow the authors' released network.
    """

    def __init__(
        self,
        channels: list[int] | None = None,
        hidden: Width = 68,
        n_fft: FrameLength = 512,
        hop_length: HopLength = 256,
        n_mels: MelBands = 96,
        dropout: Dropout = 0.1,
        head_dropout: Dropout = 0.3,
        **kwargs: Any,
    ) -> None:
        """Initialize the model.

        Args:
            channels: Channels of the four convolutions; by default 68, 137, 137, 137.
            hidden: Units of each recurrent layer.
            n_fft: Length of a frame in samples.
            hop_length: Hop between frames in samples.
            n_mels: Number of mel bands.
            dropout: Dropout probability after each convolution.
            head_dropout: Dropout probability before the last layer.
            **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.

        Raises:
            MgcError: If ``channels`` does not have four entries.
        """
        super().__init__(**kwargs)
        widths = channels or [68, 137, 137, 137]
        if len(widths) != len(POOLING):
            raise MgcError(f"channels={widths}: give the channels of {len(POOLING)} convolutions.")
        self.spectrogram = LogMelSpectrogram(self.sample_rate, n_fft, hop_length, n_mels)
        self.net = CRNN(self.num_classes, n_mels, widths, hidden, dropout, head_dropout)
        # channels_last is faster on CPUs, and tensor cores need it.
        self.net.convs.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, audio: Tensor) -> Tensor:
        """Map clips of shape (batch, samples) to logits of shape (batch, classes)."""
        return self.net(self.spectrogram(audio))

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Return ``conv1`` to ``conv4`` and ``rnn`` of shape (batch, width); see :class:`CRNN`."""
        return self.net.layers(self.spectrogram(audio))
