"""Checks settings and raises errors with uniform messages."""

from collections.abc import Sequence

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
