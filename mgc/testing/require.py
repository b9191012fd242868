"""Helpers for the conformance checks."""

import torch
from torch import Tensor


def require(condition: bool, message: str) -> None:
    """Raise an ``AssertionError`` if the condition is false, even under ``python -O``."""
    if not condition:
        raise AssertionError(message)


def finite(values: Tensor) -> bool:
    """Return whether all values are finite."""
    return bool(torch.isfinite(values).all())
