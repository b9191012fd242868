"""Saves an experiment's settings in its output folder so that a rerun can resume it."""

import json
import re
import shlex
from pathlib import Path
from typing import Any
from uuid import uuid4

from mgc.core.writing import replacing
from mgc.errors import MgcError
from mgc.experiments.processes import lock_folder

#: Maximum length of a setting shown in an error message.
MAX_MESSAGE_CHARS = 300


def load_or_create_plan(
    path: Path, settings: dict[str, Any], kind: str, has_results: bool
) -> dict[str, Any]:
    """Load the experiment's plan, or create it.

    A plan without results may be overwritten; with results, different settings raise an error.

    Args:
        path: JSON file in the experiment's output folder. Created if missing.
        settings: Settings that identify the experiment.
        kind: Name of the experiment type, used in error messages.
        has_results: Whether any fit has written a checkpoint or results.

    Returns:
        The settings, and ``group``, the name of the W&B group.

    Raises:
        MgcError: If the folder contains an experiment with different settings.
    """
    if not path.is_file():
        return _write(path, settings)
    saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    changed = [name for name, value in settings.items() if saved.get(name) != value]
    if not changed:
        return saved
    if has_results:
        name = changed[0]
        raise MgcError(
            f"{path.parent} contains a {kind} with a different value of {name}"
            f"{_describe_change(saved.get(name), settings[name])}. Choose another --out, or remove "
            "the folder."
        )
    # The first epoch of a fit may still be running.
    with lock_folder(path.parent):
        return _write(path, settings)


def _describe_change(before: Any, now: Any) -> str:
    """Describe a changed setting, unless it is too long to show."""
    old, new = (shlex.join(x) if isinstance(x, list) else str(x) for x in (before, now))
    if max(len(old), len(new)) > MAX_MESSAGE_CHARS:
        return ""
    return f" ({old or 'none'}; now {new or 'none'})"


def _write(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    name = re.sub(r"[^\w-]+", "-", path.parent.absolute().name)
    settings = settings | {"group": f"{name}-{uuid4().hex[:6]}"}
    with replacing(path) as partial:
        partial.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return settings
