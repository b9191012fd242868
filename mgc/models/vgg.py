"""VGG tagger (Choi, Fazekas, Sandler and Cho, 2017)."""

from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.features.spectrogram import LogMelSpectrogram
from mgc.models.base import MusicModel

#: Bands × frames pooled by each block. The released network's; the paper's figure 1 does not fit
#: 96 bands. They take 96 × 1360 to 48 × 340, 16 × 85, 8 × 17, 4 × 4 and 1 × 1.
POOLING = ((2, 4), (3, 4), (2, 5), (2, 4), (4, 4))


class VGGBlock(nn.Module):
    """3 × 3 convolution, normalisation, ELU, max-pooling."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        pooling: tuple[int, int],
        norm: Literal["batch", "clip"],
    ) -> None:
        """Initialize a new block.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            pooling: Bands and frames that become one.
            norm: Normalise by statistics of the ``batch`` or of each ``clip``.
        """
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        # He-normal start as in the paper; epsilon as in Keras 1, where the network was made.
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type] # the convolution has a bias
        self.norm = (
            nn.BatchNorm2d(out_channels, eps=1e-3)
            if norm == "batch"
            else nn.InstanceNorm2d(out_channels, eps=1e-3, affine=True)
        )
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: Maps of shape (batch, channels, bands, frames).

        Returns:
            Maps with fewer bands and frames, at least one each.
        """
        x = self.norm(self.conv(x))
        bands, frames = (
            cast(int, torch.sym_max(0, pool - size))  # a symbol while a graph is exported
            for pool, size in zip(self.pooling, x.shape[2:], strict=True)
        )
        # What is smaller than its pool becomes one. An exported graph is for clips of any length.
        if torch.compiler.is_exporting() or bands or frames:
            x = F.pad(x, (0, frames, 0, bands), value=-torch.inf)
        # ELU rises, so it may follow the pooling: the same values, of an eighth of the maps.
        return F.elu(F.max_pool2d(x, self.pooling))


class VGGNet(nn.Module):
    """Five convolutional blocks and a linear layer over a log-mel-spectrogram.

    What is left of bands and frames after the last block is averaged; for 96 bands and 29 s at
    12 000 Hz nothing is left to average, as in the paper.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 32,
        dropout: float = 0.0,
        norm: Literal["batch", "clip"] = "batch",
    ) -> None:
        """Initialize a new network.

        Args:
            num_classes: Number of outputs.
            channels: Channels of every block.
            dropout: Share of the last block's outputs dropped in training.
            norm: Normalise by statistics of the ``batch`` or of each ``clip``.
        """
        super().__init__()
        self.blocks = nn.ModuleList(
            VGGBlock(1 if i == 0 else channels, channels, pooling, norm)
            for i, pooling in enumerate(POOLING)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)
        # Channels of a pixel side by side: a training step takes a third of the time on a CPU, and
        # tensor cores need it.
        self.to(memory_format=torch.channels_last)

    def forward_blocks(self, spectrogram: Tensor) -> list[Tensor]:
        """Compute the outputs of all blocks.

        Args:
            spectrogram: Log-mel-spectrograms of shape (batch, bands, frames).

        Returns:
            Maps of shape (batch, channels, bands, frames), a tensor per block.
        """
        x = spectrogram.unsqueeze(1)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return outputs

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Score spectrograms.

        Args:
            spectrogram: Log-mel-spectrograms of shape (batch, bands, frames).

        Returns:
            Logits of shape (batch, classes).
        """
        x = self.forward_blocks(spectrogram)[-1]
        return self.head(self.dropout(x.mean(dim=(2, 3))))


class VGGTagger(MusicModel):
    """Small VGG network over a log-mel-spectrogram, with features of every layer.

    Choi, Fazekas, Sandler and Cho, "Transfer learning for music classification and regression
    tasks", ISMIR 2017. The paper's setting is 29 s at 12 000 Hz.
    """

    def __init__(
        self,
        channels: int = 32,
        n_fft: int = 512,
        hop_length: int = 256,
        n_mels: int = 96,
        f_max: float | None = None,
        dropout: float = 0.0,
        norm: Literal["batch", "clip"] = "batch",
        reference_db: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Initialize a new tagger.

        Args:
            channels: Channels of every block.
            n_fft: Length of a frame of the spectrogram in samples.
            hop_length: Distance between two frames in samples.
            n_mels: Number of mel bands.
            f_max: Upper edge of the highest band in Hz; by default half of the sample rate.
            dropout: Share of the last block's outputs dropped in training.
            norm: Normalise by statistics of the ``batch`` or of each ``clip``.
            reference_db: Power of a mel band, in decibels, that counts as 0 dB; by default each
                clip's maximum.
            **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.
        """
        super().__init__(**kwargs)
        self.spectrogram = LogMelSpectrogram(
            self.sample_rate, n_fft, hop_length, n_mels, f_max=f_max, reference_db=reference_db
        )
        self.net = VGGNet(self.num_classes, channels, dropout, norm)

    def forward(self, audio: Tensor) -> Tensor:
        """Score clips.

        Args:
            audio: Clips of shape (batch, samples) at ``sample_rate``.

        Returns:
            Logits of shape (batch, classes).
        """
        return self.net(self.spectrogram(audio))

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Compute the convnet feature: the average of every map of every block (section 3.2).

        Args:
            audio: Clips of shape (batch, samples) at ``sample_rate``.

        Returns:
            ``block1`` to ``block5``, each of shape (batch, channels).
        """
        outputs = self.net.forward_blocks(self.spectrogram(audio))
        return {f"block{i}": x.mean(dim=(2, 3)) for i, x in enumerate(outputs, start=1)}
