"""Modules that keep float32 precision."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mgc.core.ranges import CheckedArguments


@contextmanager
def float32_default() -> Iterator[None]:
    """Set the default dtype to float32, even under a half-precision trainer."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Float32Module(CheckedArguments, nn.Module):
    """Module whose buffers stay in float32 when the model around it is cast.

    ``half()``, ``to(torch.bfloat16)`` and trainers with true half precision (``bf16-true``) cast
    the complete model. Rounding windows, filters and statistics to half precision changes the
    features, and Fourier transforms do not support it. Moving the module to another device works
    as usual.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def keep_dtype(tensor: Tensor) -> Tensor:
            applied = fn(tensor)
            return applied if applied.dtype == tensor.dtype else tensor.to(applied.device)

        return super()._apply(keep_dtype, recurse)
