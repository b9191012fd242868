"""Data set with a folder for each genre."""

from typing import Any

import pandas as pd

from mgc.data.base import AudioDataModule
from mgc.errors import MgcError

#: Labels in the order of the targets.
GENRES = (
    "blues",
    "classical",
    "country",
    "disco",
    "hiphop",
    "jazz",
    "metal",
    "pop",
    "reggae",
    "rock",
)


class ExampleData(AudioDataModule):
    """Files ``genres/<genre>/<track>.wav``.

    :class:`mgc.data.base.AudioDataModule` provides splits, clips and loaders.
    """

    labels = GENRES
    task = "multiclass"  # or multilabel, or regression
    splits = ("stratified", "fold")

    def __init__(self, root: str = "data/example_data", **kwargs: Any) -> None:
        """Initialize the data module.

        Args:
            root: Folder with the data set.
            **kwargs: Arguments of :class:`mgc.data.base.AudioDataModule`.
        """
        super().__init__(root, **kwargs)

    def read_catalogue(self) -> pd.DataFrame:
        """List the tracks.

        Returns:
            A row per track: ``track`` (identifier), ``group`` (such as the artist; splits do not
            divide groups), ``path`` and ``label``.

        Raises:
            MgcError: If the folder ``genres`` is missing.
        """
        folder = self.root / "genres"
        if not folder.is_dir():
            raise MgcError(f"{folder}: no such folder. Set data.root to the data set's folder.")
        rows = [
            {"track": path.stem, "group": path.stem, "path": str(path), "label": path.parent.name}
            for path in sorted(folder.glob("*/*.wav"))
            if path.parent.name in GENRES
        ]
        return pd.DataFrame(rows, columns=["track", "group", "path", "label"])
