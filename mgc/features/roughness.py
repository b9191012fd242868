"""Computes spectral roughness, the dissonance of all pairs of spectral peaks."""

from bisect import bisect_left
from typing import Literal

import torch
from torch import Tensor, nn

from mgc.core.ranges import CheckedArguments, Share

# Sethares, "Local consonance and the relationship between timbre and scale", 1993, with the digits
# of MIRtoolbox's mirroughness: decay rates of the two exponentials, and the scale of an interval
# relative to the critical bandwidth at the lower frequency in Hz.
B1, B2 = 3.51, 5.75
X_STAR = 0.24
S1, S2 = 0.0207, 18.96

# Limit of the ratio of `S1 f + S2` minus 1. Above it, the curve is below 1e-12 and kept constant,
# because values that underflow float32 are many times slower on a CPU.
MAX_RATIO = 0.7

# Maximum number of pairs of partials in memory: 1 MiB on a CPU, to fit into the cache, and 256 MiB
# on other devices.
CPU_PAIRS, DEVICE_PAIRS = 1 << 18, 1 << 26

# Number of frames to search for peaks at a time on a CPU, also to fit into the cache.
CPU_FRAMES = 256

# Sizes of the groups of frames by number of partials. With more sizes, fewer places stay unused,
# but groups split less evenly into halves.
TABLE_SIZES = tuple(sorted({factor << k for k in range(24) for factor in (2, 3)}))


def dissonance(low: Tensor, high: Tensor) -> Tensor:
    """Compute the dissonance of two pure tones of amplitude 1, the Plomp-Levelt curve.

    It is 0 at unison, largest (0.18) about a quarter of the critical bandwidth apart, at
    ``0.918 * (0.0207 * low + 18.96)`` Hz, and falls to 0 for wide intervals. Frequencies are in Hz.

    Source: Sethares 1993.
    """
    return _curve((S1 * high + S2) / (S1 * low + S2))


def _curve(ratio: Tensor) -> Tensor:
    # The interval over the critical bandwidth, x* (high - low) / (s1 low + s2), needs only the
    # ratio of s1 f + s2 at the two frequencies.
    excess = (ratio - 1).clamp(0.0, MAX_RATIO)
    return torch.exp((-B1 * X_STAR / S1) * excess) - torch.exp((-B2 * X_STAR / S1) * excess)


def sum_over_pairs(amplitudes: Tensor, frequencies: Tensor) -> Tensor:
    """Sum the dissonance of all pairs of partials, weighted by both amplitudes, to shape (frames,).

    ``amplitudes`` (0 for no partial) and ascending ``frequencies`` in Hz have shape (partials,
    frames). Pairs are formed by halves: all partials of the lower half with all of the upper half,
    then the same inside each half. This computes each pair once, in half the time of a table of all
    pairs.
    """
    group, frames = amplitudes.shape
    bandwidth = S1 * frequencies + S2
    total = amplitudes.new_zeros(frames)
    while group > 1:
        amplitudes, bandwidth = (
            amplitudes.view(-1, group, frames),
            bandwidth.view(-1, group, frames),
        )
        # If the number is odd, pair the lowest with all others, then drop it.
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
    """Return a mask of the prominent local maxima of spectra of shape (bins, frames).

    A peak is higher than the previous bin and at least as high as the next. On both sides, the
    spectrum falls by at least ``prominence``, of shape (frames,), before it rises above the peak or
    ends. The first and last bin are never peaks.
    """
    inner = magnitude[1:-1]
    local = (inner > magnitude[:-2]) & (inner >= magnitude[2:])
    local = nn.functional.pad(local, (0, 0, 1, 1))
    # Follow the spectrum in both directions with a level that moves only to stay between the
    # spectrum and the prominence below it. A prominent peak pushes the level up.
    both = torch.cat([magnitude, magnitude.flip(0)], 1)
    floor = both - prominence.repeat(2)
    if torch.compiler.is_exporting():
        level = _follow_in_graph(floor, both)
    else:
        level = _follow(floor, both, torch.empty_like(both))
    pushed, frames = level <= floor, magnitude.shape[1]
    return local & pushed[:, :frames] & pushed[:, frames:].flip(0)


def _follow(low: Tensor, high: Tensor, level: Tensor) -> Tensor:
    """Clamp a level, initially infinite, to the bounds of one row after another.

    Two successive clamps are equal to one clamp, so pairs of rows are solved first, and the rows in
    between follow from them (a scan of logarithmic depth). The level after each row is written to
    ``level``. All have shape (rows, frames).
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
    """Compute :func:`_follow` without writing to slices of a tensor.

    A graph copies the complete tensor for each such slice.
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
    """Return the maximum of the parabola through three bins, and its offset from the middle bin."""
    curvature = (2 * peak - before - after).clamp(min=torch.finfo(peak.dtype).tiny)
    shift = (0.5 * (after - before) / curvature).clamp(-0.5, 0.5)
    return peak + 0.25 * (after - before) * shift, shift


