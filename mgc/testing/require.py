"""Helpers for the conformance checks."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mgc.core.ranges import check_arguments, number_arguments
from mgc.errors import MgcError

#: Numbers that are wrong for most arguments. The last would take all memory as a size.
WRONG_NUMBERS = (math.nan, math.inf, -1, 0, 10**9)


def require(condition: bool, message: str) -> None:
    """Raise an ``AssertionError`` if the condition is false, even under ``python -O``."""
    if not condition:
        raise AssertionError(message)


def finite(values: Tensor) -> bool:
    """Return whether all values are finite."""
    return bool(torch.isfinite(values).all())


def check_wrong_numbers(component: type, arguments: Mapping[str, Any]) -> None:
    """Check that a class accepts wrong numbers, or names the argument in its error.

    Args:
        component: Class to build.
        arguments: Right arguments of its constructor.
    """
    # The data sets the number of classes.
    for name in set(number_arguments(component)) - {"num_classes"}:
        for value in WRONG_NUMBERS:
            where = f"{component.__name__}({name}={value})"
            try:
                check_arguments(component, {name: value})
                # Without memory for the values of tensors.
                with torch.device("meta" if value == WRONG_NUMBERS[-1] else "cpu"):
                    component(**(dict(arguments) | {name: value}))
            except (MgcError, ValueError) as error:
                require(name in str(error), f"{where}: the error does not name {name}: {error}")
            except NotImplementedError:
                continue  # on the meta device
            except Exception as error:
                raise AssertionError(
                    f"{where} raises {type(error).__name__}: {error}. Declare the range in the "
                    f"type, as in Annotated[int, Range(1, 4096)] (mgc.core.ranges)"
                ) from error
