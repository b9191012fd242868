"""Front ends that keep their precision."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def float32_default() -> Iterator[None]:
    """Make float32 the type of new tensors, whatever a half-precision trainer has set."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Float32Module(nn.Module):
    """Module whose constants and statistics stay in float32 where the model around it is cast.

    ``half()``, ``to(torch.bfloat16)`` and a trainer of true half precision (``bf16-true``) cast
    whole models: windows, filters and statistics rounded to 8 bits give other features, and Fourier
    transforms of half precision are refused. Moves to another device are followed.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Apply what moves or casts tensors, without the cast."""

        def keep_dtype(tensor: Tensor) -> Tensor:
            applied = fn(tensor)
            return applied if applied.dtype == tensor.dtype else tensor.to(applied.device)

        return super()._apply(keep_dtype, recurse)
