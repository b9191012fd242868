"""What an experiment of several fits is of, kept in its folder for the next time it is called."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

from mgc.errors import MgcError
from mgc.evaluation.processes import locked
from mgc.writing import replacing


def keep_plan(path: Path, settings: dict[str, Any], kind: str, begun: bool) -> dict[str, Any]:
    """Write down what an experiment is of, or find out that its folder holds the same one.

    A plan that nothing has come of is replaced, so that a mistake in a first attempt can be mended.

    Args:
        path: JSON file in the folder of the experiment, which is made.
        settings: What tells this experiment from others.
        kind: What to call it.
        begun: Whether there are checkpoints or results of a fit.

    Returns:
        The settings, and ``group``, the name of its W&B group.

    Raises:
        MgcError: If the folder holds another experiment.
    """
    if not path.is_file():
        return _write(path, settings)
    known: dict[str, Any] = json.loads(path.read_text())
    other = [name for name, value in settings.items() if known.get(name) != value]
    if not other:
        return known
    if begun:
        raise MgcError(
            f"{path.parent} holds a {kind} with another value of {other[0]}: choose another --out, "
            "or remove it."
        )
    # A fit of the other one may be in its first epoch.
    with locked(path.parent):
        return _write(path, settings)


def _write(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    name = re.sub(r"[^\w-]+", "-", path.parent.absolute().name)
    settings = settings | {"group": f"{name}-{uuid4().hex[:6]}"}
    with replacing(path) as partial:
        partial.write_text(json.dumps(settings, indent=1))
    return settings
