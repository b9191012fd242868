"""Million Song Dataset: genres, artists, keys and unlabelled tracks as beat-aligned features."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from joblib import cpu_count
from torch.utils.data import Dataset

from mgc.core.fingerprint import Check
from mgc.core.ranges import MAY_BE_EMPTY, Count, Range
from mgc.data.base import MusicDataModule, PackResult
from mgc.data.clips import Batch, Key, split_keys
from mgc.data.msd.beat_store import (
    FEATURES,
    INDEX,
    BeatStore,
    check_sources,
    pack,
    read_broken,
)
from mgc.data.msd.catalogue import (
    GENRES,
    KEYS,
    TAGTRAUM_GENRES,
    make_artist_labels,
    read_duplicates,
    read_tagtraum,
    remove_duplicates,
    select_artists,
    select_genres,
    select_keys,
    select_tagtraum,
)
from mgc.data.msd.files import DIMENSIONS, track_id
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.data.verification import Problem, Progress
from mgc.errors import MgcError

log = logging.getLogger(__name__)

#: Number of tracks of a class; 0 without the task.
PerClass = Annotated[int, Range(0, 10**9)]

# Columns to read from the index. The terms of a million artists would take gigabytes of memory.
_COLUMNS = (
    "track", "artist_id", "artist", "title", "year", "key", "key_confidence", "mode", "mbtags",
    "mbtags_count",
)  # fmt: skip

GenreSource = Literal["musicbrainz", "tagtraum"]


class BeatDataset(Dataset[Batch]):
    """Batches of whole tracks of one split as beat-aligned features.

    ``rows`` has the row of every track in the store, ``tracks`` the indices of the split's tracks.
    """

    def __init__(
        self,
        store: BeatStore,
        rows: np.ndarray,
        tracks: np.ndarray,
        targets: torch.Tensor | None = None,
    ) -> None:
        self.store = store
        self.rows = rows
        self.tracks = tracks
        self.targets = targets

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        tracks = self.tracks[split_keys(keys)[1]]
        lengths = self.store.beats[self.rows[tracks]]
        chroma, timbre = torch.zeros(2, len(keys), int(lengths.max()), DIMENSIONS)
        for item, (row, beats) in enumerate(zip(self.rows[tracks], lengths, strict=True)):
            for padded, values in zip((chroma, timbre), self.store.read(row), strict=True):
                padded[item, :beats] = torch.from_numpy(values)
        batch = {
            "chroma": chroma,
            "timbre": timbre,
            "length": torch.from_numpy(lengths),
            "track": torch.from_numpy(tracks),
        }
        if self.targets is not None:
            batch["target"] = self.targets[tracks]
        return batch


class MSDBeats(MusicDataModule):
    """Base class for tracks of the Million Song Dataset as beat-aligned features.

    Each task selects its tracks in :meth:`select`. The folder contains a packed store, or the track
    files (``data/A/B/C/TRABC….h5``), which are packed on first use. For a million files, run
    ``mgc data pack`` beforehand, on several machines. Lists are in the folder, in ``labels/`` or in
    ``AdditionalFiles/``. Known duplicates are excluded.

    A batch is a dictionary: ``chroma`` and ``timbre`` (batch, beats, 12) float32, zero after the
    end of a track, ``length`` (batch,) in beats, ``target`` (batch,), ``track`` (batch,) index into
    ``tracks``.

    Args:
        store: Folder with the packed features; ``beats`` in ``root`` by default.
        duplicates: List of known duplicates, in ``root``; an empty string keeps the duplicates.
        normalise_timbre: Whether each timbre component of a track has zero mean and unit variance.
    """

    kind: ClassVar[str] = "beats"

    def __init__(
        self,
        root: str = "data/msd",
        store: str | None = None,
        duplicates: Annotated[str, MAY_BE_EMPTY] = "msd_duplicates.txt",
        normalise_timbre: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.store = Path(store) if store else self.root / "beats"
        self.duplicates = duplicates
        self.normalise_timbre = normalise_timbre

    def select(self, index: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the task's tracks, with their ``label``."""
        raise NotImplementedError(f"{type(self).__name__} must implement select().")

    def prepare_data(self) -> None:
        """Pack the track files on one process, or check that they have not changed since."""
        super().prepare_data()
        if (self.store / INDEX).is_file():
            check_sources(self.root, self.store)
        else:
            self.pack(workers=cpu_count())

    def read_catalogue(self) -> pd.DataFrame:
        """Read the store's index, and select the tracks of the task."""
        return self._add_groups(self.select(self.read_index()))

    def read_index(self) -> pd.DataFrame:
        """Read the store's index without known duplicates, with the row in the store as ``row``."""
        index = BeatStore(self.store).index(list(_COLUMNS))
        index["row"] = np.arange(len(index))
        if self.duplicates:
            index = remove_duplicates(index, read_duplicates(self.find_list(self.duplicates)))
        return index

    def find_list(self, name: str) -> Path:
        """Return the path of one of the dataset's lists."""
        path = self._find_file(name, f"labels/{name}", f"AdditionalFiles/{name}")
        if path:
            return path
        hint = ", or set data.duplicates='' to keep duplicates" if name == self.duplicates else ""
        raise MgcError(f"{self.root}: no {name}. Download it from the dataset's site{hint}.")

    def check(self, catalogue: pd.DataFrame) -> dict[str, str]:
        """Return no tracks: packing has already excluded unreadable files."""
        return {}

    def make_dataset(self, split: str, random: bool) -> BeatDataset:
        """Create the dataset of one split."""
        return BeatDataset(
            BeatStore(self.store, self.normalise_timbre),
            self.tracks["row"].to_numpy(),
            self.select_rows(split, training=random),
            self.targets() if self.labels else None,
        )

    def verify(self, progress: Progress = iter) -> list[Problem]:
        """Return the track files that were unreadable when the store was packed."""
        BeatStore(self.store)
        return [
            Problem("broken", track_id(Path(file)), f"{file}: {reason}")
            for file, reason in read_broken(self.store).items()
        ]

    def pack(
        self, workers: int = 0, shard: tuple[int, int] = (0, 1), check: Check = "sampled"
    ) -> PackResult:
        """Align the features of all track files to beats."""
        self._check_root()
        if not pack(self.root, self.store, workers, shard, check):
            return PackResult(self.store, finished=False)
        store = BeatStore(self.store)
        broken = read_broken(self.store)
        summary = (
            f"{len(store)} tracks packed, {len(broken)} broken; {store.beats.sum()} beats, "
            f"{(self.store / FEATURES).stat().st_size / 1e9:.2f} GB"
        )
        return PackResult(self.store, True, summary, broken)

    def _add_groups(self, catalogue: pd.DataFrame) -> pd.DataFrame:
        # Without duplicates each track is its own group, unless the split is by artist.
        by_artist = self.split == "artist"
        return catalogue.assign(group=catalogue["artist_id" if by_artist else "track"])


