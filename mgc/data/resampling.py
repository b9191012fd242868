"""Resamples audio with a windowed sinc filter."""

import math
from functools import cached_property, lru_cache

import numpy as np

from mgc.core.description import Resampling

#: Zero crossings of the sinc on each side, cutoff as a fraction of half the lower rate, and beta of
#: the Kaiser window (None for a Hann window).
_FILTERS: dict[Resampling, tuple[int, float, float | None]] = {
    "fast": (6, 0.99, None),
    "best": (64, 0.9463, 14.769656459379492),
}


class Resampler:
    """Resampling filter that converts ``source`` samples to ``target`` samples.

    Implements band-limited interpolation (Smith and Gossett, 1984) as torchaudio does: each target
    sample of a period has its own filter, and a period is multiplied by the matrix of these
    filters. ``source`` and ``target`` must be coprime. An output sample depends on ``width``
    samples on each side. This class does not need torch, so that exported models can use it.
    benchmarks/loading.py compares it with torchaudio's and librosa's resampling.
    """

    def __init__(self, source: int, target: int, resampling: Resampling) -> None:
        self.source = source
        self.target = target
        self.crossings, self.edge, self.beta = _FILTERS[resampling]
        self.width = math.ceil(self.crossings * source / (min(source, target) * self.edge))

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """Resample float32 audio to shape (ceil(samples · target / source),)."""
        first, second = self._matrices
        period, margin = len(first), 2 * self.width
        samples = math.ceil(len(audio) * self.target / self.source)
        periods = -(-len(audio) // period)
        padded = np.zeros((periods + 1) * period, np.float32)
        padded[self.width : self.width + len(audio)] = audio
        blocks = padded.reshape(-1, period)
        result = blocks[:-1] @ first
        result += blocks[1:, :margin] @ second
        return result.reshape(-1)[:samples]

    @cached_property
    def _matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrices applied to a period and to the start of the next one.

        Short periods are grouped so that the next group covers the filter's width.
        """
        times = max(1, -(-2 * self.width // self.source))
        source, target = self.source * times, self.target * times
        edge = min(self.source, self.target) * self.edge
        position = np.arange(-self.width, self.width + source)[:, None] / self.source
        time = np.clip(
            (position - np.arange(target) / self.target) * edge, -self.crossings, self.crossings
        )
        share = time / self.crossings
        if self.beta is None:
            window = np.cos(share * np.pi / 2) ** 2
        else:
            window = np.i0(self.beta * np.sqrt(1 - share**2)) / np.i0(self.beta)
        filters = (np.sinc(time) * window * (edge / self.source)).astype(np.float32)
        return filters[:source].copy(), filters[source:].copy()


@lru_cache(maxsize=16)
def get_resampler(source: int, target: int, resampling: Resampling) -> Resampler:
    """Create a filter, or return a cached one."""
    return Resampler(source, target, resampling)
