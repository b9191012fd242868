"""Record of a run: its provenance and best epoch."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from mgc import registry
from mgc.runs.folder import read_record
from mgc.runs.provenance import data_fingerprint, git_state, package_versions

__all__ = ["describe_run", "read_record"]


def describe_run(model: LightningModule, data: Any) -> dict[str, Any]:
    """Describe the provenance of a run, after ``setup`` of the data module.

    Returns:
        ``model`` and ``data`` (short name or class name), ``task``, ``split``, ``fold``, ``seed``,
        ``fingerprint`` (see :func:`mgc.runs.provenance.data_fingerprint`), ``git`` state of the
        working folder, and versions of ``packages``.
    """
    claims = {
        kind: registry.entry_point_of(registry.path_of(type(part)))
        for kind, part in (("model", model), ("data", data))
    }
    tracks = getattr(data, "tracks", None)
    split = getattr(data, "split", None)
    return {
        "model": claims["model"].name if claims["model"] else type(model).__name__,
        "data": claims["data"].name if claims["data"] else type(data).__name__,
        "task": getattr(data, "task", None),
        "split": split,
        # The argument has no effect on other splits.
        "fold": getattr(data, "fold", None) if str(split).startswith("fold") else None,
        "seed": getattr(data, "seed", None),
        "fingerprint": None if tracks is None else data_fingerprint(tracks, tuple(data.labels)),
        "git": git_state(Path.cwd()),
        "packages": package_versions(*claims.values()),
    }
