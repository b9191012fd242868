"""Spectral roughness: the dissonance of all pairs of spectral peaks."""

from bisect import bisect_left

import torch
from torch import Tensor, nn

from mgc.errors import MgcError

# Sethares, "Local consonance and the relationship between timbre and scale", 1993, with the digits
# of MIRtoolbox's mirroughness: decay rates of the two exponentials, and what scales an interval to
# the critical bandwidth at the lower frequency in Hz.
B1, B2 = 3.51, 5.75
X_STAR = 0.24
S1, S2 = 0.0207, 18.96

# Where the ratio of `S1 f + S2` less 1 is larger, the curve is below 1e-12, and is taken as there:
# numbers that underflow float32 take many times as long on a CPU.
MAX_RATIO = 0.7

# Pairs of partials whose curve is held in memory at once: 1 MiB on a CPU, where the table must stay
# in the cache, and 256 MiB on other devices.
CPU_PAIRS, DEVICE_PAIRS = 1 << 18, 1 << 26

# Frames whose peaks are looked for at once on a CPU, for the same reason.
CPU_FRAMES = 256

# Numbers of partials that frames are grouped by; with more of them, fewer places are
# left over, but halves are less even.
TABLE_SIZES = tuple(sorted({factor << k for k in range(24) for factor in (2, 3)}))


def dissonance(low: Tensor, high: Tensor) -> Tensor:
    """Dissonance of two pure tones of amplitude 1, the Plomp-Levelt curve.

    It is 0 at unison, largest (0.18) about a quarter of the critical bandwidth apart, at
    ``0.918 * (0.0207 * low + 18.96)`` Hz, and falls to 0 for wide intervals.

    Source: Sethares 1993.

    Args:
        low: Lower frequencies in Hz.
        high: Higher frequencies in Hz, of a shape that broadcasts with ``low``.

    Returns:
        Dissonance of each pair.
    """
    return _curve((S1 * high + S2) / (S1 * low + S2))


def _curve(ratio: Tensor) -> Tensor:
    # The interval over the critical bandwidth, x* (high - low) / (s1 low + s2), needs only the
    # ratio of s1 f + s2 at the two frequencies.
    excess = (ratio - 1).clamp(0.0, MAX_RATIO)
    return torch.exp((-B1 * X_STAR / S1) * excess) - torch.exp((-B2 * X_STAR / S1) * excess)


def sum_over_pairs(amplitudes: Tensor, frequencies: Tensor) -> Tensor:
    """Sum of the dissonance of all pairs of partials, weighted by both amplitudes.

    The pairs are taken by halves: all of the lower half with all of the upper half, then the same
    within each half. No pair is computed twice and nothing is gathered, which takes half the time
    of a table of all pairs.

    Args:
        amplitudes: Of shape (partials, frames), 0 for no partial.
        frequencies: In Hz, of the same shape, rising.

    Returns:
        Of shape (frames,).
    """
    group, frames = amplitudes.shape
    bandwidth = S1 * frequencies + S2
    total = amplitudes.new_zeros(frames)
    while group > 1:
        amplitudes, bandwidth = (
            amplitudes.view(-1, group, frames),
            bandwidth.view(-1, group, frames),
        )
        # Of an odd number, the lowest is paired with all others and left out from there.
        half = 1 if group % 2 else group // 2
        curve = _curve(bandwidth[:, None, half:] * bandwidth[:, :half, None].reciprocal())
        weighted = (curve * amplitudes[:, None, half:]).sum(2)
        total = total + (weighted * amplitudes[:, :half]).sum((0, 1))
        if group % 2:
            amplitudes, bandwidth = amplitudes[:, 1:].contiguous(), bandwidth[:, 1:].contiguous()
            group -= 1
        else:
            group = half
    return total


@torch.no_grad()
def find_peaks(magnitude: Tensor, prominence: Tensor) -> Tensor:
    """Find the prominent local maxima of spectra.

    A peak is higher than the bin before it, not lower than the one after, and stands out by
    ``prominence`` or more: on both sides, the spectrum falls that far below the peak before it
    rises above it or ends. The first and the last bin are no peaks.

    Args:
        magnitude: Spectra of shape (bins, frames).
        prominence: Smallest prominence in each frame, of shape (frames,).

    Returns:
        Whether each bin is a peak, of shape (bins, frames).
    """
    inner = magnitude[1:-1]
    local = (inner > magnitude[:-2]) & (inner >= magnitude[2:])
    local = nn.functional.pad(local, (0, 0, 1, 1))
    # Follow the spectrum, upwards and downwards, with a level that keeps within the prominence
    # below it and moves only when it must. At a peak that stands out, it was pushed up.
    both = torch.cat([magnitude, magnitude.flip(0)], 1)
    floor = both - prominence.repeat(2)
    if torch.compiler.is_exporting():
        level = _follow_in_graph(floor, both)
    else:
        level = _follow(floor, both, torch.empty_like(both))
    pushed, frames = level <= floor, magnitude.shape[1]
    return local & pushed[:, :frames] & pushed[:, frames:].flip(0)


