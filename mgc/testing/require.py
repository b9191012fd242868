"""What checks demand."""

import torch
from torch import Tensor


def require(condition: bool, message: str) -> None:
    """Demand something, also where Python is told to leave ``assert`` out.

    Args:
        condition: What must be.
        message: What is wrong if it is not.

    Raises:
        AssertionError: If it is not.
    """
    if not condition:
        raise AssertionError(message)


def finite(values: Tensor) -> bool:
    """Tell whether all values are finite.

    Args:
        values: Any tensor.

    Returns:
        Whether they are.
    """
    return bool(torch.isfinite(values).all())
