"""Mel-frequency cepstral coefficients (MFCC) of complete clips."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import create_dct

from mgc.core.ranges import FrameLength, HopLength, MelBands, Range, SampleRate
from mgc.features.precision import Float32Module, float32_default
from mgc.features.spectrogram import AMIN, mel_filters, power_spectrogram


class MFCCStatistics(Float32Module):
    """Mean and standard deviation of MFCCs and of their first and second differences.

    The baseline of Choi, Fazekas, Sandler and Cho, "Transfer learning for music classification and
    regression tasks" (ISMIR 2017), section 4.2: 20 MFCCs over 29 s at 12 000 Hz give 120 numbers.
    As in the published vectors, their order is: means and standard deviations of the MFCCs, of the
    first differences, of the second differences. Differences are between neighbouring frames, not
    smoothed slopes.

    The MFCCs match librosa's defaults of 2017: frames of 2048 samples every 512 samples, reflected
    at the ends, 128 Slaney mel bands, a range of 80 dB below the clip's maximum, orthonormal DCT.
    They are computed in float32, even under autocast.
    """

    window: Tensor
    mel_basis: Tensor
    dct: Tensor

    def __init__(
        self,
        sample_rate: SampleRate = 12000,
        n_mfcc: Annotated[int, Range(1, 128)] = 20,
        n_fft: FrameLength = 2048,
        hop_length: HopLength = 512,
        n_mels: MelBands = 128,
        top_db: Annotated[float, Range(0, closed="right")] = 80.0,
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.top_db = top_db
        with float32_default():
            window = torch.hann_window(n_fft)
            dct = create_dct(n_mfcc, n_mels, norm="ortho")
        basis = mel_filters(sample_rate, n_fft, n_mels)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("mel_basis", basis.T.contiguous(), persistent=False)
        self.register_buffer("dct", dct.T.contiguous(), persistent=False)

    def mfcc(self, audio: Tensor) -> Tensor:
        """Return coefficients of shape (batch, n_mfcc, 1 + samples // hop_length)."""
        # Reflection padding needs more than half a frame.
        missing = self.n_fft // 2 + 1 - audio.shape[-1]
        with torch.autocast(audio.device.type, enabled=False):
            audio = F.pad(audio.float(), (0, max(0, missing)))
            power = power_spectrogram(audio, self.window, self.hop_length, pad_mode="reflect")
            decibels = 10 * torch.log10((self.mel_basis @ power).clamp(min=AMIN))
            floor = decibels.amax(dim=(1, 2), keepdim=True) - self.top_db
            return self.dct @ decibels.maximum(floor)

    def forward(self, audio: Tensor) -> Tensor:
        """Return statistics of shape (batch, 6 × n_mfcc) for clips of at least three frames."""
        series = [self.mfcc(audio)]
        for _ in range(2):
            series.append(series[-1].diff(dim=2))
        return torch.cat(
            [s for x in series for s in (x.mean(dim=2), x.std(dim=2, correction=0))], dim=1
        )
