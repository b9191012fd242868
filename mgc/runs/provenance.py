"""Describes the provenance of a result: state of the code, package versions and data."""

import hashlib
import subprocess
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mgc

#: Packages whose version may affect results.
PACKAGES = ("torch", "lightning", "torchaudio", "timm", "numpy", "wandb")

#: Maximum time to wait for git, in seconds.
GIT_TIMEOUT = 10


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit of a git working tree, and whether tracked files differ from it.

    The keys are ``commit`` and ``dirty``. Returns None outside a git repository or without git.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": changes != ""}


def package_versions(*claims: EntryPoint | None) -> dict[str, str]:
    """Return versions of mgc, of :data:`PACKAGES` and of the packages of entry points."""
    brought = {claim.dist.name: claim.dist.version for claim in claims if claim and claim.dist}
    brought.pop(mgc.DISTRIBUTION, None)
    versions = {"mgc": mgc.__version__}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions | brought


def data_fingerprint(tracks: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, Any]:
    """Hash the tracks of a data set, their targets and their split.

    Audio is not read: copies of a data set that decode differently have the same fingerprint.

    Args:
        tracks: One row per track, with columns ``track``, ``split``, and ``label`` or
            ``target.<label>``.
        labels: Names of the classes, tags or quantities.

    Returns:
        ``tracks``: 16 hexadecimal digits of a SHA-256 of tracks and targets; ``split``: the same of
        tracks and split; ``sizes``: number of tracks per split.
    """
    rows = tracks.sort_values("track")
    names = rows["track"].astype(str)
    digest = hashlib.sha256(_lines([*labels, "", *names]))
    targets = [column for column in (f"target.{label}" for label in labels) if column in rows]
    if targets:
        digest.update(np.ascontiguousarray(rows[targets].to_numpy(), "<f4").tobytes())
    elif "label" in rows:
        digest.update(_lines(rows["label"].astype(str)))
    split = hashlib.sha256(_lines(names + "\t" + rows["split"].astype(str)))
    sizes = rows["split"].value_counts().sort_index()
    return {
        "tracks": digest.hexdigest()[:16],
        "split": split.hexdigest()[:16],
        "sizes": {str(name): int(count) for name, count in sizes.items()},
    }


def _lines(words: Any) -> bytes:
    return "\n".join(words).encode()


def _git(folder: Path, *words: str) -> str | None:
    """Return the output of a git command, or None if it fails."""
    try:
        process = subprocess.run(  # noqa: S603 # fixed words
            ["git", "-C", str(folder), *words],  # noqa: S607 # the user's git
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()
