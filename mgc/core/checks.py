"""Checks settings and raises errors with uniform messages."""

from collections.abc import Mapping, Sequence
from typing import Any

from mgc.errors import MgcError


def check_minimum(minimum: float, **settings: float | None) -> None:
    """Raise an ``MgcError`` if a setting is below ``minimum`` or NaN; None is allowed."""
    for name, value in settings.items():
        if value is not None and not value >= minimum:
            raise MgcError(f"{name}={value}: must be at least {minimum}.")


def check_choice(choices: Sequence[str], **settings: str) -> None:
    """Raise an ``MgcError`` if a setting is not one of the choices."""
    for name, value in settings.items():
        if value not in choices:
            raise MgcError(f"{name}={value!r}: choose one of {', '.join(choices)}.")


def describe_value(value: Any) -> str:
    """Describe a value of the wrong type for a message: its type, and its shape or content."""
    if value is None:
        return "None"
    kind = type(value).__name__
    if hasattr(value, "columns"):
        return f"a {kind} with the columns {shorten(', '.join(map(str, value.columns)))}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        dtype = str(value.dtype).removeprefix("torch.")
        name = "" if kind in ("Tensor", "Parameter") else f" ({kind})"
        return f"{dtype} values of shape {tuple(value.shape)}{name}"
    if isinstance(value, Mapping):
        return f"a {kind} with {shorten(', '.join(map(repr, value))) or 'nothing'}"
    if isinstance(value, list | tuple):
        items = ", ".join(type(item).__name__ for item in value[:3])
        return f"a {kind} of {len(value)} ({items})"
    return f"a value of type {kind}"


def shorten(value: object, length: int = 100) -> str:
    """Shorten a text, or the representation of a value, for a message."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= length else f"{text[:length]} …"
