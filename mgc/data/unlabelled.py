"""Audio files without labels."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mgc.data import audio
from mgc.data.base import AudioDataModule
from mgc.data.splits import TEST
from mgc.errors import MgcError


class AudioFiles(AudioDataModule):
    """Audio files without labels, for feature extraction.

    All files are in the test split, so they cannot be used for training. A track's name is its path
    relative to the common folder of all files.

    Args:
        paths: Audio files, and folders to search for them recursively.
        **kwargs: Arguments of :class:`mgc.data.base.AudioDataModule`. By default ``max_broken`` is
            1: a single readable file is enough.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], **kwargs: Any) -> None:
        # Absolute paths, so that ../music and music have different names.
        self.paths = [Path(os.path.abspath(path)) for path in paths]
        folders = [path if path.is_dir() else path.parent for path in self.paths]
        super().__init__(os.path.commonpath(folders), **{"max_broken": 1.0, **kwargs})

    def read_catalogue(self) -> pd.DataFrame:
        """Find the files."""
        found: dict[Path, None] = {}
        for source in self.paths:
            found |= dict.fromkeys(audio.find_files(source) if source.is_dir() else [source])
        if not found:
            folders = ", ".join(map(str, self.paths))
            raise MgcError(f"{folders}: no audio files found ({', '.join(audio.SUFFIXES)}).")
        names = [path.relative_to(self.root).as_posix() for path in found]
        return pd.DataFrame({"track": names, "group": names, "path": [str(path) for path in found]})

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Assign all files to the test split."""
        return np.full(len(catalogue), TEST)

    def check(self, catalogue: pd.DataFrame) -> dict[str, str]:
        """Open every file. Raises an error if none is readable."""
        broken = super().check(catalogue)
        if len(broken) == len(catalogue):
            raise MgcError(
                f"None of the files is readable. First error: {next(iter(broken.values()))}"
            )
        return broken

    def targets(self) -> torch.Tensor:
        """Return targets of shape (tracks, 0)."""
        return torch.zeros(len(self.tracks), 0)
