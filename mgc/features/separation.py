"""Harmonic and percussive components of spectrograms, by median filtering."""

import math

import torch
from torch import Tensor, nn

from mgc.errors import MgcError


class HarmonicPercussive(nn.Module):
    """Split magnitude spectrograms into a harmonic and a percussive component.

    Steady tones are lines along time, drum hits lines along frequency. A median filter along time
    keeps the former, one along frequency the latter, and each point of the spectrogram is divided
    between them by a mask. With margins of 1 and soft masks the components add up to the
    spectrogram; with larger margins what belongs clearly to neither is left over, as the residual.

    Source: Fitzgerald (2010), "Harmonic/percussive separation using median filtering", section 2;
    margins from Driedger, Müller and Disch (2014), section 3. The same as librosa's
    ``decompose.hpss``.
    """

    def __init__(
        self,
        harmonic_length: int = 31,
        percussive_length: int = 31,
        power: float = 2.0,
        margin_harmonic: float = 1.0,
        margin_percussive: float = 1.0,
    ) -> None:
        """Initialize a new separation.

        Args:
            harmonic_length: Length of the median filter along time, in frames; odd.
            percussive_length: Length of the median filter along frequency, in bins; odd.
            power: Exponent of the soft masks. Infinity makes hard masks of 0 and 1.
            margin_harmonic: How many times as large as the percussive part the harmonic part must
                be to count as such; at least 1.
            margin_percussive: The same for the percussive part.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__()
        for name, length in [
            ("harmonic_length", harmonic_length),
            ("percussive_length", percussive_length),
        ]:
            _check_length(length, name)
        if not power > 0:
            raise MgcError(f"power={power:g}: must be greater than 0.")
        for name, margin in [
            ("margin_harmonic", margin_harmonic),
            ("margin_percussive", margin_percussive),
        ]:
            if not 1 <= margin < math.inf:
                raise MgcError(f"{name}={margin:g}: must be 1 or more, usually 1 to 10.")
        self.harmonic_length = harmonic_length
        self.percussive_length = percussive_length
        self.power = power
        self.margin_harmonic = margin_harmonic
        self.margin_percussive = margin_percussive

    def forward(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Separate spectrograms.

        Args:
            magnitude: Magnitudes, 0 or more, of shape (..., bins, frames).

        Returns:
            Harmonic and percussive magnitudes, each of the shape and precision of ``magnitude``.
        """
        harmonic, percussive = self.masks(magnitude)
        return magnitude * harmonic, magnitude * percussive

    def masks(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the share of each component at every point.

        Args:
            magnitude: Magnitudes, 0 or more, of shape (..., bins, frames).

        Returns:
            Harmonic and percussive mask in [0, 1], each of the shape and precision of
            ``magnitude``. Soft masks add up to 1 where both margins are 1.
        """
        harmonic = median_filter(magnitude, self.harmonic_length, dim=-1)
        percussive = median_filter(magnitude, self.percussive_length, dim=-2)
        split_zeros = self.margin_harmonic == 1 and self.margin_percussive == 1
        with torch.autocast(magnitude.device.type, enabled=False):
            # The powers of quiet magnitudes underflow in half precision.
            wide = torch.promote_types(magnitude.dtype, torch.float32)
            harmonic, percussive = harmonic.to(wide), percussive.to(wide)
            return (
                _mask(harmonic, percussive * self.margin_harmonic, self.power, split_zeros).to(
                    magnitude.dtype
                ),
                _mask(percussive, harmonic * self.margin_percussive, self.power, split_zeros).to(
                    magnitude.dtype
                ),
            )


def median_filter(x: Tensor, length: int, dim: int) -> Tensor:
    """Replace every value by the median of the values around it, along one dimension.

    Edges are reflected, with the value at the edge repeated (``d c b a | a b c d | d c b a``), as
    often as the filter needs. The result is bit for bit that of ``scipy.ndimage.median_filter``.

    Args:
        x: Values of any shape.
        length: Number of values in a window; odd.
        dim: Dimension to filter along.

    Returns:
        Medians, of the shape and type of ``x``.

    Raises:
        MgcError: If the length is even or less than 1.
    """
    _check_length(length, "length")
    return _reflect(x, length // 2, dim).unfold(dim, length, 1).median(dim=-1).values


def _check_length(length: int, name: str) -> None:
    if length < 1 or length % 2 == 0:
        raise MgcError(f"{name}={length}: median filters have an odd length, 1 or more.")


def _reflect(x: Tensor, margin: int, dim: int) -> Tensor:
    """Add reflections at both ends, the values at the edges repeated."""
    size = x.shape[dim]
    index = torch.arange(-margin, size + margin, device=x.device) % (2 * size)
    return x.index_select(dim, torch.minimum(index, 2 * size - 1 - index))


def _mask(part: Tensor, reference: Tensor, power: float, split_zeros: bool) -> Tensor:
    """Compute a soft or hard mask from the estimate of a component and that of the other one."""
    if math.isinf(power):
        return (part > reference).to(part.dtype)
    scale = torch.maximum(part, reference)
    silent = scale < torch.finfo(scale.dtype).tiny
    scale = scale.masked_fill(silent, 1)
    share = (part / scale) ** power
    share = share / (share + (reference / scale) ** power)
    return share.masked_fill(silent, 0.5 if split_zeros else 0.0)
