"""FMA: data set of the Free Music Archive."""

import csv
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd

from mgc.data.audio import find_files
from mgc.data.base import AudioDataModule
from mgc.data.download import Source
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.data.verification import Problem, Progress, verify_counts
from mgc.errors import MgcError

Subset = Literal["small", "medium", "large"]

#: Top genres of the small subset.
SMALL = (
    "Electronic",
    "Experimental",
    "Folk",
    "Hip-Hop",
    "Instrumental",
    "International",
    "Pop",
    "Rock",
)
#: Top genres of the larger subsets.
GENRES = (
    "Blues",
    "Classical",
    "Country",
    "Easy Listening",
    "Electronic",
    "Experimental",
    "Folk",
    "Hip-Hop",
    "Instrumental",
    "International",
    "Jazz",
    "Old-Time / Historic",
    "Pop",
    "Rock",
    "Soul-RnB",
    "Spoken",
)

#: Split names in the catalogue.
SPLIT_NAMES = {"training": TRAIN, "validation": VAL, "test": TEST}

#: Columns to read from the catalogue, by their two header lines.
COLUMNS = {
    "given": ("set", "split"),
    "subset": ("set", "subset"),
    "artist": ("artist", "id"),
    "label": ("track", "genre_top"),
}

#: Number of files in a complete small subset.
SMALL_COUNTS: dict[str, dict[Any, int]] = {
    "label": dict.fromkeys(SMALL, 1000),
    "given": {"training": 6400, "validation": 800, "test": 800},
}

URL = "https://os.unil.cloud.switch.ch/fma"


class FMA(AudioDataModule):
    """FMA: clips of 30 s from the Free Music Archive, MP3, by top genre.

    Defferrard, Benzi, Vandergheynst and Bresson, "FMA: a dataset for music analysis", ISMIR 2017.
    Metadata are under CC BY 4.0, tracks under the licences that their artists chose. The folder
    holds ``fma_metadata/tracks.csv`` and ``fma_<subset>/000/000002.mp3``. ``mgc data prepare fma``
    downloads the metadata and the small subset. Unpack the archives of the other subsets, listed at
    github.com/mdeff/fma, into the same folder.

    Subsets: ``small`` has 8000 tracks, 1000 of each of 8 genres. ``medium`` has 25 000 tracks of 16
    genres, including those of ``small``. ``large`` has 106 574 tracks; only the half with a top
    genre is used. In the small subset, three clips have no audio (099134, 108925, 133297) and
    three are shorter than 2 s (098565, 098567, 098569).

    Splits: ``given`` is the paper's (80/10/10 %). All splits keep the tracks of an artist together.
    """

    splits = ("given", "stratified", "fold")
    given_splits = ("given",)
    expected_seconds = (29.0, 31.0)
    sources: ClassVar[tuple[Source, ...]] = (
        Source(
            f"{URL}/fma_metadata.zip",
            358_412_441,
            "sha1:f0df49ffe5f2a6008d7dc83c6915b31835dfe733",
        ),
        Source(
            f"{URL}/fma_small.zip",
            7_679_594_875,
            "sha1:ade154f733639d52e35e32f5593efe5be76c6d70",
        ),
    )

    def __init__(
        self,
        root: str = "data/fma",
        subset: Subset = "small",
        split: str = "given",
        **kwargs: Any,
    ) -> None:
        """Initialize the data module.

        Args:
            root: Folder with the metadata and the clips.
            subset: ``small``, ``medium`` or ``large``.
            split: ``given`` (the paper's), ``stratified`` (80/10/10 %) or ``fold`` (ten folds).
            **kwargs: Arguments of :class:`mgc.data.base.AudioDataModule`.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__(root, split=split, **kwargs)
        if subset not in get_args(Subset):
            raise MgcError(f"subset={subset!r}: choose one of {', '.join(get_args(Subset))}.")
        self.subset = subset
        self.labels = SMALL if subset == "small" else GENRES

    def read_catalogue(self) -> pd.DataFrame:
        """Read the tracks of the subset that have a top genre; ``given`` is the paper's split.

        Raises:
            MgcError: If the catalogue is missing or damaged.
        """
        subsets = get_args(Subset)
        within = subsets[: subsets.index(self.subset) + 1]
        chosen = self._tracks[self._tracks["subset"].isin(within) & (self._tracks["label"] != "")]
        unknown = sorted(set(chosen["label"]) - set(self.labels))
        if unknown:
            raise MgcError(f"{self._list}: {unknown[0]!r} is not a genre of subset {self.subset}.")
        clips = self._clips
        return pd.DataFrame(
            {
                "track": chosen["track"],
                # Tracks without an artist form groups of one.
                "group": chosen["artist"].where(chosen["artist"] != "", chosen["track"]),
                "path": [str(clips / track[:3] / f"{track}.mp3") for track in chosen["track"]],
                "label": chosen["label"],
                "given": chosen["given"],
            }
        ).reset_index(drop=True)

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Assign the paper's split or that of the base class."""
        if self.split != "given":
            return super().assign_split(catalogue)
        return catalogue["given"].map(SPLIT_NAMES).fillna("").to_numpy(str)

    def stray_files(self) -> list[Path]:
        """List clips in the folder that are missing in the catalogue."""
        listed = set(self.read_catalogue()["path"])
        return [path for path in find_files(self._clips) if str(path) not in listed]

    def verify(self, progress: Progress = iter) -> list[Problem]:
        """Check files, and the number of tracks of the small subset."""
        problems = super().verify(progress)
        if self.subset == "small":
            problems = verify_counts(self.read_catalogue(), SMALL_COUNTS) + problems
        return problems

    @property
    def _list(self) -> Path:
        return self.root / "fma_metadata" / "tracks.csv"

    @property
    def _clips(self) -> Path:
        return self.root / f"fma_{self.subset}"

    @cached_property
    def _tracks(self) -> pd.DataFrame:
        """Columns of all tracks that are used, as text."""
        if not self._list.is_file():
            raise MgcError(
                f"{self._list}: no such file. Set data.root to the folder with fma_metadata and "
                f"fma_{self.subset}, or download them: mgc data prepare fma --root {self.root}"
            )
        try:
            with self._list.open(encoding="utf-8", newline="") as file:
                lines = csv.reader(file)
                # The third line only names the first column.
                header = list(zip(next(lines), next(lines), strict=True))
            places = {header.index(column): name for name, column in COLUMNS.items()} | {0: "track"}
            tracks = pd.read_csv(
                self._list,
                skiprows=3,
                header=None,
                usecols=sorted(places),
                dtype=str,
                keep_default_na=False,
            ).rename(columns=places)
        except (ValueError, StopIteration, OSError) as error:
            raise MgcError(f"{self._list}: cannot be read ({error}). Download it again.") from error
        return tracks.assign(track=tracks["track"].str.zfill(6))
