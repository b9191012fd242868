"""ISMIR 2004 genre classification contest."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from mgc.core.csv import read_text_csv
from mgc.core.ranges import Range
from mgc.data import audio
from mgc.data.base import AudioDataModule
from mgc.data.file_names import find_name
from mgc.data.splits import TEST, TRAIN, VAL, assign_folds, split_by_fold
from mgc.errors import MgcError

GENRES = ("classical", "electronic", "jazz_blues", "metal_punk", "rock_pop", "world")
LISTS = ("training", "development", "evaluation")

#: First six columns of every list. Their names differ between the lists. The evaluation list has no
#: header, and a seventh column with the track number at Magnatune.
COLUMNS = ("label", "artist", "album", "title", "number", "path")


class ISMIR2004(AudioDataModule):
    """ISMIR 2004 genre contest: 2187 songs from Magnatune in 6 genres, full-length MP3.

    Cano, Gómez, Gouyon, Herrera, Koppenberger, Ong, Serra, Streich and Wack, "ISMIR 2004 audio
    description contest", technical report MTG-TR-2006-02, Universitat Pompeu Fabra, 2006. The music
    is under Creative Commons licences (BY-NC-SA). Available from Zenodo, record 1302992. The folder
    contains, for each of the three lists, ``metadata/<list>/tracklist.csv`` and its files in
    ``audio/<list>/``.

    Each list has 729 songs, and no song is in two lists. Songs per genre (classical, electronic,
    jazz and blues, metal and punk, rock and pop, world):

    - ``training``: 320, 115, 26, 45, 101, 122, by 128 artists; the contest's training set.
    - ``development``: 320, 114, 26, 45, 102, 122; the contest's tuning set, with numbers in place
      of artists. The numbers follow the order of the training list, with equal numbers of artists
      and nearly equal numbers of songs per genre, so its artists are very likely those of the
      training list.
    - ``evaluation``: 319, 115, 26, 45, 101, 123; the contest's test set. All its 127 artists are in
      the training list too.

    Args:
        split: ``given``, the split of most papers, trains on the training list and tests on the
            development list. ``evaluation`` tests on the evaluation list instead. Both validate on
            about a tenth of the training list, with separate artists, but share artists between
            training and test, which rewards recognising artists. ``artist_filtered`` (60/20/20 %)
            and ``fold`` split the 1458 songs of the training and evaluation lists by artist (the
            development list has no names).
        folds: Number of folds; five by default, as jazz and blues has five artists.
    """

    labels = GENRES
    splits = ("given", "evaluation", "artist_filtered", "fold")
    given_splits = ("given", "evaluation")
    expected_files: ClassVar[dict[str, dict[Any, int]]] = {
        "list": dict.fromkeys(LISTS, 729),
        "label": dict(zip(GENRES, (959, 344, 78, 135, 304, 367), strict=True)),
    }

    def __init__(
        self,
        root: str = "data/ismir2004",
        split: str = "given",
        folds: Annotated[int, Range(3, 1000)] = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, split=split, folds=folds, **kwargs)

    def read_catalogue(self) -> pd.DataFrame:
        """Read all available lists, and add the columns ``list`` and ``artist``."""
        parts = []
        for name in LISTS:
            folder = f"metadata/{name}"
            path = self._find_file(f"{folder}/tracklist.csv", f"{folder}/tracklistwav.csv")
            if path:
                parts.append(self._read_list(name, path))
        if not parts:
            raise MgcError(
                f"{self.root}: no metadata/training/tracklist.csv. Set data.root to the folder "
                "with the metadata/ and audio/ of ISMIR 2004."
            )
        return pd.concat(parts, ignore_index=True)

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Assign a split to each song, from its list or by artist."""
        tested = "development" if self.split == "given" else "evaluation"
        for name in ("training", tested):
            if not (catalogue["list"] == name).any():
                raise MgcError(
                    f"{self.root}: split={self.split!r} needs metadata/{name}/tracklist.csv."
                )
        splits = np.full(len(catalogue), "", dtype="U5")
        training = (catalogue["list"] == "training").to_numpy()
        if self.split in ("given", "evaluation"):
            splits[training] = _hold_out(catalogue[training], self.seed)
            splits[catalogue["list"] == tested] = TEST
            return splits
        used = training | (catalogue["list"] == "evaluation").to_numpy()
        songs = catalogue[used]
        folds = assign_folds(
            songs["group"].to_numpy(), self.folds, self.seed, songs["label"].to_numpy()
        )
        splits[used] = split_by_fold(folds, self.fold if self.split == "fold" else 0)
        return splits

    def _read_list(self, name: str, path: Path) -> pd.DataFrame:
        try:
            table = read_text_csv(path, header=None, encoding_errors="replace")
        except (ValueError, OSError) as error:
            raise MgcError(f"{path}: unreadable ({error}). Copy it again.") from error
        if table.shape[1] < len(COLUMNS):
            raise MgcError(f"{path}: {table.shape[1]} columns instead of 6. Copy it again.")
        table = table.iloc[:, : len(COLUMNS)].set_axis(list(COLUMNS), axis=1)
        table = table[table["label"] != "class"]
        unknown = set(table["label"]) - set(GENRES)
        if unknown:
            raise MgcError(f"{path}: unknown genre {sorted(map(str, unknown))[0]!r}.")
        folder = find_name(self.root, f"audio/{name}")
        files = {
            _normalise_path(file.relative_to(folder).as_posix()): file
            for file in audio.find_files(folder)
        }
        # Artist numbers of the development list must not match artists of other lists.
        anonymous = "development/" if name == "development" else ""
        return pd.DataFrame(
            {
                "track": name + "/" + table["path"].str.replace(r"\.\w+$", "", regex=True),
                "group": anonymous + table["artist"],
                "label": table["label"],
                "list": name,
                "artist": table["artist"],
                "path": [str(files.get(_normalise_path(p), folder / p)) for p in table["path"]],
            }
        )


def _normalise_path(path: str) -> str:
    """Return the part of a path that the list and all copies share.

    Copies differ in case, replace apostrophes and other characters by underscores, contain WAV
    instead of MP3, and number one file with two digits (kruhový objazd, whose name is corrupted in
    the lists).
    """
    stem = path.rsplit(".", 1)[0].replace("\ufffd", "y")
    return re.sub(r"[^a-z0-9/]", "_", re.sub(r"(^|/)0+(?=\d+-[^/]*$)", r"\1", stem.lower()))


def _hold_out(songs: pd.DataFrame, seed: int) -> np.ndarray:
    """Hold out the artists of about a tenth of the songs for validation."""
    genres = songs["label"].to_numpy()
    folds = assign_folds(songs["group"].to_numpy(), 10, seed, genres)
    # Jazz and blues has fewer artists than folds: take the first fold with the most genres.
    held = max(range(10), key=lambda fold: len(np.unique(genres[folds == fold])))
    return np.where(folds == held, VAL, TRAIN)
