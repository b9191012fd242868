"""Separates harmonic and percussive components of spectrograms by median filtering."""

import math

import torch
from torch import Tensor, nn

from mgc.core.ranges import CheckedArguments, Margin, MaskPower, MedianLength, check_value
from mgc.errors import MgcError


class HarmonicPercussive(CheckedArguments, nn.Module):
    """Split magnitude spectrograms into a harmonic and a percussive component.

    In a spectrogram, steady tones are lines along time and drum hits are lines along frequency. A
    median filter along time keeps the tones, one along frequency keeps the hits. The masks of the
    two components are computed from both filtered spectrograms.

    Args:
        harmonic_length: Length of the median filter along time, in frames; odd.
        percussive_length: Length of the median filter along frequency, in bins; odd.
        power: Exponent of the soft masks; infinity gives hard masks of 0 and 1.
        margin_harmonic: Minimum ratio of the harmonic to the percussive estimate, at least 1. With
            margins of 1 and soft masks, the components add up to the spectrogram. Larger margins
            leave a residual.
        margin_percussive: Minimum ratio of the percussive to the harmonic estimate, at least 1.

    Source: Fitzgerald (2010), "Harmonic/percussive separation using median filtering", section 2;
    margins from Driedger, Müller and Disch (2014), section 3. Same results as librosa's
    ``decompose.hpss``.
    """

    def __init__(
        self,
        harmonic_length: MedianLength = 31,
        percussive_length: MedianLength = 31,
        power: MaskPower = 2.0,
        margin_harmonic: Margin = 1.0,
        margin_percussive: Margin = 1.0,
    ) -> None:
        super().__init__()
        self.harmonic_length = harmonic_length
        self.percussive_length = percussive_length
        self.power = power
        self.margin_harmonic = margin_harmonic
        self.margin_percussive = margin_percussive

    @property
    def has_residual(self) -> bool:
        """Whether the components may not add up to the spectrogram."""
        return self.power == math.inf or max(self.margin_harmonic, self.margin_percussive) > 1

    def forward(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Return harmonic and percussive magnitudes of shape (..., bins, frames)."""
        harmonic, percussive = self.masks(magnitude)
        return magnitude * harmonic, magnitude * percussive

    @torch.no_grad()
    def masks(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Return the harmonic and percussive masks in [0, 1], without gradients.

        Where the two estimates are equal, as in silence, both hard masks are 0.
        """
        harmonic = median_filter(magnitude, self.harmonic_length, dim=-1)
        percussive = median_filter(magnitude, self.percussive_length, dim=-2)
        with torch.autocast(magnitude.device.type, enabled=False):
            # Powers of small magnitudes underflow in half precision.
            wide = torch.promote_types(magnitude.dtype, torch.float32)
            harmonic, percussive = harmonic.to(wide), percussive.to(wide)
            if self.margin_harmonic == self.margin_percussive == 1:
                masks = _masks(harmonic, percussive, self.power, silence=0.5)
            else:
                masks = (
                    _masks(harmonic, percussive * self.margin_harmonic, self.power, silence=0)[0],
                    _masks(percussive, harmonic * self.margin_percussive, self.power, silence=0)[0],
                )
        return masks[0].to(magnitude.dtype), masks[1].to(magnitude.dtype)


def separate_audio(
    audio: Tensor, separation: HarmonicPercussive, n_fft: int = 2048, hop_length: int = 512
) -> tuple[Tensor, Tensor, Tensor]:
    """Split audio of shape (channels, samples) into harmonic, percussive and residual waveforms.

    They add up to the input. The masks are applied to the complex spectrogram (Hann window), which
    is inverted by overlap-add. With soft masks and margins of 1, the residual contains only
    rounding errors.

    Raises:
        MgcError: If ``hop_length`` is not from 1 to a quarter of ``n_fft``.
    """
    check_overlap(n_fft, hop_length)
    window = torch.hann_window(n_fft, device=audio.device)
    spectrum = torch.stft(
        audio, n_fft, hop_length, window=window, pad_mode="constant", return_complex=True
    )
    harmonic, percussive = (
        torch.istft(spectrum * mask, n_fft, hop_length, window=window, length=audio.shape[-1])
        for mask in separation.masks(spectrum.abs())
    )
    return harmonic, percussive, audio - harmonic - percussive


def check_overlap(n_fft: int, hop_length: int) -> None:
    """Raise an ``MgcError`` unless ``hop_length`` is from 1 to a quarter of ``n_fft`` samples."""
    if not 1 <= hop_length <= n_fft // 4:
        raise MgcError(
            f"hop_length={hop_length} with n_fft={n_fft}: must be 1 or more, and a quarter of "
            "n_fft or less."
        )


@torch.no_grad()
def median_filter(x: Tensor, length: int, dim: int) -> Tensor:
    """Apply a median filter along one dimension.

    Edges are reflected including the edge value (``d c b a | a b c d | d c b a``), repeatedly if
    needed. The result equals ``scipy.ndimage.median_filter`` with ``mode="reflect"`` bit for bit.
    The median of a window with a NaN is NaN. There is no gradient.

    Neighbouring windows (16 at a length of 31) are sorted together, similar to Adams (2021), "Fast
    median filters using separable sorting networks": the values common to a group of windows are
    sorted once. The group is then halved repeatedly, and each half adds a sorted block of the
    values that only its windows share. Values that are too high or too low to be a median are
    dropped immediately. A median of 31 values takes 22 minimum and maximum operations, each over
    many lines and groups of windows. benchmarks/separation.py compares the speed with other
    implementations.

    Raises:
        MgcError: If the length is even or less than 1.
    """
    check_value("length", MedianLength, length)
    dim %= x.ndim
    if torch.compiler.is_exporting():
        return _median_filter_in_graph(x, length, dim)
    if x.ndim > 1 and not x.is_contiguous() and x.mT.is_contiguous():  # as returned by torch.stft
        swapped = {x.ndim - 1: x.ndim - 2, x.ndim - 2: x.ndim - 1}
        return median_filter(x.mT, length, swapped.get(dim, dim)).mT
    result = torch.empty_like(x, memory_format=torch.contiguous_format)
    if x.numel() == 0:
        return result
    source, target = _as_lines(x.contiguous(), dim), _as_lines(result, dim)
    batch, size, lines = source.shape
    group = _group(length)
    padded = group * (-(-size // group) + 2)
    values = CPU_VALUES if x.device.type == "cpu" else DEVICE_VALUES
    if torch.compiler.is_compiling():
        values = batch * padded * lines  # all at once: compiled code keeps values in registers
    width = min(lines, max(64, values // padded // 64 * 64))
    height = min(batch, max(1, values // (padded * width)))
    for first in range(0, batch, height):
        for left in range(0, lines, width):
            part = slice(first, first + height), slice(None), slice(left, left + width)
            medians = _medians(_reflect(source[part], length // 2, padded), length)
            # torch transposes two-dimensional tensors faster.
            target[part].squeeze(0).copy_(medians[:, :size].squeeze(0))
    return result


def _median_filter_in_graph(x: Tensor, length: int, dim: int) -> Tensor:
    """Apply a median filter to finite values by sorting each window; can be exported."""
    size, half = x.shape[dim], length // 2
    index = torch.arange(-half, size + half, device=x.device) % (2 * size)
    index = torch.minimum(index, 2 * size - 1 - index)
    extended = x.movedim(dim, -1).index_select(-1, index)
    place = torch.arange(size, device=x.device)[:, None] + torch.arange(length, device=x.device)
    windows = extended.index_select(-1, place.flatten()).unflatten(-1, (size, length))
    return windows.topk(half + 1, sorted=True).values[..., -1].movedim(-1, dim)


#: Number of values to filter at a time. Intermediate results are about ten times as large, and
#: should fit into a CPU's cache or the memory of another device.
CPU_VALUES, DEVICE_VALUES = 2**21, 2**26


def _group(length: int) -> int:
    """Return the number of neighbouring windows to sort together, a power of two."""
    return 1 << (length // 2).bit_length()


def _as_lines(x: Tensor, dim: int) -> Tensor:
    """Return a view of shape (batch, positions along the dimension, lines)."""
    after = x.shape[dim + 1 :].numel()
    if after == 1:
        return x.view(1, -1, x.shape[dim]).mT
    return x.view(-1, x.shape[dim], after)


def _reflect(x: Tensor, margin: int, padded: int) -> Tensor:
    """Reflect positions: ``margin`` values before, and after up to a length of ``padded``."""
    batch, size, lines = x.shape
    index = torch.arange(-margin, padded - margin, device=x.device) % (2 * size)
    index = torch.minimum(index, 2 * size - 1 - index)
    result = x.new_empty(batch, padded, lines)
    middle = result[:, margin : margin + size]
    middle.squeeze(0).copy_(x.squeeze(0))
    result[:, :margin] = middle.index_select(1, index[:margin])
    result[:, margin + size :] = middle.index_select(1, index[margin + size :])
    return result


def _medians(x: Tensor, length: int) -> Tensor:
    """Return the median of the window at each position, except in the last two groups.

    ``x`` has shape (batch, positions, lines), with a multiple of :func:`_group` positions.
    """
    group = _group(length)
    x = x.unflatten(1, (-1, group))
    groups = x.shape[1] - 2
    # Neighbouring groups of windows share blocks, at different positions, which are sorted once.
    # Compiled code is faster when it sorts them again, in registers.
    compiling = torch.compiler.is_compiling()
    period = 3 * group if compiling else group
    available = groups if compiling else groups + 2

    blocks: dict[tuple[int, int], list[Tensor]] = {}

    def sort(first: int, size: int) -> list[Tensor]:
        """Sort each group's block of values that begins at position ``first``."""
        if size == 1:
            return [x[:, first // group : first // group + available, first % group]]
        one, other = block(first, size // 2), block(first + size // 2, size // 2)
        both = min(one[0].shape[1], other[0].shape[1])
        return _merge(_first_groups(one, both), _first_groups(other, both))

    def block(first: int, size: int) -> list[Tensor]:
        """Return a sorted block, which may begin in a later group."""
        key = first % period, size
        if key not in blocks:
            blocks[key] = sort(*key)
        return [v[:, first // period :] for v in blocks[key]] if first >= period else blocks[key]

    def select(candidates: list[Tensor], first: int) -> list[Tensor]:
        """Compute the medians of ``len(candidates)`` windows from position ``first`` on."""
        half = len(candidates) // 2
        if half == 0:
            return candidates
        medians = []
        for start, new in ((first, first + half - 1), (first + half, first + length)):
            # With candidates ascending and new values descending, clamping each new value between
            # two candidates drops the lowest and the highest values. The remaining values first
            # fall, then rise, so a bitonic network sorts them.
            added = reversed(_first_groups(block(new, half), groups))
            kept = map(torch.clamp, added, candidates, candidates[half:])
            medians += select(_sort_bitonic(list(kept)), start)
        return medians

    # Windows of a group share the values from the last window's start to the first one's end.
    common: list[Tensor] = []
    first, size = group - 1, group
    while first < length:
        if first + size <= length:
            common = _merge(common, _first_groups(block(first, size), groups))
            first += size
        size //= 2
    # With fewer common values than windows, add infinite candidates.
    padding = (group - len(common)) // 2
    lowest, highest = (x.new_full((1, 1, 1), bound) for bound in _bounds(x.dtype))
    candidates = [lowest] * padding + common + [highest] * padding
    return torch.stack(select(candidates, 0), dim=2).flatten(1, 2)


def _bounds(dtype: torch.dtype) -> tuple[float, float]:
    """Return the lowest and highest value of a dtype."""
    if dtype.is_floating_point:
        return -math.inf, math.inf
    return torch.iinfo(dtype).min, torch.iinfo(dtype).max


def _first_groups(values: list[Tensor], groups: int) -> list[Tensor]:
    """Return the first groups. Does not slice if all are kept, because slicing is slow."""
    return values if values[0].shape[1] == groups else [v[:, :groups] for v in values]


def _merge(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    """Merge two sorted lists with Batcher's odd-even network (Knuth, volume 3, section 5.3.4)."""
    if not one or not other:
        return one + other
    if len(one) == len(other) == 1:
        return [torch.minimum(one[0], other[0]), torch.maximum(one[0], other[0])]
    even, odd = _merge(one[::2], other[::2]), _merge(one[1::2], other[1::2])
    result = even[:1]
    for low, high in zip(odd, even[1:], strict=False):
        result += [torch.minimum(low, high), torch.maximum(low, high)]
    paired = min(len(odd), len(even) - 1)
    return result + even[1 + paired :] + odd[paired:]


def _sort_bitonic(values: list[Tensor]) -> list[Tensor]:
    """Sort a list that first falls, then rises. Its length must be a power of two."""
    half = len(values) // 2
    if half == 0:
        return values
    low = list(map(torch.minimum, values[:half], values[half:]))
    high = list(map(torch.maximum, values[:half], values[half:]))
    return _sort_bitonic(low) + _sort_bitonic(high)


def _masks(part: Tensor, reference: Tensor, power: float, silence: float) -> tuple[Tensor, Tensor]:
    """Compute the masks of a component and of its reference, like librosa's ``softmask``.

    ``silence`` is the value of soft masks where both estimates are 0.
    """
    if math.isinf(power):
        return (part > reference).to(part.dtype), (reference > part).to(part.dtype)
    scale = torch.maximum(part, reference)
    silent = scale < torch.finfo(scale.dtype).tiny
    scale.masked_fill_(silent, 1)
    one, other = (part / scale).pow_(power), (reference / scale).pow_(power)
    both = one + other
    return one.div_(both).masked_fill_(silent, silence), other.div_(both).masked_fill_(
        silent, silence
    )
