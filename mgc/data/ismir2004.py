"""ISMIR 2004 genre classification contest."""

import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mgc.data import audio
from mgc.data.base import AudioDataModule
from mgc.data.splits import TEST, TRAIN, VAL, assign_folds, split_by_fold
from mgc.errors import MgcError

GENRES = ("classical", "electronic", "jazz_blues", "metal_punk", "rock_pop", "world")
LISTS = ("training", "development", "evaluation")

#: What the first six columns of every list hold. Their names differ between the lists, and the
#: evaluation list has no header and a seventh column, the number of the track at Magnatune.
COLUMNS = ("label", "artist", "album", "title", "number", "path")


class ISMIR2004(AudioDataModule):
    """ISMIR 2004 genre contest: 2187 songs from Magnatune in 6 genres, full-length MP3.

    Cano, Gómez, Gouyon, Herrera, Koppenberger, Ong, Serra, Streich and Wack, "ISMIR 2004 audio
    description contest", technical report MTG-TR-2006-02, Universitat Pompeu Fabra, 2006. The
    music is under Creative Commons licences (BY-NC-SA). Zenodo serves it, record 1302992. The
    folder holds ``metadata/<list>/tracklist.csv`` and ``audio/<list>/`` with the files that the
    list names, for the three lists.

    Each list has 729 songs, and no song is in two lists (classical, electronic, jazz and blues,
    metal and punk, rock and pop, world):

    - ``training``: 320, 115, 26, 45, 101, 122 songs of 128 artists; made to train on.
    - ``development``: 320, 114, 26, 45, 102, 122; given to the contestants to tune with, names of
      artists replaced by numbers. The numbers follow the order of the training list, with the
      same number of artists in every genre and nearly the same number of songs each: all its
      artists are very likely the training list's.
    - ``evaluation``: 319, 115, 26, 45, 101, 123; what the contest was decided on. All its 127
      artists are in the training list too.

    Splits: ``given`` is the one that most papers use: train on the training list, test on the
    development list. ``evaluation`` tests on the evaluation list instead. In both, the artists
    of a tenth of the training list are held out for validation. They reward recognising artists:
    ``artist_filtered`` and ``fold`` divide the 1458 songs of the training and evaluation lists so
    that no artist is on two sides (the development list has no names to do that with). There are
    five folds by default, as jazz and blues has five artists.
    """

    labels = GENRES
    splits = ("given", "evaluation", "artist_filtered", "fold")
    given_splits = ("given", "evaluation")
    expected_files: ClassVar[dict[str, dict[Any, int]]] = {
        "list": dict.fromkeys(LISTS, 729),
        "label": dict(zip(GENRES, (959, 344, 78, 135, 304, 367), strict=True)),
    }

    def __init__(
        self, root: str = "data/ismir2004", split: str = "given", folds: int = 5, **kwargs: Any
    ) -> None:
        """Initialize a new data module.

        Args:
            root: Folder with ``metadata/`` and ``audio/``.
            split: ``given`` (training and development list), ``evaluation`` (training and
                evaluation list), ``artist_filtered`` (three, one and one fifth of both) or
                ``fold`` (one of the folds of both, by artist).
            folds: Number of folds.
            **kwargs: Arguments of :class:`mgc.data.base.AudioDataModule`.
        """
        super().__init__(root, split=split, folds=folds, **kwargs)

    def read_catalogue(self) -> pd.DataFrame:
        """Read the lists that there are.

        Returns:
            A row per song (see :meth:`mgc.data.base.MusicDataModule.read_catalogue`), with its
            ``list`` and ``artist``.

        Raises:
            MgcError: If there is no list, or one cannot be read.
        """
        paths = {name: self._list_path(name) for name in LISTS}
        parts = [self._read_list(name, path) for name, path in paths.items() if path]
        if not parts:
            raise MgcError(
                f"{self.root}: no metadata/training/tracklist.csv. Set data.root to the folder "
                "with the metadata/ and audio/ of ISMIR 2004."
            )
        return pd.concat(parts, ignore_index=True)

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Divide the songs (see :meth:`mgc.data.base.MusicDataModule.assign_split`)."""
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

    def _list_path(self, name: str) -> Path | None:
        folder = self.root / "metadata" / name
        paths = [folder / "tracklist.csv", folder / "tracklistwav.csv"]
        return next((path for path in paths if path.is_file()), None)

    def _read_list(self, name: str, path: Path) -> pd.DataFrame:
        try:
            table = pd.read_csv(path, header=None, dtype=str, encoding_errors="replace")
        except (ValueError, OSError) as error:
            raise MgcError(f"{path}: cannot be read as a list ({error}). Copy it again.") from error
        if table.shape[1] < len(COLUMNS):
            raise MgcError(f"{path}: {table.shape[1]} columns instead of 6. Copy it again.")
        table = table.iloc[:, : len(COLUMNS)].set_axis(list(COLUMNS), axis=1)
        table = table[table["label"] != "class"]
        unknown = set(table["label"]) - set(GENRES)
        if unknown:
            raise MgcError(f"{path}: {sorted(map(str, unknown))[0]!r} is no genre of ISMIR 2004.")
        folder = self.root / "audio" / name
        files = {
            _key(file.relative_to(folder).as_posix()): file for file in audio.find_files(folder)
        }
        # The development list numbers its artists: the same number is no artist of another list.
        anonymous = "development/" if name == "development" else ""
        return pd.DataFrame(
            {
                "track": name + "/" + table["path"].str.replace(r"\.\w+$", "", regex=True),
                "group": anonymous + table["artist"],
                "label": table["label"],
                "list": name,
                "artist": table["artist"],
                "path": [str(files.get(_key(p), folder / p)) for p in table["path"]],
            }
        )


def _key(path: str) -> str:
    """What a listed path and the file's own have in common.

    Copies write apostrophes and other signs of a name as underscores, hold WAV instead of MP3,
    and number the one file with a damaged name in the lists (kruhový objazd) with two digits.
    """
    stem = path.rsplit(".", 1)[0].replace("\ufffd", "y")
    return re.sub(r"[^A-Za-z0-9/]", "_", re.sub(r"(^|/)0+(?=\d+-[^/]*$)", r"\1", stem))


def _hold_out(songs: pd.DataFrame, seed: int) -> np.ndarray:
    """Hold the artists of about a tenth of the songs out for validation, of every genre."""
    genres = songs["label"].to_numpy()
    folds = assign_folds(songs["group"].to_numpy(), 10, seed, genres)
    # Jazz and blues has fewer artists than there are folds: take the first that has some.
    held = max(range(10), key=lambda fold: len(np.unique(genres[folds == fold])))
    return np.where(folds == held, VAL, TRAIN)
