"""Short-chunk CNN with residual connections (Won, Ferraro, Bogdanov and Serra, 2020)."""

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.core.ranges import Dropout, FrameLength, HopLength, MelBands, Range
from mgc.features.spectrogram import LogMelSpectrogram
from mgc.models.base import MusicModel

#: Width of each block relative to ``channels``: 128, 128, 256, 256, 256, 256, 512 in the paper.
WIDTHS = (1, 1, 2, 2, 2, 2, 4)


class ResidualBlock(nn.Module):
    """Residual block of two 3 × 3 convolutions, with a convolutional shortcut and stride 2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(out_channels)
        # The shortcut has the same stride.
        self.conv3 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm3 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (batch, channels, bands, frames); halves bands and frames."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.norm3(self.conv3(x)))


class PlainBlock(nn.Module):
    """Block without residual connections: a 3 × 3 convolution and max-pooling."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (batch, channels, bands, frames); halves bands and frames."""
        # ceil_mode keeps a single band or frame.
        return F.max_pool2d(F.relu(self.norm(self.conv(x))), 2, ceil_mode=True)


class ShortChunkNet(nn.Module):
    """Seven blocks, global max-pooling and two dense layers."""

    def __init__(
        self,
        num_classes: int,
        channels: Annotated[int, Range(1, 4096)] = 128,
        dropout: Dropout = 0.5,
        residual: bool = True,
    ) -> None:
        super().__init__()
        block = ResidualBlock if residual else PlainBlock
        widths = [channels * width for width in WIDTHS]
        self.norm = nn.BatchNorm2d(1)
        self.blocks = nn.ModuleList(
            block(before, after) for before, after in zip([1, *widths[:-1]], widths, strict=True)
        )
        self.hidden = nn.Linear(widths[-1], widths[-1])
        self.hidden_norm = nn.BatchNorm1d(widths[-1])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], num_classes)
        # channels_last is faster on CPUs, and tensor cores need it.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in its stubs

    def layers(self, spectrogram: Tensor) -> dict[str, Tensor]:
        """Return the outputs of all layers for spectrograms of shape (batch, bands, frames).

        ``block1`` to ``block7`` are maxima over bands and frames. All outputs have shape (batch,
        width).
        """
        x = self.norm(spectrogram.unsqueeze(1))
        outputs = {}
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            outputs[f"block{number}"] = x.amax(dim=(2, 3))
        hidden = self.hidden(outputs[f"block{len(self.blocks)}"])
        hidden = self.hidden_norm(hidden)
        return outputs | {"hidden": F.relu(hidden)}

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Map log-mel spectrograms to logits of shape (batch, classes)."""
        return self.head(self.dropout(self.layers(spectrogram)["hidden"]))


class ShortChunkCNN(MusicModel):
    """Short-chunk CNN: small pooling steps over clips of 3.69 s.

    Won, Ferraro, Bogdanov and Serra, "Evaluation of CNN-based automatic music tagging models",
    Sound and Music Computing Conference, 2020. The paper uses 59 049 samples at 16 000 Hz (3.69 s),
    128 mel bands and Adam at 1e-4. Mel bands are Slaney's, as in all of mgc; the authors' code uses
    HTK's, without normalisation.
    """

    def __init__(
        self,
        channels: Annotated[int, Range(1, 4096)] = 128,
        n_fft: FrameLength = 512,
        hop_length: HopLength = 256,
        n_mels: MelBands = 128,
        dropout: Dropout = 0.5,
        residual: bool = True,
        **kwargs: Any,
    ) -> None:
        """Initialize the model.

        Args:
            channels: Channels of the first block; the last one has four times this number.
            n_fft: Length of a frame in samples.
            hop_length: Hop between frames in samples.
            n_mels: Number of mel bands.
            dropout: Dropout probability after the hidden layer.
            residual: Whether blocks have residual connections. The paper compares both.
            **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.
        """
        super().__init__(**kwargs)
        # 0 dB is a power of 1; the floor of -100 dB only removes rounding errors.
        self.spectrogram = LogMelSpectrogram(
            self.sample_rate, n_fft, hop_length, n_mels, top_db=100.0, reference_db=0.0
        )
        self.net = ShortChunkNet(self.num_classes, channels, dropout, residual)

    def forward(self, audio: Tensor) -> Tensor:
        """Map clips of shape (batch, samples) to logits of shape (batch, classes)."""
        return self.net(self.spectrogram(audio))

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Return ``block1`` to ``block7`` and ``hidden``; see :meth:`ShortChunkNet.layers`."""
        return self.net.layers(self.spectrogram(audio))
