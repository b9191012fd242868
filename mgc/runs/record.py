"""The record that a run leaves in its folder: what it is made of, and its best epoch."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from mgc import registry
from mgc.runs.folder import RECORD
from mgc.runs.provenance import data_fingerprint, git_state, package_versions


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a run.

    Args:
        folder: Folder of the run.

    Returns:
        By stage (``fit``, ``test``) what :func:`describe_run` gives; ``best``: ``metric``, its
        ``mode`` and ``value``, ``epoch``, ``step`` and all ``metrics`` of the best epoch;
        ``wandb``: where in W&B the run is. Empty if there is none.
    """
    path = folder / RECORD
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return record


def describe_run(model: LightningModule, data: Any) -> dict[str, Any]:
    """Describe what a run is made of.

    Args:
        model: The model.
        data: The data module, after its ``setup``.

    Returns:
        ``model`` and ``data`` (short names where they have one), ``task``, ``split``, ``fold``,
        ``seed``, ``fingerprint`` of the data (see
        :func:`mgc.runs.provenance.data_fingerprint`), ``git`` state of the working folder and
        versions of ``packages``.
    """
    claims = {
        kind: registry.entry_point_of(f"{type(part).__module__}.{type(part).__qualname__}")
        for kind, part in (("model", model), ("data", data))
    }
    tracks = getattr(data, "tracks", None)
    split = getattr(data, "split", None)
    return {
        "model": claims["model"].name if claims["model"] else type(model).__name__,
        "data": claims["data"].name if claims["data"] else type(data).__name__,
        "task": getattr(data, "task", None),
        "split": split,
        # Other splits have no folds, and a number would only seem to say something.
        "fold": getattr(data, "fold", None) if str(split).startswith("fold") else None,
        "seed": getattr(data, "seed", None),
        "fingerprint": None if tracks is None else data_fingerprint(tracks, tuple(data.labels)),
        "git": git_state(Path.cwd()),
        "packages": package_versions(*claims.values()),
    }
