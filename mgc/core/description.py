"""Checks the description of a trained model, stored in checkpoints and exported files."""

from os import PathLike
from typing import Any

from mgc.errors import MgcError

#: Required entries and their types.
ENTRY_TYPES = {
    "class_path": str,
    "labels": list,
    "task": str | None,
    "sample_rate": int | float,
    "clip_seconds": int | float | None,
}


def check_description(path: str | PathLike[str], about: Any) -> dict[str, Any]:
    """Check and return the description of a file (see :func:`mgc.checkpoint.describe`).

    Raises:
        MgcError: If an entry is missing or of the wrong type.
    """
    if not isinstance(about, dict):
        raise MgcError(f"{path}: invalid description of the model. Was it written by mgc?")
    for name, kind in ENTRY_TYPES.items():
        if name not in about or not isinstance(about[name], kind):
            raise MgcError(
                f"{path}: its description has no valid '{name}'. It was not written by this "
                "version of mgc."
            )
    return about
