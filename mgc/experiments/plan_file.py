"""What an experiment of several fits is of, kept in its folder for the next time it is called."""

import json
import re
import shlex
from pathlib import Path
from typing import Any
from uuid import uuid4

from mgc.core.writing import replacing
from mgc.errors import MgcError
from mgc.experiments.processes import locked

#: Longest value that an error shows.
SHOWN = 300


def load_or_create_plan(
    path: Path, settings: dict[str, Any], kind: str, begun: bool
) -> dict[str, Any]:
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
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name, value in settings.items() if known.get(name) != value]
    if not other:
        return known
    if begun:
        name = other[0]
        raise MgcError(
            f"{path.parent} holds a {kind} with another value of {name}"
            f"{_both(known.get(name), settings[name])}: choose another --out, or remove it."
        )
    # A fit of the other one may be in its first epoch.
    with locked(path.parent):
        return _write(path, settings)


def _both(before: Any, now: Any) -> str:
    """Show two values, if they are short enough to tell something."""
    one, other = (shlex.join(x) if isinstance(x, list) else str(x) for x in (before, now))
    return "" if max(len(one), len(other)) > SHOWN else f" ({one or 'none'}; now {other or 'none'})"


def _write(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    name = re.sub(r"[^\w-]+", "-", path.parent.absolute().name)
    settings = settings | {"group": f"{name}-{uuid4().hex[:6]}"}
    with replacing(path) as partial:
        partial.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return settings