def _follow(low: Tensor, high: Tensor, level: Tensor) -> Tensor:
    """Level that starts at infinity and is clamped to the bounds of one row after the other.

    Clamps in a row are one clamp, so pairs of rows are solved first, and the rows between follow
    from them: a scan of logarithmic depth.

    Args:
        low: Lower bounds of shape (rows, frames).
        high: Upper bounds, of the same shape.
        level: What the result is written to, of the same shape.

    Returns:
        Level after each row.
    """
    if len(low) > 1:
        last_low, last_high = low[1::2], high[1::2]
        first_low, first_high = low[: len(last_low) * 2 : 2], high[: len(last_high) * 2 : 2]
        _follow(
            first_low.clamp(last_low, last_high),
            first_high.clamp(last_low, last_high),
            level[1::2],
        )
        torch.clamp(level[1 : len(low) - 1 : 2], low[2::2], high[2::2], out=level[2::2])
    level[0] = high[0]
    return level


def _follow_in_graph(low: Tensor, high: Tensor) -> Tensor:
    """Level as of :func:`_follow`, without writing to parts of a tensor.

    A graph copies the whole tensor for each such part.
    """
    rows = len(low)
    if rows == 1:
        return high
    last_low, last_high = low[1::2], high[1::2]
    first_low, first_high = low[: len(last_low) * 2 : 2], high[: len(last_high) * 2 : 2]
    odd = _follow_in_graph(
        first_low.clamp(last_low, last_high), first_high.clamp(last_low, last_high)
    )
    even = odd[: (rows - 1) // 2].clamp(low[2::2], high[2::2])
    even = torch.cat([high[:1], even])
    pairs = torch.stack([even[: len(odd)], odd], 1).flatten(0, 1)
    return torch.cat([pairs, even[len(odd) :]])


def _parabola(before: Tensor, peak: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Height of the parabola through three bins, and how many bins from the middle its top is."""
    curvature = (2 * peak - before - after).clamp(min=torch.finfo(peak.dtype).tiny)
    shift = (0.5 * (after - before) / curvature).clamp(-0.5, 0.5)
    return peak + 0.25 * (after - before) * shift, shift


class Roughness(nn.Module):
    """Spectral roughness, or sensory dissonance, of each frame.

    The dissonance of every pair of spectral peaks by the Plomp-Levelt curve, weighted by the
    product of the two magnitudes, and averaged over the pairs; 0 with fewer than two peaks. The
    unit is that of a squared magnitude of the transform.

    A local maximum of the magnitude spectrum is a peak where its prominence is at least
    ``contrast`` times the largest magnitude of the clip. Its frequency and magnitude are refined by
    a parabola through three bins.

    Source: Senac et al. 2017, section 2.2.2; MIRtoolbox's ``mirroughness`` (method Sethares,
    contrast 0.01), which returns the sum over the pairs (``reduction="sum"``).

    Frames are grouped by their number of peaks, so that the work follows the number of pairs there
    are; asking for these numbers makes other devices wait once for each group. An exported graph
    cannot group: there, the frame with most peaks sets the size of a table of all pairs.
    """

    def __init__(
        self,
        sample_rate: int,
        n_fft: int,
        contrast: float = 0.01,
        reduction: str = "mean",
    ) -> None:
        """Initialize a new roughness.

        Args:
            sample_rate: Rate of the audio in Hz.
            n_fft: Length of the transform in samples.
            contrast: Smallest prominence of a peak, a share of the clip's largest magnitude.
            reduction: ``mean`` or ``sum`` over the pairs.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__()
        if not 0 < contrast < 1:
            raise MgcError(f"contrast={contrast}: a share between 0 and 1 is needed.")
        if reduction not in ("mean", "sum"):
            raise MgcError(f"reduction={reduction!r}: choose mean or sum.")
        self.bin_hz = sample_rate / n_fft
        self.contrast = contrast
        self.reduction = reduction

    def forward(self, magnitude: Tensor) -> Tensor:
        """Compute the roughness of each frame.

        Args:
            magnitude: Magnitude spectra of shape (batch, frames, bins).

        Returns:
            Values of shape (batch, frames).
        """
        batch, frames, bins = magnitude.shape
        prominence = self.contrast * magnitude.amax((1, 2), keepdim=True)
        prominence = prominence.expand(batch, frames, 1).reshape(-1)
        values = magnitude.reshape(-1, bins)
        if torch.compiler.is_exporting():
            found = find_peaks(values.t(), prominence).t()
            return self._reduce(self._sum_in_table(values, found), found.sum(1)).view(batch, frames)
        on_cpu = magnitude.device.type == "cpu"
        size = CPU_FRAMES if on_cpu else len(values)
        found = torch.cat(
            [
                find_peaks(part.t().contiguous(), least).t()
                for part, least in zip(values.split(size), prominence.split(size), strict=True)
            ]
        )
        peaks = found.sum(1)
        heights, frequencies = self._refine(values, found)
        total = self._sum_by_frame(
            heights, frequencies, peaks, CPU_PAIRS if on_cpu else DEVICE_PAIRS
        )
        return self._reduce(total, peaks).view(batch, frames)

    def _reduce(self, total: Tensor, peaks: Tensor) -> Tensor:
        """Sum or mean over the pairs, given their sum and the number of peaks."""
        if self.reduction == "sum":
            return total
        return total / ((peaks * (peaks - 1)).to(total.dtype) / 2).clamp(min=1)

    def _sum_in_table(self, magnitude: Tensor, found: Tensor) -> Tensor:
        """Sum over the pairs of each frame, without asking how many peaks a frame has."""
        bins = magnitude.shape[1]
        before, after = magnitude[:, :-2], magnitude[:, 2:]
        heights, shift = _parabola(before, magnitude[:, 1:-1], after)
        frequencies = (torch.arange(1, bins - 1, device=shift.device) + shift) * self.bin_hz
        # Two neighbours are never both peaks. What is no peak goes to a last place, and is dropped.
        most = bins // 2
        rank = torch.where(found, found.cumsum(1) - 1, most)[:, 1:-1]
        table = magnitude.new_zeros(2, magnitude.shape[0], most + 1)
        high = table[0].scatter(1, rank, heights)
        bandwidth = S1 * table[1].scatter(1, rank, frequencies) + S2
        size = found.sum(1).amax(0).item()
        torch._check(size >= 0)
        torch._check(size <= most)
        high, bandwidth = high[:, :size], bandwidth[:, :size]
        # The curve is 0 at unison, and also for the pairs in the wrong order.
        curve = _curve(bandwidth[:, None, :] * bandwidth[:, :, None].reciprocal())
        return ((curve @ high[:, :, None])[:, :, 0] * high).sum(1)

    def _refine(self, magnitude: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        """Heights and frequencies in Hz of all peaks, frame by frame, by parabolas."""
        place = found.reshape(-1).nonzero()[:, 0]
        # A peak is neither the first nor the last bin of its frame.
        before, peak, after = (magnitude.reshape(-1)[place + step] for step in (-1, 0, 1))
        heights, shift = _parabola(before, peak, after)
        return heights, (place % magnitude.shape[1] + shift) * self.bin_hz

    @staticmethod
    def _sum_by_frame(
        heights: Tensor, frequencies: Tensor, peaks: Tensor, most_pairs: int
    ) -> Tensor:
        """Sum over the pairs of each frame, given the number of its peaks."""
        total = heights.new_zeros(len(peaks))
        first = peaks.cumsum(0) - peaks
        ordered, frames = peaks.sort()
        sizes = TABLE_SIZES[: 1 + bisect_left(TABLE_SIZES, int(ordered[-1]))]
        # Frames without a pair are below the first bound.
        bounds = torch.searchsorted(ordered, ordered.new_tensor((1, *sizes)), right=True).tolist()
        for size, start, end in zip(sizes, bounds[:-1], bounds[1:], strict=True):
            rank = torch.arange(size, device=peaks.device)[:, None]
            step = max(1, 4 * most_pairs // size**2)
            for part in frames[start:end].split(step) if end > start else ():
                # The places that are left over repeat the last peak, with height 0.
                place = first[part] + torch.minimum(rank, peaks[part] - 1)
                high = torch.where(rank < peaks[part], heights[place], 0.0)
                total[part] = sum_over_pairs(high, frequencies[place])
        return total
