"""GTZAN genre collection."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mgc.data import audio
from mgc.data.base import AudioDataModule
from mgc.data.file_names import find_name
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.errors import MgcError

GENRES = (
    "blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae",
    "rock",
)  # fmt: skip
TRACKS_PER_GENRE = 100

#: Marks a folder of synthetic music from ``mgc data synth``, which has the same layout.
SYNTHESIS_FILE = "synthesis.json"

#: Pairs of identical files (the same MD5 in mirdata's index of the collection, version 1.0).
DUPLICATES = (
    ("disco.00098", "disco.00099"),
    ("hiphop.00039", "hiphop.00045"),
    ("hiphop.00076", "hiphop.00078"),
    ("metal.00034", "metal.00094"),
    ("metal.00040", "metal.00061"),
    ("metal.00041", "metal.00062"),
    ("metal.00042", "metal.00063"),
    ("metal.00043", "metal.00064"),
    ("metal.00044", "metal.00065"),
    ("metal.00045", "metal.00066"),
    ("metal.00058", "rock.00016"),
    ("pop.00054", "pop.00060"),
    ("pop.00067", "pop.00071"),
    ("reggae.00081", "reggae.00082"),
)

_NAME = re.compile(rf"({'|'.join(GENRES)})\.(\d{{5}})\.(wav|au|mp3|flac)")


class GTZAN(AudioDataModule):
    """GTZAN: 1000 clips of 30 s in 10 genres, 22 050 Hz mono.

    Tzanetakis and Cook, "Musical genre classification of audio signals", IEEE Transactions on
    Speech and Audio Processing 10(5), 2002. The collection has no licence and no working official
    download; copies differ. ``root``, or ``genres/`` or ``genres_original/`` in it, has a folder
    per genre with files named ``blues.00000.wav`` or ``blues.00000.au``.

    Args:
        split: ``stratified`` (80/10/10 %) and ``fold`` (one of ten) keep the 14 pairs of identical
            files in one split, but ignore other repetitions of artists and recordings.
            ``fault_filtered`` is the split of Kereliuk, Sturm and Larsen, "Deep learning and music
            adversaries", IEEE Transactions on Multimedia 17(11), 2015: 443 tracks to train, 197 to
            validate and 290 to test, without repetitions or shared artists. Prefer it for unbiased
            scores.
    """

    labels = GENRES
    expected_seconds = (29.9, 30.7)
    splits = ("stratified", "fold", "fault_filtered")
    given_splits = ("fault_filtered",)

    def __init__(self, root: str = "data/gtzan", split: str = "stratified", **kwargs: Any) -> None:
        super().__init__(root, split=split, **kwargs)

    def read_catalogue(self) -> pd.DataFrame:
        """Find the files of all genres."""
        rows: dict[str, dict[str, str]] = {}
        folder = self._genres_folder()
        for path in audio.find_files(folder):
            match = _NAME.fullmatch(path.name.lower())
            if match and path.parent.parent == folder and match[1] == path.parent.name.lower():
                track = f"{match[1]}.{match[2]}"
                # Use one file per track, even if a copy has several formats.
                rows.setdefault(track, {"track": track, "label": match[1], "path": str(path)})
        catalogue = pd.DataFrame(rows.values(), columns=["track", "label", "path"])
        leader = {second: first for first, second in DUPLICATES}
        catalogue["group"] = catalogue["track"].replace(leader)
        return catalogue

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Assign a split to each track, from the published lists for ``fault_filtered``."""
        if self.split != "fault_filtered":
            return super().assign_split(catalogue)
        from torchaudio.datasets import gtzan as lists

        names = {
            TRAIN: lists.filtered_train,
            VAL: lists.filtered_valid,
            TEST: lists.filtered_test,
        }
        split_of = {track: split for split, tracks in names.items() for track in tracks}
        return catalogue["track"].map(split_of).fillna("").to_numpy(str)

    def expected_tracks(self) -> set[str]:
        """Return the 1000 tracks of the collection; empty for synthetic music."""
        if (self.root / SYNTHESIS_FILE).is_file():
            return set()
        return {f"{genre}.{n:05}" for genre in GENRES for n in range(TRACKS_PER_GENRE)}

    def stray_files(self) -> list[Path]:
        """Return files in the genres' folder that are not tracks."""
        return [
            path
            for path in sorted(self._genres_folder().rglob("*"))
            if path.is_file() and not _NAME.fullmatch(path.name.lower())
        ]

    def _genres_folder(self) -> Path:
        names = ("genres", "genres_original")
        for folder in (*(find_name(self.root, name) for name in names), self.root):
            if any(find_name(folder, genre).is_dir() for genre in GENRES):
                return folder
        raise MgcError(
            f"{self.root}: no folder of a GTZAN genre (such as genres/blues or "
            "genres_original/blues). Set data.root to the collection's folder."
        )
