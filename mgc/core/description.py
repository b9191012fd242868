"""What a trained model says of itself, in a checkpoint or in an exported file."""

from os import PathLike
from typing import Any

from mgc.errors import MgcError

#: What it must say, and of what kind.
KINDS = {
    "class_path": str,
    "labels": list,
    "task": str | None,
    "sample_rate": int | float,
    "clip_seconds": int | float | None,
}


def checked(path: str | PathLike[str], about: Any) -> dict[str, Any]:
    """Check a description, so that the rest of mgc can rely on it.

    Args:
        path: File that it is of.
        about: What the file says (see :func:`mgc.checkpoint.describe`).

    Returns:
        The description.

    Raises:
        MgcError: If something is missing or of the wrong kind.
    """
    if not isinstance(about, dict):
        raise MgcError(f"{path}: what it says of itself cannot be understood.")
    for name, kind in KINDS.items():
        if name not in about or not isinstance(about[name], kind):
            raise MgcError(f"{path}: does not say its {name}; it was not written by this mgc.")
    return about
