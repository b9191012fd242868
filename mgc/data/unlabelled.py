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
    """Any audio files, to compute features of.

    There are no labels, so nothing can be trained on them, and all of them are in the test split.
    A track's name is its path below the folder that all files share.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], **kwargs: Any) -> None:
        """Initialize a new data module.

        Args:
            paths: Audio files, and folders to look for them in, with their sub-folders.
            **kwargs: Arguments of :class:`mgc.data.base.AudioDataModule`. All files but one may be
                broken, unless ``max_broken`` says otherwise.

        Raises:
            MgcError: If a setting is out of range.
        """
        # Resolved, so that ../music and music do not share a name.
        self.paths = [Path(os.path.abspath(path)) for path in paths]
        folders = [path if path.is_dir() else path.parent for path in self.paths]
        super().__init__(os.path.commonpath(folders), **{"max_broken": 1.0, **kwargs})

    def read_catalogue(self) -> pd.DataFrame:
        """Find the files.

        Returns:
            A row per file, with ``track``, ``group`` and ``path``.

        Raises:
            MgcError: If there are none.
        """
        found: dict[Path, None] = {}
        for source in self.paths:
            found |= dict.fromkeys(audio.find_files(source) if source.is_dir() else [source])
        if not found:
            folders = ", ".join(map(str, self.paths))
            raise MgcError(f"{folders}: no audio files there ({', '.join(audio.SUFFIXES)}).")
        names = [path.relative_to(self.root).as_posix() for path in found]
        return pd.DataFrame({"track": names, "group": names, "path": [str(path) for path in found]})

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Put all files into the test split."""
        return np.full(len(catalogue), TEST)

    def check(self, catalogue: pd.DataFrame) -> dict[str, str]:
        """Open every file (see :meth:`mgc.data.base.AudioDataModule.check`).

        Raises:
            MgcError: If none of them can be read.
        """
        broken = super().check(catalogue)
        if len(broken) == len(catalogue):
            raise MgcError(
                f"None of the files can be read, the first: {next(iter(broken.values()))}"
            )
        return broken

    def targets(self) -> torch.Tensor:
        """Targets without a column."""
        return torch.zeros(len(self.tracks), 0)
