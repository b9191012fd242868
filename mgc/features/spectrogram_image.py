"""Spectrograms as images, for networks pretrained on photographs."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mgc.core.ranges import Decibels, FrameLength, HopLength, MedianLength, MelBands
from mgc.features.precision import Float32Module, float32_default
from mgc.features.separation import HarmonicPercussive
from mgc.features.spectrogram import AMIN, check_frames, mel_filters, power_spectrogram

Component = Literal["original", "harmonic", "percussive"]
Frequency = Literal["linear", "mel"]


class SpectrogramImage(Float32Module):
    """Image of a clip's spectrogram, or of its harmonic or percussive component.

    Gwardys and Grzywczak (2014), section IV: the magnitudes of the Fourier transform, separated by
    median filters, as an image. Magnitudes are in decibels below the image's maximum (the paper's
    normalization, which makes all clips equally loud), from black at ``-top_db`` to white at 0.
    Time runs from left to right, with low frequencies at the bottom. The image is resized to
    ``size`` (height and width in pixels) with antialiasing. The three colours are equal except for
    the normalization by ``mean`` and ``std``, which apply to values from 0 to 1.
    """

    window: Tensor
    mel_basis: Tensor | None
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        sample_rate: int,
        size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        component: Component = "original",
        frequency: Frequency = "linear",
        n_fft: FrameLength = 2048,
        hop_length: HopLength = 512,
        n_mels: MelBands = 128,
        top_db: Decibels = 80.0,
        interpolation: Literal["bilinear", "bicubic"] = "bilinear",
        harmonic_length: MedianLength = 31,
        percussive_length: MedianLength = 31,
    ) -> None:
        super().__init__()
        check_frames(n_fft, hop_length)
        self.size = size
        self.component = component
        self.hop_length = hop_length
        self.top_db = top_db
        self.interpolation = interpolation
        self.separation = HarmonicPercussive(harmonic_length, percussive_length)
        with float32_default():
            window = torch.hann_window(n_fft)
            basis = None
            if frequency == "mel":
                basis = mel_filters(sample_rate, n_fft, n_mels).T.contiguous()
            colours = [torch.tensor(values).view(-1, 1, 1) for values in (mean, std)]
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("mel_basis", basis, persistent=False)
        # Saved in checkpoints, since another timm version may have other values.
        self.register_buffer("mean", colours[0])
        self.register_buffer("std", colours[1])

    def forward(self, audio: Tensor) -> Tensor:
        """Return images of shape (batch, colours, height, width), in the precision of the clips."""
        with torch.autocast(audio.device.type, enabled=False):
            image = self.brightness(audio.float()).unsqueeze(1)
            image = F.interpolate(image, self.size, mode=self.interpolation, antialias=True)
            # Bicubic interpolation overshoots.
            return ((image.clamp(0, 1) - self.mean) / self.std).to(audio.dtype)

    def brightness(self, audio: Tensor) -> Tensor:
        """Return images before resizing, from 0 to 1, with the highest frequency first."""
        power = power_spectrogram(audio, self.window, self.hop_length)
        if self.component != "original":
            harmonic, percussive = self.separation(power.sqrt())
            power = (harmonic if self.component == "harmonic" else percussive).square()
        if self.mel_basis is not None:
            power = self.mel_basis @ power
        decibels = 10 * torch.log10(power.clamp(min=AMIN))
        decibels = decibels - decibels.amax(dim=(1, 2), keepdim=True)
        return (1 + decibels / self.top_db).clamp(min=0).flip(1)
