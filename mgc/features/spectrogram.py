"""Spectrograms."""

import torch
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from mgc.errors import MgcError
from mgc.features.precision import Float32Module, float32_default

#: Power below which a spectrogram contains only rounding errors (librosa's ``amin``).
AMIN = 1e-10


def power_spectrogram(audio: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """Compute the squared magnitudes of the short-time Fourier transform.

    Args:
        audio: Clips of shape (batch, samples), float32.
        window: Window of shape (n_fft,).
        hop_length: Hop length in samples.

    Returns:
        Powers of shape (batch, n_fft // 2 + 1, 1 + samples // hop_length).
    """
    spectrum = torch.stft(
        audio,
        len(window),
        hop_length,
        window=window,
        center=True,
        # Reflection would need clips longer than half a frame.
        pad_mode="constant",
        return_complex=True,
    )
    return spectrum.real.square() + spectrum.imag.square()


class LogMelSpectrogram(Float32Module):
    """Mel-spectrogram in decibels below its maximum or a fixed level.

    Slaney's mel scale and area-normalized bands, as in librosa. Computed in float32, even under
    autocast, since powers of quiet music underflow in half precision.
    """

    window: Tensor
    mel_basis: Tensor

    def __init__(
        self,
        sample_rate: int,
        n_fft: int = 512,
        hop_length: int = 256,
        n_mels: int = 96,
        f_min: float = 0.0,
        f_max: float | None = None,
        top_db: float = 80.0,
        reference_db: float | None = None,
    ) -> None:
        """Initialize a new front end.

        The defaults are those of Choi et al. 2017, section 3.1, at 12 000 Hz.

        Args:
            sample_rate: Sample rate in Hz.
            n_fft: Frame length in samples.
            hop_length: Hop length in samples.
            n_mels: Number of mel bands.
            f_min: Lower edge of the lowest band in Hz.
            f_max: Upper edge of the highest band in Hz; half of ``sample_rate`` by default.
            top_db: Dynamic range below the reference in decibels.
            reference_db: Power of a band, in decibels, that counts as 0 dB, which preserves
                differences in loudness; each clip's maximum by default.

        Raises:
            MgcError: If ``f_max`` is above half of ``sample_rate``.
        """
        super().__init__()
        nyquist = sample_rate / 2
        if f_max is not None and f_max > nyquist:
            raise MgcError(
                f"f_max={f_max:g} Hz lies above {nyquist:g} Hz, half of the sample rate. "
                "Lower f_max or raise data.sample_rate."
            )
        self.hop_length = hop_length
        self.top_db = top_db
        self.reference_db = reference_db
        with float32_default():
            window = torch.hann_window(n_fft)
            basis = melscale_fbanks(
                n_fft // 2 + 1, f_min, f_max or nyquist, n_mels, sample_rate, "slaney", "slaney"
            )
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("mel_basis", basis.T.contiguous(), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Return decibels relative to the reference, in the precision of the clips.

        The shape is (batch, n_mels, 1 + samples // hop_length).
        """
        with torch.autocast(audio.device.type, enabled=False):
            power = power_spectrogram(audio.float(), self.window, self.hop_length)
            decibels = 10 * torch.log10((self.mel_basis @ power).clamp(min=AMIN))
            if self.reference_db is None:
                decibels = decibels - decibels.amax(dim=(1, 2), keepdim=True)
            else:
                decibels = decibels - self.reference_db
            return decibels.clamp(min=-self.top_db).to(audio.dtype)