class Roughness(CheckedArguments, nn.Module):
    """Spectral roughness (sensory dissonance) of each frame.

    The value is the dissonance of each pair of spectral peaks (Plomp-Levelt curve), weighted by the
    product of both magnitudes and averaged over the pairs. It is 0 with fewer than two peaks. Its
    unit is that of a squared magnitude.

    Peaks are local maxima of the magnitude spectrum with a prominence of at least ``contrast``
    times the largest magnitude of the clip. Their frequency and magnitude are refined by a parabola
    through three bins.

    Source: Senac et al. 2017, section 2.2.2; MIRtoolbox's ``mirroughness`` (method Sethares,
    contrast 0.01), which returns the sum over the pairs (``reduction="sum"``).

    Frames are grouped by their number of peaks, so that the work is proportional to the number of
    pairs. Reading these numbers synchronizes a GPU once per group. An exported graph cannot group
    frames; it uses a table of all pairs, as large as the frame with the most peaks needs.
    """

    def __init__(
        self,
        sample_rate: int,
        n_fft: int,
        contrast: Share = 0.01,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        self.bin_hz = sample_rate / n_fft
        self.contrast = contrast
        self.reduction = reduction

    def forward(self, magnitude: Tensor) -> Tensor:
        """Return values of shape (batch, frames) for magnitudes of shape (batch, frames, bins)."""
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
        """Return the sum or mean over the pairs."""
        if self.reduction == "sum":
            return total
        return total / ((peaks * (peaks - 1)).to(total.dtype) / 2).clamp(min=1)

    def _sum_in_table(self, magnitude: Tensor, found: Tensor) -> Tensor:
        """Sum over the pairs of each frame, with one table for all frames."""
        bins = magnitude.shape[1]
        before, after = magnitude[:, :-2], magnitude[:, 2:]
        heights, shift = _parabola(before, magnitude[:, 1:-1], after)
        frequencies = (torch.arange(1, bins - 1, device=shift.device) + shift) * self.bin_hz
        # Neighbours are never both peaks. Other bins go to an extra last column, which is dropped.
        most = bins // 2
        rank = torch.where(found, found.cumsum(1) - 1, most)[:, 1:-1]
        table = magnitude.new_zeros(2, magnitude.shape[0], most + 1)
        high = table[0].scatter(1, rank, heights)
        bandwidth = S1 * table[1].scatter(1, rank, frequencies) + S2
        size = found.sum(1).amax(0).item()
        torch._check(size >= 0)
        torch._check(size <= most)
        high, bandwidth = high[:, :size], bandwidth[:, :size]
        # The curve is 0 at unison and for pairs in the wrong order.
        curve = _curve(bandwidth[:, None, :] * bandwidth[:, :, None].reciprocal())
        return ((curve @ high[:, :, None])[:, :, 0] * high).sum(1)

    def _refine(self, magnitude: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        """Return heights and frequencies in Hz of all peaks, frame by frame."""
        position = found.reshape(-1).nonzero()[:, 0]
        # A peak is neither the first nor the last bin of its frame.
        before, peak, after = (magnitude.reshape(-1)[position + step] for step in (-1, 0, 1))
        heights, shift = _parabola(before, peak, after)
        return heights, (position % magnitude.shape[1] + shift) * self.bin_hz

    @staticmethod
    def _sum_by_frame(
        heights: Tensor, frequencies: Tensor, peaks: Tensor, most_pairs: int
    ) -> Tensor:
        """Sum over the pairs of each frame, grouped by the number of peaks."""
        total = heights.new_zeros(len(peaks))
        first = peaks.cumsum(0) - peaks
        ordered, frames = peaks.sort()
        sizes = TABLE_SIZES[: 1 + bisect_left(TABLE_SIZES, int(ordered[-1]))]
        # The first bound excludes frames without a pair.
        bounds = torch.searchsorted(ordered, ordered.new_tensor((1, *sizes)), right=True).tolist()
        for size, start, end in zip(sizes, bounds[:-1], bounds[1:], strict=True):
            rank = torch.arange(size, device=peaks.device)[:, None]
            step = max(1, 4 * most_pairs // size**2)
            for part in frames[start:end].split(step) if end > start else ():
                # Unused places repeat the last peak with height 0.
                position = first[part] + torch.minimum(rank, peaks[part] - 1)
                high = torch.where(rank < peaks[part], heights[position], 0.0)
                total[part] = sum_over_pairs(high, frequencies[position])
        return total
