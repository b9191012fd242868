"""Computes chroma, key clarity and harmonic change."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from mgc.features.frames import frame_sizes, power_spectrum

# Fit of each pitch class, from the tonic up, to a major and a minor key (Krumhansl,
# "Cognitive Foundations of Musical Pitch", 1990, table 2.1).
MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)

#: Keys in the order of the key strengths.
PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
KEYS = tuple(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in PITCH_CLASSES)

A0_HZ = 27.5


def chroma_filters(sample_rate: int, n_fft: int) -> Tensor:
    """Return the weights from the bins of a spectrum to the twelve pitch classes.

    Each bin spreads over the pitch classes as a Gaussian around its own pitch, as wide as the bin
    or a semitone, whichever is wider, in equal temperament at A4 = 440 Hz. All bins have the same
    Euclidean norm, multiplied by a Gaussian of two octaves around the fifth octave above A0
    (880 Hz), the range of most notes.

    The weights have shape (n_fft // 2 + 1, 12), C first.

    Source: Ellis, "Chroma feature analysis and synthesis", 2007; the same as ``librosa``'s chroma
    filters with tuning 0.
    """
    bins = torch.arange(1, n_fft // 2 + 2, dtype=torch.float64)
    semitones = 12 * torch.log2(bins * sample_rate / n_fft / A0_HZ)
    width = semitones.diff().clamp(min=1)
    # 0 Hz has no pitch; place it 1.5 octaves below the first bin, with that width.
    semitones = torch.cat([semitones[:1] - 18, semitones[:-1]])
    width = torch.cat([torch.tensor([18.0], dtype=torch.float64), width])
    # C is 3 semitones above A.
    distance = semitones[:, None] - 3 - torch.arange(12)
    distance = (distance + 6) % 12 - 6
    weights = torch.exp(-0.5 * (2 * distance / width[:, None]).square())
    weights = nn.functional.normalize(weights, dim=1)
    octave = torch.exp(-0.5 * ((semitones / 12 - 5) / 2).square())
    return (weights * octave[:, None]).float()


class Chroma(nn.Module):
    """Distribution of the magnitude of spectra over the twelve pitch classes."""

    filters: Tensor

    def __init__(self, sample_rate: int, n_fft: int) -> None:
        super().__init__()
        self.register_buffer("filters", chroma_filters(sample_rate, n_fft), persistent=False)

    def forward(self, magnitude: Tensor) -> Tensor:
        """Return the shares of the 12 pitch classes, C first; zeros for an empty spectrum."""
        return nn.functional.normalize(magnitude @ self.filters, p=1, dim=-1)


class TonalCentroid(nn.Module):
    """Tonal centroid: chroma on the circles of fifths, minor thirds and major thirds.

    Source: Harte, Sandler, Gasser, "Detecting harmonic change in musical audio", 2006, equations 3
    and 4, radii 1, 1 and 0.5.
    """

    transform: Tensor

    def __init__(self) -> None:
        super().__init__()
        pitch = torch.arange(12, dtype=torch.float64)
        circles = ((1.0, 7 / 6), (1.0, 3 / 2), (0.5, 2 / 3))
        rows = [
            radius * wave(turn * math.pi * pitch)
            for radius, turn in circles
            for wave in (torch.sin, torch.cos)
        ]
        self.register_buffer("transform", torch.stack(rows, 1).float(), persistent=False)

    def forward(self, chroma: Tensor) -> Tensor:
        """Return centroids of shape (..., 6), the sine and cosine on each circle."""
        return chroma @ self.transform


def harmonic_change(centroid: Tensor) -> Tensor:
    """Compute the harmonic change detection function, the movement of the tonal centroid.

    It is the Euclidean distance of each frame to the previous one, 0 for the first. Centroids have
    shape (batch, frames, 6), the result (batch, frames).

    Source: Harte et al. 2006, section 3.4; like the flux of MIRtoolbox's ``mirhcdf``, without
    smoothing.
    """
    change = torch.linalg.vector_norm(centroid.diff(dim=1), dim=-1)
    return nn.functional.pad(change, (1, 0))


class KeyStrength(nn.Module):
    """Strength of the 24 keys: correlation of chroma with the key profiles."""

    profiles: Tensor

    def __init__(self) -> None:
        super().__init__()
        rows = [
            torch.tensor(profile, dtype=torch.float64).roll(tonic)
            for profile in (MAJOR_PROFILE, MINOR_PROFILE)
            for tonic in range(12)
        ]
        profiles = torch.stack(rows, 1)
        profiles = nn.functional.normalize(profiles - profiles.mean(0), dim=0)
        self.register_buffer("profiles", profiles.float(), persistent=False)

    def forward(self, chroma: Tensor) -> Tensor:
        """Return correlations of shape (..., 24) in order of ``KEYS``; 0 for constant chroma."""
        centred = chroma - chroma.mean(-1, keepdim=True)
        # Shares that differ only by rounding have no key.
        norm = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
        return torch.where(norm > 1e-6, centred / norm.clamp(min=1e-6) @ self.profiles, 0.0)


class KeyClarity(nn.Module):
    """Key clarity, the strength of the best key, in long windows.

    Source: Senac et al. 2017, section 2.2.3: 6 s windows with 50 % overlap; the second output of
    MIRtoolbox's ``mirkey``. Uses Krumhansl's profiles and the chroma of one transform of the
    complete Hamming window. A clip shorter than a window is one window.
    """

    def __init__(self, sample_rate: int, window_seconds: float = 6.0, overlap: float = 0.5) -> None:
        super().__init__()
        self.window_length, self.hop_length = frame_sizes(
            sample_rate, window_seconds, overlap, "key_window_seconds"
        )
        self.chroma = Chroma(sample_rate, self.window_length)
        self.strength = KeyStrength()

    def key_strengths(self, audio: Tensor) -> Tensor:
        """Return the strength of all keys in each window, of shape (batch, windows, 24)."""
        samples = audio.shape[-1]
        # Symbolic during export. pad accepts symbols, though its type hints do not include them.
        length = cast(int, torch.sym_min(self.window_length, samples))
        missing = (0, cast(int, torch.sym_max(0, self.window_length - samples)))
        # torch.hamming_window would fix the length in an exported graph.
        turn = torch.arange(length, dtype=torch.float32, device=audio.device) / (length - 1)
        window = 0.54 - 0.46 * torch.cos(2 * math.pi * turn)
        windows = nn.functional.pad(audio, missing).unfold(-1, self.window_length, self.hop_length)
        magnitude = power_spectrum(windows * nn.functional.pad(window, missing)).sqrt()
        return self.strength(self.chroma(magnitude))

    def forward(self, audio: Tensor, centres: Tensor) -> Tensor:
        """Return the key clarity of the window nearest to each frame, of shape (batch, frames).

        ``centres`` are the centres of the frames in samples, of shape (frames,).
        """
        clarity = self.key_strengths(audio).amax(-1)
        nearest = ((centres - self.window_length / 2) / self.hop_length).round().long()
        return clarity[:, nearest.clamp(0, clarity.shape[1] - 1)]
