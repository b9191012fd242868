"""Features of short frames in bands: mel-spectrogram, spectral flatness, spectral crest."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from mgc.errors import MgcError
from mgc.features.frames import FRAME_SECONDS, FrameSpectrum, clean_audio
from mgc.features.precision import Float32Module, float32_default

#: Frame features by name: mel-spectrogram, spectral flatness, spectral crest factor.
FRAME_FEATURES = ("MEL", "SFM", "SCF")

#: Mel bands of MIRtoolbox, which the paper uses.
MEL_BANDS = 40

#: Nominal edges of the bands of SFM and SCF: a quarter of an octave each, from 250 Hz to 16 kHz
#: (MPEG-7, ISO/IEC 15938-4, AudioSpectrumFlatness; Marsyas has the same 24).
BAND_EDGES = tuple(1000 * 2 ** ((i - 8) / 4) for i in range(25))

#: Share of its edges' frequency by which a band overlaps the next ones (MPEG-7).
BAND_OVERLAP = 0.05

#: Samples whose spectra are computed at a time on a GPU, some 25 minutes of music in 1 GB: batches
#: of whole songs need not fit its memory several times over.
GPU_SAMPLES = 2**25

#: Power below which a bin holds nothing, -100 dB of a sine of full scale.
MIN_POWER = 1e-10


def quarter_octave_bands(sample_rate: float, frame_length: int) -> list[tuple[int, int]]:
    """Bins of the quarter-octave bands that the sample rate holds.

    Edges are rounded to the nearest bin, both belong to the band. MPEG-7's grouping of bins above
    1 kHz, which only saves time, is left out, as in Marsyas.

    Args:
        sample_rate: Rate of the audio in Hz.
        frame_length: Samples in a frame.

    Returns:
        First bin and last bin of each band: 21 bands at 22 050 Hz, of 5 to 114 bins.
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
    """Geometric over arithmetic mean of the powers in bands.

    Args:
        power: Powers above 0, of shape (..., bins).
        bands: First bin and last bin of each band.

    Returns:
        Values from 0 (one bin) to 1 (all bins alike), of shape (..., bands).
    """
    # Bands overlap: the logarithm is taken once.
    log = power.log()
    return torch.stack(
        [log[..., a : b + 1].mean(-1).exp() / power[..., a : b + 1].mean(-1) for a, b in bands], -1
    )


def spectral_crest(power: Tensor, bands: Sequence[tuple[int, int]]) -> Tensor:
    """Peak amplitude over root-mean-square amplitude in bands.

    Args:
        power: Powers above 0, of shape (..., bins).
        bands: First bin and last bin of each band.

    Returns:
        Values from 1 (all bins alike) to the root of the number of bins (one bin), of shape
        (..., bands).
    """
    inside = [power[..., a : b + 1] for a, b in bands]
    return torch.stack([(x.amax(-1) / x.mean(-1)).sqrt() for x in inside], -1)


class FrameBands(Float32Module):
    """Frame features in bands, the input of audio words.

    ``MEL`` is the power in 40 mel bands (Slaney's scale and area-normalised triangles, as in
    librosa) in decibels of a sine of full scale; ``SFM`` and ``SCF`` are spectral flatness and
    spectral crest factor in quarter-octave bands (:func:`quarter_octave_bands`).

    A frame depends on its own samples alone, so padding at the end of a clip changes no frame
    before it. Computed in float32 whatever the precision around it; finite for any input.

    Source: Zhang et al., "A deep neural network for modeling music", ICMR 2015, section 4.2:
    frames of 1024 samples, half of which the next one covers. That the paper takes the logarithm
    of the mel-spectrogram is not said; without it, loud frames would be all that k-means sees.

    Attributes:
        features: Names of the features.
        widths: Bands of each feature.
        frame_length: Samples in a frame.
        hop_length: Samples from one frame to the next.
    """

    mel_basis: Tensor

    def __init__(self, sample_rate: int = 22050, features: Sequence[str] = FRAME_FEATURES) -> None:
        """Initialize new frame features.

        Args:
            sample_rate: Rate of the audio in Hz.
            features: Which features: ``MEL``, ``SFM``, ``SCF``.

        Raises:
            MgcError: If there is no such feature, or the sample rate holds no band.
        """
        super().__init__()
        for name in features:
            if name not in FRAME_FEATURES:
                raise MgcError(f"features={name!r}: choose of {', '.join(FRAME_FEATURES)}.")
        self.features = tuple(features)
        self.spectrum = FrameSpectrum(sample_rate, FRAME_SECONDS, overlap=0.5)
        self.frame_length = self.spectrum.frame_length
        self.hop_length = self.spectrum.hop_length
        self.bands = quarter_octave_bands(sample_rate, self.frame_length)
        if not self.bands:
            raise MgcError(
                f"sample_rate={sample_rate}: holds no band of SFM and SCF, which begin at 250 Hz. "
                "Raise data.sample_rate."
            )
        self.widths = {n: MEL_BANDS if n == "MEL" else len(self.bands) for n in self.features}
        with float32_default():
            basis = melscale_fbanks(
                self.spectrum.num_bins, 0.0, sample_rate / 2, MEL_BANDS, sample_rate,
                "slaney", "slaney",
            )  # fmt: skip
        self.register_buffer("mel_basis", basis, persistent=False)
        # A sine of amplitude 1 has the magnitude of half the sum of the window.
        self.scale = float(4 / self.spectrum.window.sum() ** 2)

    def forward(self, audio: Tensor) -> dict[str, Tensor]:
        """Compute the features of all whole frames.

        Args:
            audio: Clips of shape (batch, samples), in [-1, 1].

        Returns:
            Values of shape (batch, frames, bands), float32, by name.

        Raises:
            MgcError: If the shape is wrong or the clips are shorter than a frame.
        """
        with torch.autocast(audio.device.type, enabled=False):
            audio = clean_audio(audio, self.frame_length)
            if torch.compiler.is_compiling():
                return self._measure(audio)
            # What one clip needs stays in a CPU's cache: half the time of the whole batch at once.
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
