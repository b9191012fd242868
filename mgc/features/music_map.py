"""Map of eight music features (Senac, Pellegrini, Mouret and Pinquier, 2017)."""

import math
from collections.abc import Iterable
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from mgc.core.ranges import Range, SampleRate, Seconds
from mgc.errors import MgcError
from mgc.features.frames import FRAME_SECONDS, FrameSpectrum, clean_audio, find_middle
from mgc.features.precision import Float32Module
from mgc.features.roughness import Roughness
from mgc.features.tonality import Chroma, KeyClarity, TonalCentroid, harmonic_change

#: Rows of the map.
MUSIC_FEATURES = (
    "energy", "zero_crossing_rate", "brightness", "flatness", "entropy", "roughness",
    "key_clarity", "harmonic_change",
)  # fmt: skip

# Frames with a lower mean square (-100 dB of full scale) are silent. A signal of the lowest bit of
# 16-bit audio has a mean square about ten times as large.
SILENCE = 1e-10

# Floor of the power spectrum before logarithms, as in librosa's flatness.
MIN_POWER = 1e-10


def frame_sums(values: Tensor, frame_length: int, hop_length: int) -> Tensor:
    """Sum values of shape (batch, samples) in each frame, to shape (batch, frames)."""
    # Frames share blocks of samples; summing each block once takes a fifth of the time.
    size = math.gcd(frame_length, hop_length)
    blocks = values.unfold(-1, size, size).sum(-1)
    return blocks.unfold(-1, frame_length // size, hop_length // size).sum(-1)


def frame_energy(audio: Tensor, frame_length: int, hop_length: int) -> Tensor:
    """Return the mean of the squared samples of each frame, of shape (batch, frames)."""
    return frame_sums(audio.square(), frame_length, hop_length) / frame_length


def zero_crossing_rate(
    audio: Tensor, frame_length: int, hop_length: int, sample_rate: int
) -> Tensor:
    """Return the zero crossings per second in one direction, of shape (batch, frames).

    They are half of the sign changes inside each frame, as in MIRtoolbox's ``mirzerocross``: about
    the frequency of a sine. Samples within 1e-10 of zero count as positive.
    """
    negative = audio < -1e-10
    changes = nn.functional.pad(negative[:, 1:] != negative[:, :-1], (1, 0)).to(audio.dtype)
    counts = frame_sums(changes, frame_length, hop_length)
    # Do not count a change between the first sample of a frame and the sample before it.
    into_first = changes[:, ::hop_length][:, : counts.shape[1]]
    return (counts - into_first) * (sample_rate / (2 * frame_length))


def brightness(power: Tensor, first_bin: int) -> Tensor:
    """Return the share of the energy from a bin upwards, not of the magnitude as in MIRtoolbox."""
    total = power.sum(-1).clamp(min=torch.finfo(power.dtype).tiny)
    return power[..., first_bin:].sum(-1) / total


def flatness_and_entropy(power: Tensor, magnitude: Tensor) -> tuple[Tensor, Tensor]:
    """Compute spectral flatness and spectral Shannon entropy, which share a logarithm.

    Flatness is the geometric over the arithmetic mean of the power spectrum, as in ``librosa``.
    Entropy is that of the magnitude spectrum as a distribution, divided by the logarithm of the
    number of bins, as in MIRtoolbox's ``mirentropy``. Both are 0 for one bin and 1 for equal bins.
    """
    floored = power.clamp(min=MIN_POWER)
    log_power = floored.log()
    flatness = log_power.mean(-1).exp() / floored.mean(-1)
    total = magnitude.sum(-1).clamp(min=torch.finfo(power.dtype).tiny)
    # -sum p log p with p = magnitude / total
    mean_log = (magnitude * log_power).sum(-1) / (2 * total)
    entropy = (total.log() - mean_log) / math.log(power.shape[-1])
    return flatness, entropy.clamp(0, 1)


class MusicMap(Float32Module):
    """Eight music features of each frame, the map of ``net_MUSIC``.

    ==  ======================  ==================================================================
    0   ``energy``              mean square of the samples
    1   ``zero_crossing_rate``  zero crossings per second, in one direction
    2   ``brightness``          share of the energy above ``cutoff_hz``, 0 to 1
    3   ``flatness``            geometric over arithmetic mean of the power spectrum, 0 to 1
    4   ``entropy``             Shannon entropy of the magnitude spectrum over its maximum, 0 to 1
    5   ``roughness``           mean dissonance of all pairs of spectral peaks, squared magnitudes
    6   ``key_clarity``         correlation with the best of 24 key profiles, 0 to 1
    7   ``harmonic_change``     distance of the tonal centroid to that of the previous frame
    ==  ======================  ==================================================================

    All features are computed in float32, even under autocast, and are finite for any input. A
    silent frame (mean square below 1e-10, -100 dB) is 0 in every row. As in the paper, rows keep
    their own ranges; :meth:`fit_statistics` standardizes them. Only the zero-crossing rate is
    divided by half of the sample rate, unless ``raw_units`` is set: with inputs in the hundreds,
    networks did not learn at Adam's usual learning rate.

    With ``map_seconds``, the map is of the middle of each clip, and only the key clarity uses the
    complete clip: clips of 6 s give maps of 3 s with the key clarity of the 6 s around them.

    Source: Senac et al. 2017, section 2.2. The paper's brightness cutoff of 15 kHz lies above half
    its sample rate; the default is MIRtoolbox's 1500 Hz.
    """

    mean: Tensor
    scale: Tensor
    height = len(MUSIC_FEATURES)
    # Version 1 had sign changes per sample.
    _version = 2

    def __init__(
        self,
        sample_rate: SampleRate = 22050,
        frame_seconds: Annotated[float, Range(0, 10, closed="right")] = FRAME_SECONDS,
        overlap: Annotated[float, Range(0, 1, closed="left")] = 0.5,
        cutoff_hz: Annotated[float, Range(0, 192000)] = 1500.0,
        key_window_seconds: Seconds = 6.0,
        map_seconds: Seconds | None = None,
        raw_units: bool = False,
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.map_length = map_seconds and round(map_seconds * sample_rate)
        if not 0 <= cutoff_hz < sample_rate / 2:
            raise MgcError(
                f"cutoff_hz={cutoff_hz:g}: must be at least 0 and less than {sample_rate / 2:g} "
                "Hz, half of the sample rate. Otherwise the brightness would always be 0."
            )
        self.spectrum = FrameSpectrum(sample_rate, frame_seconds, overlap)
        length = self.spectrum.frame_length
        self.first_bright_bin = int(cutoff_hz * length / sample_rate) + 1
        self.roughness = Roughness(sample_rate, length)
        self.chroma = Chroma(sample_rate, length)
        self.centroid = TonalCentroid()
        self.key_clarity = KeyClarity(sample_rate, key_window_seconds, overlap)
        self.register_buffer("mean", torch.zeros(self.height, 1, dtype=torch.float32))
        scale = torch.ones(self.height, 1, dtype=torch.float32)
        if not raw_units:
            scale[MUSIC_FEATURES.index("zero_crossing_rate")] = sample_rate / 2
        self.register_buffer("scale", scale)

    @property
    def fitted(self) -> bool:
        """Whether the statistics are fitted or loaded."""
        return bool((self.mean != 0).any())

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Return the eight features without standardization, of shape (batch, frames), by name."""
        length, hop = self.spectrum.frame_length, self.spectrum.hop_length
        with torch.autocast(audio.device.type, enabled=False):
            clip = audio = clean_audio(audio, length)
            start = 0
            if self.map_length:
                start = find_middle(clip.shape[-1], self.map_length)
                audio = clip[:, start : start + self.map_length]
            power = self.spectrum(audio)
            magnitude = power.sqrt()
            energy = frame_energy(audio, length, hop)
            flatness, entropy = flatness_and_entropy(power, magnitude)
            frames = torch.arange(power.shape[1], device=audio.device, dtype=torch.float32)
            centres = start + frames * hop + length / 2
            values = (
                energy,
                zero_crossing_rate(audio, length, hop, self.sample_rate),
                brightness(power, self.first_bright_bin),
                flatness,
                entropy,
                self.roughness(magnitude),
                self.key_clarity(clip, centres),
                harmonic_change(self.centroid(self.chroma(magnitude))),
            )
            sounding = energy >= SILENCE
            return {
                name: torch.where(sounding, value, 0.0)
                for name, value in zip(MUSIC_FEATURES, values, strict=True)
            }

    def forward(self, audio: Tensor) -> Tensor:
        """Return the map of shape (batch, 8, frames), in the precision of the clips.

        Raises:
            MgcError: If the shape is wrong or the clips are shorter than a frame.
        """
        music_map = torch.stack(list(self.features(audio).values()), 1)
        return ((music_map - self.mean) / self.scale).to(audio.dtype)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Tensor],
        prefix: str,
        local_metadata: dict[str, Any],
        *rest: Any,
    ) -> None:
        """Convert the statistics of version 1, so that its networks get the same inputs."""
        if local_metadata.get("version") == 1:
            row = MUSIC_FEATURES.index("zero_crossing_rate")
            for name in (f"{prefix}mean", f"{prefix}scale"):
                if name in state_dict:
                    converted = state_dict[name].clone()
                    converted[row] *= self.sample_rate / 2
                    state_dict[name] = converted
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    @torch.no_grad()
    def fit_statistics(self, batches: Iterable[Tensor]) -> None:
        """Set the mean and standard deviation of each row to those of training clips.

        Raises:
            MgcError: If there are no clips.
        """
        count = 0
        total = torch.zeros(self.height, dtype=torch.float64)
        squares = torch.zeros(self.height, dtype=torch.float64)
        for audio in batches:
            values = torch.stack(list(self.features(audio).values())).flatten(1).double().cpu()
            count += values.shape[1]
            total += values.sum(1)
            squares += values.square().sum(1)
        if not count:
            raise MgcError("No clips to fit the statistics of the music features on.")
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        # Constant rows are not scaled.
        scale = torch.where(deviation > 1e-6 * mean.abs(), deviation, 1.0)
        self.mean.copy_(mean[:, None])
        self.scale.copy_(scale[:, None])
