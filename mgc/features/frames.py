"""Computes spectra of short frames."""

from typing import cast

import torch
from torch import Tensor

from mgc.errors import MgcError
from mgc.features.precision import Float32Module

#: 1024 samples at 22 050 Hz, 46.44 ms (Senac et al. 2017, section 2).
FRAME_SECONDS = 1024 / 22050

#: Maximum magnitude of a sample. Its fourth power, summed over a frame, still fits float32.
MAX_SAMPLE = 1e6


def clean_audio(audio: Tensor, frame_length: int) -> Tensor:
    """Check clips and make all samples finite float32 values.

    NaN becomes 0, infinity becomes ±1, and samples beyond ±1e6 are clamped, so that no feature
    overflows.

    Raises:
        MgcError: If the shape is not (batch, samples) or the clips are shorter than a frame.
    """
    if audio.ndim != 2:
        raise MgcError(
            f"Audio has shape {tuple(audio.shape)}, expected mono clips of shape (batch, samples)."
        )
    if audio.shape[-1] < frame_length:
        raise MgcError(
            f"Clips of {audio.shape[-1]} samples are shorter than one frame of {frame_length}. "
            "Use longer clips."
        )
    audio = torch.nan_to_num(audio.float(), nan=0.0, posinf=1.0, neginf=-1.0)
    return audio.clamp(-MAX_SAMPLE, MAX_SAMPLE)


def find_middle(samples: int, length: int) -> int:
    """Return the start of the middle ``length`` samples of a clip; 0 for shorter clips."""
    # Symbolic during export.
    return cast(int, torch.sym_max(0, samples - length)) // 2


def frame_sizes(
    sample_rate: int, seconds: float, overlap: float, name: str = "frame_seconds"
) -> tuple[int, int]:
    """Return the length of frames, an even number, and the hop between them, in samples.

    Raises:
        MgcError: If a setting is out of range. ``name`` is the name of ``seconds`` in the message.
    """
    if sample_rate <= 0:
        raise MgcError(f"sample_rate={sample_rate}: must be greater than 0 Hz.")
    if not 0 <= overlap < 1:
        raise MgcError(f"overlap={overlap}: must be at least 0 and less than 1.")
    length = 2 * round(sample_rate * seconds / 2)
    if length < 4:
        raise MgcError(
            f"{name}={seconds}: {length} samples at {sample_rate} Hz are too few. Increase it."
        )
    return length, max(1, round(length * (1 - overlap)))


def power_spectrum(windowed: Tensor) -> Tensor:
    """Return the squared magnitudes of the discrete Fourier transform, without scaling."""
    # Four times as fast on a CPU as the magnitude of a complex tensor.
    spectrum = torch.fft.rfft(windowed)
    return spectrum.real.square() + spectrum.imag.square()


class FrameSpectrum(Float32Module):
    """Power spectrum of overlapping Hamming windows.

    The first frame starts at the first sample, and incomplete frames are dropped: a clip of 3 s at
    22 050 Hz has 128 frames (Senac et al. 2017, section 2.3). ``overlap`` is a share of the frame.
    """

    window: Tensor

    def __init__(
        self,
        sample_rate: int = 22050,
        frame_seconds: float = FRAME_SECONDS,
        overlap: float = 0.5,
    ) -> None:
        super().__init__()
        self.frame_length, self.hop_length = frame_sizes(sample_rate, frame_seconds, overlap)
        self.num_bins = self.frame_length // 2 + 1
        window = torch.hamming_window(self.frame_length, periodic=False, dtype=torch.float32)
        self.register_buffer("window", window, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Return squared magnitudes of shape (batch, frames, bins) for finite float32 clips."""
        frames = audio.unfold(-1, self.frame_length, self.hop_length)
        return power_spectrum(frames * self.window)


class STFTMap(Float32Module):
    """Magnitude of the short-time Fourier transform, the map of ``net_STFT``.

    Source: Senac et al. 2017, section 2.1: 513 bins of 1024 samples at 22 050 Hz, Hamming window,
    50 % overlap, without phases. Magnitudes are not scaled: a sine of amplitude 1 reaches half the
    sum of the window, 276. With ``map_seconds``, only the middle of each clip is transformed.
    """

    def __init__(
        self,
        sample_rate: int = 22050,
        frame_seconds: float = FRAME_SECONDS,
        overlap: float = 0.5,
        map_seconds: float | None = None,
    ) -> None:
        super().__init__()
        self.map_length = map_seconds and round(map_seconds * sample_rate)
        self.spectrum = FrameSpectrum(sample_rate, frame_seconds, overlap)
        self.height = self.spectrum.num_bins

    def forward(self, audio: Tensor) -> Tensor:
        """Return magnitudes of shape (batch, bins, frames), in the precision of the clips.

        Raises:
            MgcError: If the shape is wrong or the clips are shorter than a frame.
        """
        with torch.autocast(audio.device.type, enabled=False):
            samples = clean_audio(audio, self.spectrum.frame_length)
            if self.map_length:
                start = find_middle(samples.shape[-1], self.map_length)
                samples = samples[:, start : start + self.map_length]
            return self.spectrum(samples).sqrt().transpose(1, 2).to(audio.dtype)
