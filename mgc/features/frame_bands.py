"""Computes features of short frames in bands: mel-spectrogram, spectral flatness and crest."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from mgc.core.ranges import check_choice
from mgc.errors import MgcError
from mgc.features.frames import FRAME_SECONDS, FrameSpectrum, clean_audio
from mgc.features.precision import Float32Module
from mgc.features.spectrogram import mel_filters

#: Frame features by name: mel-spectrogram, spectral flatness, spectral crest factor.
FRAME_FEATURES = ("MEL", "SFM", "SCF")

#: Number of mel bands of MIRtoolbox, which the paper uses.
MEL_BANDS = 40

#: Nominal edges of the bands of SFM and SCF: a quarter of an octave each, from 250 Hz to 16 kHz
#: (MPEG-7, ISO/IEC 15938-4, AudioSpectrumFlatness; Marsyas has the same 24).
BAND_EDGES = tuple(1000 * 2 ** ((i - 8) / 4) for i in range(25))

#: Overlap of neighbouring bands, as a share of the edge frequency (MPEG-7).
BAND_OVERLAP = 0.05

#: Maximum number of samples to process at a time on a GPU, about 25 minutes of music in 1 GB.
#: Limits the memory for batches of complete songs.
GPU_SAMPLES = 2**25

#: Floor of the power of a bin, -100 dB relative to a sine of full scale.
MIN_POWER = 1e-10


def quarter_octave_bands(sample_rate: float, frame_length: int) -> list[tuple[int, int]]:
    """Return the first and last bin of each quarter-octave band below half the sample rate.

    Edges are rounded to the nearest bin, and both belong to the band. As in Marsyas, bins above
    1 kHz are not grouped; MPEG-7 groups them to save time. There are 21 bands at 22 050 Hz, of 5 to
    114 bins.
    """
    bands = []
    for low, high in pairwise(BAND_EDGES):
        first, last = (
            int(edge * frame_length / sample_rate + 0.5)
            for edge in (low * (1 - BAND_OVERLAP), high * (1 + BAND_OVERLAP))
        )
        if last > frame_length // 2:
            break
        bands.append((first, last))
    return bands


def spectral_flatness(power: Tensor, bands: Sequence[tuple[int, int]]) -> Tensor:
    """Return the geometric over the arithmetic mean of positive powers in bands, 0 to 1."""
    # Compute the logarithm once, since bands overlap.
    log = power.log()
    return torch.stack(
        [log[..., a : b + 1].mean(-1).exp() / power[..., a : b + 1].mean(-1) for a, b in bands], -1
    )


def spectral_crest(power: Tensor, bands: Sequence[tuple[int, int]]) -> Tensor:
    """Return the peak over the root-mean-square amplitude in bands, at least 1."""
    inside = [power[..., a : b + 1] for a, b in bands]
    return torch.stack([(x.amax(-1) / x.mean(-1)).sqrt() for x in inside], -1)


class FrameBands(Float32Module):
    """Frame features in bands, the input of audio words.

    ``MEL`` is the power in 40 mel bands (Slaney's scale and area-normalized triangles, as in
    librosa) in decibels relative to a sine of full scale; ``SFM`` and ``SCF`` are spectral flatness
    and spectral crest factor in quarter-octave bands (:func:`quarter_octave_bands`).

    A frame depends only on its own samples, so padding at the end of a clip does not change the
    frames before it. Computed in float32, even under autocast; finite for any input.

    Source: Zhang et al., "A deep neural network for modeling music", ICMR 2015, section 4.2:
    frames of 1024 samples with 50 % overlap. The paper does not mention the logarithm of the
    mel-spectrogram; without it, k-means would depend on loud frames only.
    """

    mel_basis: Tensor

    def __init__(self, sample_rate: int = 22050, features: Sequence[str] = FRAME_FEATURES) -> None:
        super().__init__()
        for name in features:
            check_choice(FRAME_FEATURES, features=name)
        self.features = tuple(features)
        self.spectrum = FrameSpectrum(sample_rate, FRAME_SECONDS, overlap=0.5)
        self.frame_length = self.spectrum.frame_length
        self.hop_length = self.spectrum.hop_length
        self.bands = quarter_octave_bands(sample_rate, self.frame_length)
        if not self.bands:
            raise MgcError(
                f"sample_rate={sample_rate}: too low for SFM and SCF, whose bands start at 250 Hz. "
                "Raise data.sample_rate."
            )
        self.widths = {n: MEL_BANDS if n == "MEL" else len(self.bands) for n in self.features}
        basis = mel_filters(sample_rate, self.frame_length, MEL_BANDS)
        self.register_buffer("mel_basis", basis, persistent=False)
        # A sine of amplitude 1 has the magnitude of half the sum of the window.
        self.scale = float(4 / self.spectrum.window.sum() ** 2)

    def forward(self, audio: Tensor) -> dict[str, Tensor]:
        """Return the features of all complete frames, of shape (batch, frames, bands), by name.

        Raises:
            MgcError: If the shape is wrong or the clips are shorter than a frame.
        """
        with torch.autocast(audio.device.type, enabled=False):
            audio = clean_audio(audio, self.frame_length)
            if torch.compiler.is_compiling():
                return self._measure(audio)
            # On a CPU, single clips fit into the cache and take half the time of the whole batch.
            clips = 1 if audio.device.type == "cpu" else max(1, GPU_SAMPLES // audio.shape[1])
            parts = [self._measure(part) for part in audio.split(clips)]
            return {name: torch.cat([part[name] for part in parts]) for name in self.features}

    def _measure(self, audio: Tensor) -> dict[str, Tensor]:
        power = self.spectrum(audio) * self.scale
        values = {}
        if "MEL" in self.features:
            values["MEL"] = 10 * (power @ self.mel_basis).clamp(min=MIN_POWER).log10()
        if len(values) < len(self.features):
            power = power.clamp(min=MIN_POWER)
        if "SFM" in self.features:
            values["SFM"] = spectral_flatness(power, self.bands)
        if "SCF" in self.features:
            values["SCF"] = spectral_crest(power, self.bands)
        return {name: values[name] for name in self.features}
