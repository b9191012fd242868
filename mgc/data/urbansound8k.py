"""UrbanSound8K."""

from typing import Any, ClassVar

import pandas as pd

from mgc.core.csv import read_text_csv
from mgc.data.base import AudioDataModule
from mgc.data.download import Source
from mgc.data.file_names import find_name
from mgc.errors import MgcError

#: Classes, in the order of the catalogue's classID.
SOUNDS = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling", "engine_idling",
    "gun_shot", "jackhammer", "siren", "street_music",
)  # fmt: skip

#: Columns of the catalogue; some copies lack the header line.
COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")


class UrbanSound8K(AudioDataModule):
    """UrbanSound8K: 8732 recordings of 10 urban sounds, up to 4 s, WAV in various formats.

    Salamon, Jacoby and Bello, "A dataset and taxonomy for urban sound research", ACM Multimedia
    2014. Licence CC BY-NC 3.0; FREESOUNDCREDITS lists the licences of the recordings, which are
    from Freesound. Available from urbansounddataset.weebly.com or Zenodo, record 1203745. The
    folder contains ``metadata/UrbanSound8K.csv`` and ``audio/fold1/`` to ``audio/fold10/``. Files
    are already cut: the catalogue's ``start`` and ``end`` are times in the original recording.

    Use the ten given folds: slices of one recording sound alike, so random folds give scores that
    are too high. ``fold`` counts from 0: ``fold: 0`` tests on the folder ``fold1``. A group is an
    original recording. Five of the 1297 recordings are in two of the given folds (Freesound 77751,
    106905, 132016, 176638 and 180937, 152 slices).

    Args:
        split: ``fold`` (one of the ten given) or ``stratified`` (80/10/10 %, by recording).
    """

    labels = SOUNDS
    splits = ("fold", "stratified")
    sources = (
        Source(
            "https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz",
            6_023_741_708,
            "md5:9aa69802bbf37fb986f71ec1483a196e",
            "UrbanSound8K",
        ),
    )
    expected_seconds = (0.04, 4.1)
    expected_files: ClassVar[dict[str, dict[Any, int]]] = {
        "label": dict(
            zip(SOUNDS, (1000, 429, 1000, 1000, 1000, 1000, 374, 1000, 929, 1000), strict=True)
        ),
        "fold": dict(enumerate((873, 888, 925, 990, 936, 823, 838, 806, 816, 837))),
    }

    def __init__(self, root: str = "data/urbansound8k", split: str = "fold", **kwargs: Any) -> None:
        super().__init__(root, split=split, **kwargs)

    def read_catalogue(self) -> pd.DataFrame:
        """Read the catalogue, with or without its header line."""
        path = find_name(self.root, "metadata/UrbanSound8K.csv")
        if not path.is_file():
            raise MgcError(
                f"{path}: no such file. Set data.root to the folder with metadata/ and audio/."
            )
        try:
            table = read_text_csv(path, header=None)
            table = table.set_axis(list(COLUMNS), axis=1)
            table = table[table["slice_file_name"] != COLUMNS[0]].reset_index(drop=True)
            folds = table["fold"].astype(int)
        except (ValueError, OSError) as error:
            raise MgcError(f"{path}: unreadable ({error}). Copy it again.") from error
        unknown = set(table["class"]) - set(SOUNDS)
        if unknown:
            raise MgcError(f"{path}: unknown class {sorted(map(str, unknown))[0]!r}.")
        folder = self.root / "audio"
        return pd.DataFrame(
            {
                "track": table["slice_file_name"].str.removesuffix(".wav"),
                "group": table["fsID"],
                "label": table["class"],
                "fold": folds - 1,
                "path": [
                    str(folder / f"fold{fold}" / name)
                    for fold, name in zip(folds, table["slice_file_name"], strict=True)
                ],
            }
        )
