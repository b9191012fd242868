"""VGG-style tagger (Choi, Fazekas, Sandler and Cho, 2017)."""

from typing import Annotated, Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.core.ranges import (
    CheckedArguments,
    Dropout,
    FrameLength,
    Hertz,
    HopLength,
    MelBands,
    Range,
    Width,
)
from mgc.features.spectrogram import LogMelSpectrogram
from mgc.models.base import MusicModel

#: Pool size of each block (bands × frames) in the released network. Those in figure 1 of the paper
#: do not fit 96 bands. Sizes after the blocks: 48 × 340, 16 × 85, 8 × 17, 4 × 4 and 1 × 1.
POOLING = ((2, 4), (3, 4), (2, 5), (2, 4), (4, 4))


class VGGBlock(nn.Module):
    """3 × 3 convolution, normalization, ELU and max-pooling over bands × frames."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        pooling: tuple[int, int],
        norm: Literal["batch", "clip"],
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        # He-normal initialization as in the paper, epsilon as in Keras 1 (used by the paper).
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type] # the convolution has a bias
        self.norm = (
            nn.BatchNorm2d(out_channels, eps=1e-3)
            if norm == "batch"
            else nn.InstanceNorm2d(out_channels, eps=1e-3, affine=True)
        )
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to maps of shape (batch, channels, bands, frames)."""
        x = self.norm(self.conv(x))
        bands, frames = (
            cast(int, torch.sym_max(0, pool - size))  # symbolic during export
            for pool, size in zip(self.pooling, x.shape[2:], strict=True)
        )
        # Pad inputs smaller than the pool. An exported graph always pads, for any clip length.
        if torch.compiler.is_exporting() or bands or frames:
            x = F.pad(x, (0, frames, 0, bands), value=-torch.inf)
        # ELU is monotonic, so applying it after pooling gives the same values at lower cost.
        return F.elu(F.max_pool2d(x, self.pooling))


class VGGNet(CheckedArguments, nn.Module):
    """Five convolutional blocks and a linear layer on a log-mel-spectrogram.

    The output of the last block is averaged over bands and frames. With 96 bands and 29 s at
    12 000 Hz, as in the paper, it has a single value per channel.
    """

    def __init__(
        self,
        num_classes: Width,
        channels: Annotated[int, Range(1, 4096)] = 32,
        dropout: Dropout = 0.0,
        norm: Literal["batch", "clip"] = "batch",
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            VGGBlock(1 if i == 0 else channels, channels, pooling, norm)
            for i, pooling in enumerate(POOLING)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)
        # This format cuts the time of a training step on a CPU to a third; tensor cores need it.
        self.to(memory_format=torch.channels_last)

    def forward_blocks(self, spectrogram: Tensor) -> list[Tensor]:
        """Return the outputs of all blocks, each of shape (batch, channels, bands, frames)."""
        x = spectrogram.unsqueeze(1)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return outputs

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Return logits for log-mel-spectrograms of shape (batch, bands, frames)."""
        x = self.forward_blocks(spectrogram)[-1]
        return self.head(self.dropout(x.mean(dim=(2, 3))))


class VGGTagger(MusicModel):
    """Small VGG-style network on a log-mel-spectrogram, with features of every layer.

    Choi, Fazekas, Sandler and Cho, "Transfer learning for music classification and regression
    tasks", ISMIR 2017. The paper uses clips of 29 s at 12 000 Hz.

    Args:
        channels: Channels of each block.
        n_fft: Frame length of the spectrogram in samples.
        hop_length: Hop length in samples.
        n_mels: Number of mel bands.
        f_max: Upper edge of the highest band in Hz; half of the sample rate by default.
        dropout: Dropout probability before the linear layer.
        norm: Normalize with statistics of the ``batch`` or of each ``clip``.
        reference_db: Power of a mel band, in decibels, that counts as 0 dB; each clip's maximum by
            default.
        **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.
    """

    # Running statistics of an untrained network are 0 and 1, so that values grow with every block.
    untrained_arguments: ClassVar[dict[str, Any]] = {"norm": "clip"}

    def __init__(
        self,
        channels: Annotated[int, Range(1, 4096)] = 32,
        n_fft: FrameLength = 512,
        hop_length: HopLength = 256,
        n_mels: MelBands = 96,
        f_max: Hertz | None = None,
        dropout: Dropout = 0.0,
        norm: Literal["batch", "clip"] = "batch",
        reference_db: Annotated[float, Range(-1000, 1000)] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.spectrogram = LogMelSpectrogram(
            self.sample_rate, n_fft, hop_length, n_mels, f_max=f_max, reference_db=reference_db
        )
        self.net = VGGNet(self.num_classes, channels, dropout, norm)

    def forward(self, audio: Tensor) -> Tensor:
        """Return logits of shape (batch, classes) for clips of shape (batch, samples)."""
        return self.net(self.spectrogram(audio))

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Return the mean of every map of ``block1`` to ``block5``, of shape (batch, channels)."""
        outputs = self.net.forward_blocks(self.spectrogram(audio))
        return {f"block{i}": x.mean(dim=(2, 3)) for i, x in enumerate(outputs, start=1)}
