"""Change the rate of audio by a windowed sinc filter."""

import math
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

#: How carefully the rate is changed. ``fast`` fades the highest tenth of the spectrum out, ``best``
#: is flat up to the edge: features that stand beside published ones need it. ``fast`` is the filter
#: of torchaudio's defaults. ``best`` is the Kaiser window of resampy's ``kaiser_best``, which
#: librosa used in 2017; its edge, as a share of half the rate, is the one that brings the MFCC
#: vectors published by Choi et al. (2017) back to 0.2 %.
Resampling = Literal["fast", "best"]

#: Zero crossings of the sinc on each side, edge of the passband as a share of half the lower rate,
#: and the parameter of the Kaiser window; without one, the window is Hann's.
_FILTERS: dict[Resampling, tuple[int, float, float | None]] = {
    "fast": (6, 0.99, None),
    "best": (64, 0.9463, 14.769656459379492),
}


class Resampler:
    """Filter that makes ``target`` samples of every ``source`` samples.

    Band-limited interpolation after Smith and Gossett (1984), as torchaudio has it: each of the
    target samples of a period has a filter of its own, and a period is a product with the matrix
    of them. It needs no torch, so that exported models are served without.

    Attributes:
        source: Samples of a period before.
        target: Samples of a period after, with no common divisor.
        width: Samples on each side of a sample that it depends on.
    """

    def __init__(self, source: int, target: int, resampling: Resampling) -> None:
        """Initialize a new filter.

        Args:
            source: Samples of a period before.
            target: Samples of a period after.
            resampling: ``fast`` or ``best``.
        """
        self.source = source
        self.target = target
        self.crossings, self.edge, self.beta = _FILTERS[resampling]
        self.width = math.ceil(self.crossings * source / (min(source, target) * self.edge))

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """Change the rate.

        Args:
            audio: Float32 of shape (samples,).

        Returns:
            Float32 of shape (ceil(samples · target / source),).
        """
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
        """What a period is multiplied by, and what the beginning of the next one is.

        Short periods are taken several at a time, so that the next one covers the filter's width.
        """
        times = max(1, -(-2 * self.width // self.source))
        source, target = self.source * times, self.target * times
        edge = min(self.source, self.target) * self.edge
        place = np.arange(-self.width, self.width + source)[:, None] / self.source
        time = np.clip(
            (place - np.arange(target) / self.target) * edge, -self.crossings, self.crossings
        )
        share = time / self.crossings
        if self.beta is None:
            window = np.cos(share * np.pi / 2) ** 2
        else:
            window = np.i0(self.beta * np.sqrt(1 - share**2)) / np.i0(self.beta)
        filters = (np.sinc(time) * window * (edge / self.source)).astype(np.float32)
        return filters[:source].copy(), filters[source:].copy()


@lru_cache(maxsize=16)
def resampler(source: int, target: int, resampling: Resampling) -> Resampler:
    """Make a filter, or find one that was made before.

    Args:
        source: Samples of a period before.
        target: Samples of a period after.
        resampling: ``fast`` or ``best``.

    Returns:
        The filter.
    """
    return Resampler(source, target, resampling)
