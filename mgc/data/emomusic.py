"""EmoMusic (1000 songs for emotional analysis of music)."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mgc.core.csv import read_text_csv
from mgc.core.ranges import Seconds
from mgc.data.base import AudioDataModule
from mgc.data.splits import TEST, TRAIN, VAL, assign_folds
from mgc.errors import MgcError
from mgc.task import Task

#: Ratings are from 1 to 9, the scale of the self-assessment manikin.
MAX_RATING = 9.0


class EmoMusic(AudioDataModule):
    """EmoMusic: 744 clips of 45 s with arousal and valence, MP3, 44 100 Hz.

    Soleymani, Caro, Schmidt, Sha and Yang, "1000 songs for emotional analysis of music", ACM
    CrowdMM 2013: 1000 songs of the Free Music Archive (Creative Commons), 744 without duplicates.
    Available on request from cvml.unige.ch/databases/emoMusic. The folder contains
    ``clips_45seconds/<song_id>.mp3`` and, at the top level or in ``annotations/``,
    ``static_annotations.csv`` (song_id, mean_arousal, std_arousal, mean_valence, std_valence) and
    ``songs_info.csv`` (song_id, Artist, Mediaeval 2013 set: 619 development, 125 evaluation).

    Targets are the mean ratings of a clip divided by 9, from 0.18 to 0.93, as published with Choi,
    Fazekas, Sandler and Cho, ISMIR 2017. As in that paper, the first 29 s of each clip and ten
    folds are the defaults.

    Args:
        split: ``fold`` (one of ten) and ``stratified`` (80/10/10 %) keep an artist in one split;
            ``fold_ungrouped`` (the paper's) does not. ``given`` trains on nine tenths of the
            development set, validates on the rest (other artists), and tests on the evaluation set.
        first_seconds: Length of audio to use from the start of each clip, in seconds; 45 is the
            whole clip.
    """

    labels = ("arousal", "valence")
    task: Task = "regression"
    splits = ("fold", "stratified", "given", "fold_ungrouped")
    given_splits = ("given",)
    expected_seconds = (44.0, 46.0)
    expected_files: ClassVar[dict[str, dict[Any, int]]] = {
        "set": {"development": 619, "evaluation": 125}
    }

    def __init__(
        self,
        root: str = "data/emomusic",
        split: str = "fold",
        first_seconds: Seconds = 29.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, split=split, **kwargs)
        self.first_seconds = first_seconds

    def read_catalogue(self) -> pd.DataFrame:
        """Read the ratings, and add the columns ``artist`` and ``set``."""
        ratings = self._read_table(
            "static_annotations.csv", ["song_id", "mean_arousal", "mean_valence"]
        )
        songs = self._read_table("songs_info.csv", ["song_id", "Artist", "Mediaeval 2013 set"])
        table = ratings.merge(songs, on="song_id", how="left", validate="one_to_one")
        unknown = table.loc[table["Artist"].fillna("") == "", "song_id"]
        if len(unknown):
            raise MgcError(
                f"{self.root}: song {unknown.iloc[0]} has ratings, but is not in songs_info.csv."
            )
        artist = table["Artist"].str.strip()
        try:
            targets = table[["mean_arousal", "mean_valence"]].astype(float) / MAX_RATING
        except ValueError as error:
            raise MgcError(f"{self.root}: a rating is not a number ({error}).") from error
        clips = self.root / "clips_45seconds"
        return pd.DataFrame(
            {
                "track": table["song_id"],
                "group": artist.str.lower(),
                "artist": artist,
                "set": table["Mediaeval 2013 set"].str.strip(),
                "path": [str(clips / f"{song}.mp3") for song in table["song_id"]],
                "target.arousal": targets["mean_arousal"],
                "target.valence": targets["mean_valence"],
                "begin": 0.0,
                "end": self.first_seconds,
            }
        )

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Assign a split to each clip; with ``split='given'``, according to the column ``set``."""
        if self.split != "given":
            return super().assign_split(catalogue)
        evaluation = (catalogue["set"] == "evaluation").to_numpy()
        splits = np.full(len(catalogue), TEST, dtype="U5")
        groups = catalogue.loc[~evaluation, "group"].to_numpy()
        splits[~evaluation] = np.where(assign_folds(groups, 10, self.seed) == 0, VAL, TRAIN)
        return splits

    def _read_table(self, name: str, columns: list[str]) -> pd.DataFrame:
        path = self._find_file(f"annotations/{name}", name)
        if path is None:
            raise MgcError(
                f"{self.root}: no {name}. Set data.root to the folder with clips_45seconds/ and "
                "the annotations."
            )
        try:
            # The published tables contain stray tabs.
            table = read_text_csv(path, encoding_errors="replace", skipinitialspace=True)
        except (ValueError, OSError) as error:
            raise MgcError(f"{path}: unreadable ({error}). Copy it again.") from error
        table.columns = table.columns.str.strip()
        missing = [column for column in columns if column not in table]
        if missing:
            raise MgcError(f"{path}: no column {missing[0]!r}. Copy it again.")
        table["song_id"] = table["song_id"].str.strip()
        return table[columns].drop_duplicates("song_id")
