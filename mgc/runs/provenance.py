"""Where a result comes from: the state of the code, the packages, and the data it was made of."""

import hashlib
import subprocess
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mgc

#: Packages whose version may change what a run gives.
PACKAGES = ("torch", "lightning", "torchaudio", "timm", "numpy", "wandb")

#: Seconds that git may take; on a slow network disk it is not worth more.
PATIENCE = 10


def git_state(folder: Path) -> dict[str, Any] | None:
    """Tell which commit a folder is at.

    Args:
        folder: Any folder of a working tree.

    Returns:
        ``commit`` and ``dirty``: whether tracked files differ from it. Nothing outside a git
        repository, or where there is no git.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": changes != ""}


def package_versions(*claims: EntryPoint | None) -> dict[str, str]:
    """Tell which versions of packages are installed.

    Args:
        *claims: Entry points, whose packages are told besides those that every run needs.

    Returns:
        Versions by name of the package.
    """
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
    """Condense which tracks a data set has, what they are, and how they are split.

    Audio is not read: two copies of a data set that decode differently have the same fingerprint.

    Args:
        tracks: A row per track: ``track``, ``split`` and the targets, ``label`` or a column
            ``target.<label>`` each.
        labels: Names of the classes, tags or quantities.

    Returns:
        ``tracks``, 16 hexadecimal digits of a SHA-256 of the tracks and their targets; ``split``,
        the same of the tracks and their split; and the number of tracks of each split.
    """
    rows = tracks.sort_values("track")
    names = rows["track"].astype(str)
    told = hashlib.sha256(_lines([*labels, "", *names]))
    targets = [column for column in (f"target.{label}" for label in labels) if column in rows]
    if targets:
        told.update(np.ascontiguousarray(rows[targets].to_numpy(), "<f4").tobytes())
    elif "label" in rows:
        told.update(_lines(rows["label"].astype(str)))
    split = hashlib.sha256(_lines(names + "\t" + rows["split"].astype(str)))
    sizes = rows["split"].value_counts().sort_index()
    return {
        "tracks": told.hexdigest()[:16],
        "split": split.hexdigest()[:16],
        "sizes": {str(name): int(count) for name, count in sizes.items()},
    }


def _lines(words: Any) -> bytes:
    return "\n".join(words).encode()


def _git(folder: Path, *words: str) -> str | None:
    """What git says, or nothing where it has nothing to say."""
    try:
        done = subprocess.run(  # noqa: S603 # fixed words
            ["git", "-C", str(folder), *words],  # noqa: S607 # the user's git
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
