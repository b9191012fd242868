"""A data set with a folder of files for each genre."""

from typing import Any

import pandas as pd

from mgc.data.base import AudioDataModule
from mgc.errors import MgcError

#: In target order.
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

    Splits, clips, loaders and the handling of broken files come from
    :class:`mgc.data.base.AudioDataModule`.
    """

    labels = GENRES
    task = "multiclass"  # or multilabel, or regression
    splits = ("stratified", "fold")

    def __init__(self, root: str = "data/example_data", **kwargs: Any) -> None:
        """Initialize a new data module.

        Args:
            root: Folder with the data set.
            **kwargs: Arguments of :class:`mgc.data.base.AudioDataModule`.
        """
        super().__init__(root, **kwargs)

    def read_catalogue(self) -> pd.DataFrame:
        """Find the files of all genres.

        Returns:
            A row per track: ``track`` (identifier), ``group`` (tracks of one group, such as an
            artist's, stay on one side of a split), ``path`` and ``label``.

        Raises:
            MgcError: If there is no folder of genres.
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
