"""Describes values of the wrong type for messages."""

from collections.abc import Mapping
from typing import Any


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
