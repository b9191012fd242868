"""Short-chunk CNN with residual connections (Won, Ferraro, Bogdanov and Serra, 2020)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.features.spectrogram import LogMelSpectrogram
from mgc.models.base import MusicModel

#: Width of each block, as a multiple of ``channels``: 128, 128, 256, 256, 256, 256, 512.
WIDTHS = (1, 1, 2, 2, 2, 2, 4)


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut; halves bands and frames."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Initialize a new block.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(out_channels)
        # The shortcut has to halve the map as well.
        self.conv3 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm3 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: Maps of shape (batch, channels, bands, frames).

        Returns:
            Maps with half of the bands and frames, at least one each.
        """
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.norm3(self.conv3(x)))


class PlainBlock(nn.Module):
    """A 3 × 3 convolution and max-pooling: the short-chunk CNN without residual connections."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Initialize a new block.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
        """
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: Maps of shape (batch, channels, bands, frames).

        Returns:
            Maps with half of the bands and frames, at least one each.
        """
        # Pools what there is of a map with a single band or frame.
        return F.max_pool2d(F.relu(self.norm(self.conv(x))), 2, ceil_mode=True)


class ShortChunkNet(nn.Module):
    """Seven blocks, the maximum over what is left of bands and frames, and two dense layers."""

    def __init__(
        self, num_classes: int, channels: int = 128, dropout: float = 0.5, residual: bool = True
    ) -> None:
        """Initialize a new network.

        Args:
            num_classes: Number of outputs.
            channels: Channels of the first block; later ones have up to four times as many.
            dropout: Share of the hidden layer dropped in training.
            residual: Whether blocks are residual.
        """
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
        # Channels of a pixel side by side: faster on a CPU, and tensor cores need it.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in its stubs

    def layers(self, spectrogram: Tensor) -> dict[str, Tensor]:
        """Compute the outputs of all layers.

        Args:
            spectrogram: Log-mel-spectrograms of shape (batch, bands, frames).

        Returns:
            ``block1`` to ``block7``, the largest value of each map, of shape (batch, channels of
            the block), and ``hidden``, of the width of the last block.
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
        """Score spectrograms.

        Args:
            spectrogram: Log-mel-spectrograms of shape (batch, bands, frames).

        Returns:
            Logits of shape (batch, classes).
        """
        return self.head(self.dropout(self.layers(spectrogram)["hidden"]))


class ShortChunkCNN(MusicModel):
    """Short-chunk CNN: many small pooling steps over 3.69 s, strongest when trained from scratch.

    Won, Ferraro, Bogdanov and Serra, "Evaluation of CNN-based automatic music tagging models",
    Sound and Music Computing Conference, 2020. The paper's setting is 59 049 samples at 16 000 Hz
    (3.69 s), 128 mel bands and Adam at 1e-4. Mel bands are Slaney's, as everywhere in mgc;
    the authors' code has HTK's, without normalisation.
    """

    def __init__(
        self,
        channels: int = 128,
        n_fft: int = 512,
        hop_length: int = 256,
        n_mels: int = 128,
        dropout: float = 0.5,
        residual: bool = True,
        **kwargs: Any,
    ) -> None:
        """Initialize a new tagger.

        Args:
            channels: Channels of the first block; the last one has four times as many.
            n_fft: Length of a frame of the spectrogram in samples.
            hop_length: Distance between two frames in samples.
            n_mels: Number of mel bands.
            dropout: Share of the hidden layer dropped in training.
            residual: Whether blocks have residual connections; without, it is the paper's plain
                short-chunk CNN.
            **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.
        """
        super().__init__(**kwargs)
        # 0 dB is a power of 1, and nothing is cut off but rounding errors (100 dB).
        self.spectrogram = LogMelSpectrogram(
            self.sample_rate, n_fft, hop_length, n_mels, top_db=100.0, reference_db=0.0
        )
        self.net = ShortChunkNet(self.num_classes, channels, dropout, residual)

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
            ``block1`` to ``block7``, the largest value of every map, and ``hidden``; each of shape
            (batch, width of the layer).
        """
        return self.net.layers(self.spectrogram(audio))