class MSDGenre(MSDBeats):
    """20 genres by MusicBrainz tags with 250 tracks each, or the tagtraum genres.

    The tags belong to artists. With ``stratified`` and ``fold``, as in the paper, a network can
    score by recognising artists; ``artist`` keeps an artist's tracks in one split. See
    :func:`mgc.data.msd.catalogue.select_genres` and :func:`mgc.data.msd.catalogue.select_tagtraum`
    for the selection.

    Args:
        source: Source of the genres: ``musicbrainz`` (20, as in the paper) or ``tagtraum`` (13).
        tracks_per_class: Tracks per genre.
        tagtraum: List of tagtraum genres, in ``root``.
    """

    splits = ("stratified", "fold", "artist")

    def __init__(
        self,
        root: str = "data/msd",
        source: GenreSource = "musicbrainz",
        tracks_per_class: Count = 250,
        tagtraum: str = "msd_tagtraum_cd1.cls",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.source = source
        self.tracks_per_class = tracks_per_class
        self.tagtraum = tagtraum
        self.labels = GENRES if source == "musicbrainz" else TAGTRAUM_GENRES

    def select(self, index: pd.DataFrame) -> pd.DataFrame:
        """Select tracks of each genre."""
        if self.source == "musicbrainz":
            return select_genres(index, self.tracks_per_class, self.seed)
        genres = read_tagtraum(self.find_list(self.tagtraum))
        return select_tagtraum(index, genres, self.tracks_per_class, self.seed)


class MSDArtist(MSDBeats):
    """The 50 artists with the most tracks, 100 tracks each.

    Labels must be known before any file is read, so artists are named by rank: ``artist 01`` has
    the most tracks. The column ``artist`` of ``tracks`` has the real names.

    Args:
        artists: Number of artists.
        tracks_per_class: Tracks per artist.
    """

    def __init__(
        self,
        root: str = "data/msd",
        artists: Annotated[int, Range(2, 10**5)] = 50,
        tracks_per_class: Count = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.tracks_per_class = tracks_per_class
        self.labels = make_artist_labels(artists)

    def select(self, index: pd.DataFrame) -> pd.DataFrame:
        """Select tracks of each artist."""
        return select_artists(index, len(self.labels), self.tracks_per_class, self.seed)


class MSDKey(MSDBeats):
    """12 keys, major or minor, with the 250 tracks of highest key confidence each.

    Args:
        tracks_per_class: Tracks per key.
    """

    labels = KEYS
    splits = ("stratified", "fold", "artist")

    def __init__(
        self, root: str = "data/msd", tracks_per_class: Count = 250, **kwargs: Any
    ) -> None:
        super().__init__(root, **kwargs)
        self.tracks_per_class = tracks_per_class

    def select(self, index: pd.DataFrame) -> pd.DataFrame:
        """Select tracks of each key."""
        return select_keys(index, self.tracks_per_class)


class MSDUnlabelled(MSDBeats):
    """All tracks without labels, for pretraining.

    Training excludes the validation and test tracks of all tasks (the paper's footnote 4), which
    form the validation and test splits here. Use the same settings for the tasks later, including
    ``split``, ``fold``, ``folds`` and ``seed``. Batches have no ``target``.

    Args:
        genre_source: Source of the genres of the genre task.
        genre_tracks: Tracks per genre; 0 without a genre task.
        artists: Number of artists of the artist task.
        artist_tracks: Tracks per artist; 0 without an artist task.
        key_tracks: Tracks per key; 0 without a key task.
    """

    splits = ("stratified", "fold", "artist")
    ungrouped_splits = ("artist",)  # impossible for the artist task

    def __init__(
        self,
        root: str = "data/msd",
        genre_source: GenreSource = "musicbrainz",
        genre_tracks: PerClass = 250,
        artists: Annotated[int, Range(2, 10**5)] = 50,
        artist_tracks: PerClass = 100,
        key_tracks: PerClass = 250,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        common: dict[str, Any] = {"fold": self.fold, "folds": self.folds, "seed": self.seed}
        # The artist task needs each artist in all splits.
        split = "stratified" if self.split == "artist" else self.split
        self._tasks: list[MSDBeats] = []
        if genre_tracks:
            genre = MSDGenre(root, genre_source, genre_tracks, split=self.split, **common)
            self._tasks.append(genre)
        if artist_tracks:
            self._tasks.append(MSDArtist(root, artists, artist_tracks, split=split, **common))
        if key_tracks:
            self._tasks.append(MSDKey(root, key_tracks, split=self.split, **common))

    def select(self, index: pd.DataFrame) -> pd.DataFrame:
        """Select all tracks."""
        return index

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Assign the tasks' validation and test tracks to these splits, all others to training."""
        held: dict[str, set[str]] = {VAL: set(), TEST: set()}
        for task in self._tasks:
            selected = task._add_groups(task.select(catalogue))
            split = task.assign_split(selected)
            for name, tracks in held.items():
                tracks.update(selected["track"][split == name])
        test = catalogue["track"].isin(held[TEST])
        val = catalogue["track"].isin(held[VAL])
        return np.where(test, TEST, np.where(val, VAL, TRAIN))
