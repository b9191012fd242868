"""Implements Fourier transforms for ONNX graphs as matrix products.

Few runtimes implement ONNX's own operator, and their implementations are slow. Matrix products are
fast on all runtimes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from onnx import numpy_helper
from onnxscript import opset18 as op
from onnxscript.function_libs.torch_lib.ops.core import aten_stft
from onnxscript.function_libs.torch_lib.ops.fft import aten__fft_r2c

#: Maximum sum of the two factors of a size. Other sizes, such as large primes, use ONNX's operator.
MAX_FACTOR_SUM = 4096


def factorize(size: int) -> tuple[int, int]:
    """Return the two factors of a size that are closest to each other, the smaller first."""
    small = next(n for n in range(int(size**0.5), 0, -1) if size % n == 0)
    return small, size // small


def real_dft(frames: Any, size: int, rank: int) -> tuple[Any, Any]:
    """Add the Fourier transform of real frames to a graph.

    The mixed-radix step of Cooley and Tukey (1965): with size = a·b, sample b·s + t and frequency
    k + a·l, transforms of size a over s, a rotation by k·t / size, and transforms of size b over t.

    Args:
        frames: Graph value of shape (..., size).
        size: Number of samples.
        rank: Number of dimensions of ``frames``.

    Returns:
        Real and imaginary parts of shape (..., size // 2 + 1).
    """
    bins = size // 2 + 1
    a, b = factorize(size)
    if a == 1 or size <= 64:
        cos, sin = _wave(np.outer(np.arange(size), np.arange(bins)), size)
        return op.MatMul(frames, _constant(cos)), op.MatMul(frames, _constant(-sin))
    perm = [*range(rank - 1), rank, rank - 1]
    lead = op.Shape(frames, end=-1)
    grid = op.Reshape(frames, op.Concat(lead, _shape(a, b), axis=0))
    columns = op.Transpose(grid, perm=perm)  # (..., t, s)
    cos, sin = _wave(np.outer(np.arange(a), np.arange(a)), a)
    real, imag = op.MatMul(columns, _constant(cos)), op.MatMul(columns, _constant(-sin))
    cos, sin = map(_constant, _wave(np.outer(np.arange(b), np.arange(a)), size))
    real, imag = (  # (real + i imag)(cos - i sin), of shape (..., t, k)
        op.Add(op.Mul(real, cos), op.Mul(imag, sin)),
        op.Sub(op.Mul(imag, cos), op.Mul(real, sin)),
    )
    # The remaining frequencies of real frames are complex conjugates of these.
    half = b // 2 + 1
    cos, sin = _wave(np.outer(np.arange(b), np.arange(half)), b)
    both = op.Concat(
        op.Transpose(real, perm=perm), op.Transpose(imag, perm=perm), axis=-1
    )  # (..., k, 2 t)
    parts = [
        op.MatMul(both, _constant(np.concatenate(matrix))) for matrix in ([cos, sin], [-sin, cos])
    ]
    flat = op.Concat(lead, _shape(half * a), axis=0)
    found = [op.Reshape(op.Transpose(part, perm=perm), flat) for part in parts]
    ends = [op.Slice(part, _shape(0), _shape(bins), _shape(-1)) for part in found]
    return ends[0], ends[1]


def rfft(self: Any, dim: Sequence[int], normalization: int, onesided: bool) -> Any:
    """Translate ``aten::_fft_r2c``; in ONNX, complex numbers have a last dimension of 2."""
    size = self.shape[-1]
    last = len(dim) == 1 and dim[0] in (-1, len(self.shape) - 1)
    if normalization or not onesided or not last or not _is_supported(size):
        return aten__fft_r2c(self, dim, normalization, onesided)
    return _as_complex(*real_dft(self, size, len(self.shape)))


def stft(
    self: Any,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = None,
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Any:
    """Translate ``aten::stft`` of a batch; complex numbers have a last dimension of 2."""
    whole = window is not None and window.shape[0] == n_fft and win_length in (None, n_fft)
    supported = whole and not normalized and onesided is not False and not align_to_window
    if not supported or len(self.shape) != 2 or not hop_length or not _is_supported(n_fft):
        return aten_stft(
            self, n_fft, hop_length, win_length, window, normalized, onesided, return_complex
        )
    samples = op.Shape(self, start=1, end=2)
    count = op.Add(op.Div(op.Sub(samples, _shape(n_fft)), _shape(hop_length)), _shape(1))
    zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
    first = op.Mul(op.Range(zero, op.Squeeze(count), one), _shape(hop_length))
    index = op.Add(op.Unsqueeze(first, _shape(-1)), _constant(np.arange(n_fft)))
    frames = op.Mul(op.Gather(self, index, axis=1), window)
    real, imag = (op.Transpose(part, perm=[0, 2, 1]) for part in real_dft(frames, n_fft, 3))
    return _as_complex(real, imag)


#: Translation table for ``torch.onnx.export``.
TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten._fft_r2c.default: rfft,
    torch.ops.aten.stft.default: stft,
}


def _is_supported(size: Any) -> bool:
    return isinstance(size, int) and sum(factorize(size)) <= MAX_FACTOR_SUM


def _wave(turns: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cosine and sine of ``2 π turns / size`` for integers, exact for large ones."""
    angle = 2 * np.pi * (turns % size) / size
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def _as_complex(real: Any, imag: Any) -> Any:
    last = _shape(-1)
    return op.Concat(op.Unsqueeze(real, last), op.Unsqueeze(imag, last), axis=-1)


def _shape(*sizes: int) -> Any:
    return op.Constant(value_ints=list(sizes))


def _constant(values: np.ndarray) -> Any:
    return op.Constant(value=numpy_helper.from_array(values))
