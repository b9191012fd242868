"""Computes spectrograms."""

from typing import Annotated

import torch
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from mgc.core.ranges import FrameLength, Hertz, HopLength, MelBands, Range, SampleRate, check_value
from mgc.errors import MgcError
from mgc.features.precision import Float32Module, float32_default

#: Power below which a spectrogram contains only rounding errors (librosa's ``amin``).
AMIN = 1e-10


def power_spectrogram(
    audio: Tensor, window: Tensor, hop_length: int, pad_mode: str = "constant"
) -> Tensor:
    """Return squared magnitudes of the short-time Fourier transform of clips (batch, samples).

    The shape is (batch, n_fft // 2 + 1, 1 + samples // hop_length). With ``pad_mode="reflect"``,
    clips must be longer than half a frame.
    """
    spectrum = torch.stft(
        audio, len(window), hop_length, window=window, pad_mode=pad_mode, return_complex=True
    )
    return spectrum.real.square() + spectrum.imag.square()


def mel_filters(
    sample_rate: int, n_fft: int, n_mels: int, f_min: float = 0.0, f_max: float | None = None
) -> Tensor:
    """Return Slaney's area-normalized mel bands, float32 of shape (n_fft // 2 + 1, n_mels)."""
    # On the CPU, since torchaudio's function needs values, which the meta device lacks.
    with float32_default(), torch.device("cpu"):
        return melscale_fbanks(
            n_fft // 2 + 1, f_min, f_max or sample_rate / 2, n_mels, sample_rate, "slaney", "slaney"
        )


def check_frames(n_fft: int, hop_length: int) -> None:
    """Raise an ``MgcError`` if the frames of a spectrogram would skip samples."""
    if hop_length > n_fft:
        raise MgcError(f"hop_length={hop_length}: must be at most n_fft={n_fft}.")


def check_band(sample_rate: int, f_min: float, f_max: float | None) -> None:
    """Raise an ``MgcError`` unless a band of frequencies lies below half of the sample rate."""
    check_value("sample_rate", SampleRate, sample_rate)
    nyquist = sample_rate / 2
    if f_max is not None and f_max > nyquist:
        raise MgcError(
            f"f_max={f_max:g}: must be at most {nyquist:g} Hz, half of the sample rate. "
            "Lower f_max or raise data.sample_rate."
        )
    if f_min >= (f_max or nyquist):
        raise MgcError(f"f_min={f_min:g}: must be less than f_max={f_max or nyquist:g} Hz.")


class LogMelSpectrogram(Float32Module):
    """Mel-spectrogram in decibels relative to each clip's maximum, or to ``reference_db``.

    Slaney's mel scale and area-normalized bands, as in librosa. Values lie at most ``top_db`` below
    the reference. Computed in float32, even under autocast, since powers of quiet music underflow
    in half precision. The defaults are those of Choi et al. 2017, section 3.1, at 12 000 Hz.
    """

    window: Tensor
    mel_basis: Tensor

    def __init__(
        self,
        sample_rate: int,
        n_fft: FrameLength = 512,
        hop_length: HopLength = 256,
        n_mels: MelBands = 96,
        f_min: Annotated[float, Range(0, 192000)] = 0.0,
        f_max: Hertz | None = None,
        top_db: Annotated[float, Range(0, closed="right")] = 80.0,
        reference_db: Annotated[float, Range(-1000, 1000)] | None = None,
    ) -> None:
        super().__init__()
        check_frames(n_fft, hop_length)
        check_band(sample_rate, f_min, f_max)
        self.hop_length = hop_length
        self.top_db = top_db
        self.reference_db = reference_db
        with float32_default():
            window = torch.hann_window(n_fft)
        basis = mel_filters(sample_rate, n_fft, n_mels, f_min, f_max)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("mel_basis", basis.T.contiguous(), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Return decibels of shape (batch, n_mels, 1 + samples // hop_length)."""
        with torch.autocast(audio.device.type, enabled=False):
            power = power_spectrogram(audio.float(), self.window, self.hop_length)
            decibels = 10 * torch.log10((self.mel_basis @ power).clamp(min=AMIN))
            if self.reference_db is None:
                decibels = decibels - decibels.amax(dim=(1, 2), keepdim=True)
            else:
                decibels = decibels - self.reference_db
            return decibels.clamp(min=-self.top_db).to(audio.dtype)
