"""Spectrograms as images, for networks pretrained on photographs."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from mgc.errors import MgcError
from mgc.features.precision import Float32Module, float32_default
from mgc.features.separation import HarmonicPercussive
from mgc.features.spectrogram import AMIN, power_spectrogram

Component = Literal["original", "harmonic", "percussive"]
Frequency = Literal["linear", "mel"]


class SpectrogramImage(Float32Module):
    """Image of a clip's spectrogram, or of its harmonic or percussive component.

    Gwardys and Grzywczak (2014), section IV: the magnitudes of the Fourier transform, separated by
    median filters, as an image. Magnitudes are in decibels below the image's maximum (the paper's
    normalization, which makes all clips equally loud), from black at ``-top_db`` to white at 0.
    Time runs from left to right, with low frequencies at the bottom. The image is resized with
    antialiasing. The three colours are equal except for the normalization.
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
        n_fft: int = 2048,
        hop_length: int = 512,
        n_mels: int = 128,
        top_db: float = 80.0,
        interpolation: Literal["bilinear", "bicubic"] = "bilinear",
        harmonic_length: int = 31,
        percussive_length: int = 31,
    ) -> None:
        """Initialize a new front end.

        Args:
            sample_rate: Sample rate in Hz.
            size: Height and width of the image in pixels.
            mean: Mean of each colour, for values from 0 to 1.
            std: Standard deviation of each colour.
            component: ``original``, ``harmonic`` or ``percussive``.
            frequency: Frequency axis: ``linear`` or Slaney's ``mel`` scale.
            n_fft: Frame length in samples.
            hop_length: Hop length in samples.
            n_mels: Number of mel bands.
            top_db: Dynamic range of the image in decibels.
            interpolation: Interpolation mode for resizing.
            harmonic_length: Length of the median filter along time in frames, odd.
            percussive_length: Length of the median filter along frequency in bins, odd.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__()
        for name, value, known in (
            ("component", component, get_args(Component)),
            ("frequency", frequency, get_args(Frequency)),
        ):
            if value not in known:
                raise MgcError(f"{name}={value!r}: choose one of {', '.join(known)}.")
        for name, number in (("n_fft", n_fft), ("hop_length", hop_length), ("n_mels", n_mels)):
            if number < 1:
                raise MgcError(f"{name}={number}: must be at least 1.")
        if not top_db > 0:
            raise MgcError(f"top_db={top_db:g}: must be greater than 0.")
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
                bins = n_fft // 2 + 1
                bands = melscale_fbanks(
                    bins, 0.0, sample_rate / 2, n_mels, sample_rate, "slaney", "slaney"
                )
                basis = bands.T.contiguous()
            colours = [torch.tensor(values).view(-1, 1, 1) for values in (mean, std)]
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("mel_basis", basis, persistent=False)
        # Saved in checkpoints, since another timm version may have other values.
        self.register_buffer("mean", colours[0])
        self.register_buffer("std", colours[1])

    def forward(self, audio: Tensor) -> Tensor:
        """Return images of shape (batch, colours, height, width), in the precision of the clips."""
        with torch.autocast(audio.device.type, enabled=False):
            picture = self.brightness(audio.float()).unsqueeze(1)
            picture = F.interpolate(picture, self.size, mode=self.interpolation, antialias=True)
            # Bicubic interpolation overshoots.
            return ((picture.clamp(0, 1) - self.mean) / self.std).to(audio.dtype)

    def brightness(self, audio: Tensor) -> Tensor:
        """Return the images before resizing and normalization, with the highest frequency first.

        Values are from 0 to 1, of shape (batch, bins or bands, frames).
        """
        power = power_spectrogram(audio, self.window, self.hop_length)
        if self.component != "original":
            harmonic, percussive = self.separation(power.sqrt())
            power = (harmonic if self.component == "harmonic" else percussive).square()
        if self.mel_basis is not None:
            power = self.mel_basis @ power
        decibels = 10 * torch.log10(power.clamp(min=AMIN))
        decibels = decibels - decibels.amax(dim=(1, 2), keepdim=True)
        return (1 + decibels / self.top_db).clamp(min=0).flip(1)
