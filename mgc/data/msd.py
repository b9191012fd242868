"""Million Song Dataset: genres, artists, keys and unlabelled tracks as beat-aligned features."""

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from joblib import cpu_count
from torch.utils.data import Dataset

from mgc.data.base import MusicDataModule, Packed
from mgc.data.beat_store import BROKEN, FEATURES, INDEX, BeatStore, pack
from mgc.data.clips import Batch, Key, split_keys
from mgc.data.msd_catalogue import (
    GENRES,
    KEYS,
    TAGTRAUM_GENRES,
    artist_labels,
    read_duplicates,
    read_tagtraum,
    remove_duplicates,
    select_artists,
    select_genres,
    select_keys,
    select_tagtraum,
)
from mgc.data.msd_files import DIMENSIONS
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.data.verification import Problem, Progress
from mgc.errors import MgcError

log = logging.getLogger(__name__)

# What selections and users need of the index; the terms of a million artists fill gigabytes.
_COLUMNS = (
    "track",
    "artist_id",
    "artist",
    "title",
    "year",
    "key",
    "key_confidence",
    "mode",
    "mbtags",
    "mbtags_count",
)

GenreSource = Literal["musicbrainz", "tagtraum"]


class BeatDataset(Dataset[Batch]):
    """Whole tracks of one split, as beat-aligned features.

    Gives whole batches: an index is a list of tracks.
    """

    def __init__(
        self,
        store: BeatStore,
        rows: np.ndarray,
        tracks: np.ndarray,
        targets: torch.Tensor | None = None,
    ) -> None:
        """Initialize a new set of tracks.

        Args:
            store: Holds the features.
            rows: Row of every track in the store, by index.
            tracks: Indices of the split's tracks.
            targets: Target of every track, by index; none for unlabelled tracks.
        """
        self.store = store
        self.rows = rows
        self.tracks = tracks
        self.targets = targets

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Read a batch of tracks.

        Args:
            keys: Epoch and index of each track (see :func:`mgc.data.clips.split_keys`).

        Returns:
            ``chroma`` and ``timbre`` (batch, beats, 12), zero after the end of a track, ``length``
            (batch,) in beats, ``target`` if there are targets, and ``track``.
        """
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
    """Tracks of the Million Song Dataset as beat-aligned features.

    A task says in :meth:`select` which tracks it takes. The folder holds the dataset's track files
    (``data/A/B/C/TRABC….h5``), which are packed on first use, or a packed store alone; a million
    files are better packed beforehand, on several machines. Lists lie in the folder, in
    ``labels/`` or in ``AdditionalFiles/``. Known duplicates are left out.

    A batch is a dictionary: ``chroma`` and ``timbre`` (batch, beats, 12) float32, zero after the
    end of a track, ``length`` (batch,) in beats, ``target`` (batch,), ``track`` (batch,) index
    into ``tracks``.
    """

    kind: ClassVar[str] = "beats"

    def __init__(
        self,
        root: str = "data/msd",
        store: str | None = None,
        duplicates: str = "msd_duplicates.txt",
        **kwargs: Any,
    ) -> None:
        """Initialize a new data module.

        Args:
            root: Folder with the dataset.
            store: Folder with the packed features, by default ``beats`` in ``root``.
            duplicates: List of known duplicates, in ``root``; an empty string keeps them in.
            **kwargs: Arguments of :class:`mgc.data.base.MusicDataModule`.
        """
        super().__init__(root, **kwargs)
        self.store = Path(store) if store else self.root / "beats"
        self.duplicates = duplicates

    def select(self, index: pd.DataFrame) -> pd.DataFrame:
        """Select the tracks of the task.

        Args:
            index: A row per track without known duplicates, with its metadata.

        Returns:
            The rows of the task with ``label``.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement select().")

    def prepare_data(self) -> None:
        """Pack the track files, on one process, unless that is done."""
        super().prepare_data()
        if not (self.store / INDEX).is_file():
            self.pack(workers=cpu_count())

    def read_catalogue(self) -> pd.DataFrame:
        """Read the store's index and select the tracks of the task.

        Returns:
            A row per track (see :meth:`mgc.data.base.MusicDataModule.read_catalogue`), with
            ``row``, where the store holds it, and its metadata.
        """
        return self._group(self.select(self.read_index()))

    def read_index(self) -> pd.DataFrame:
        """Read the store's index without known duplicates.

        Returns:
            A row per track: ``row``, where the store holds it, and its metadata.

        Raises:
            MgcError: If there is no store, or no list of duplicates.
        """
        index = BeatStore(self.store).index(list(_COLUMNS))
        index["row"] = np.arange(len(index))
        if self.duplicates:
            index = remove_duplicates(index, read_duplicates(self.find_list(self.duplicates)))
        return index

    def find_list(self, name: str) -> Path:
        """Find one of the dataset's lists.

        Args:
            name: Name of the file.

        Returns:
            Its path.

        Raises:
            MgcError: If it is in none of the usual places.
        """
        for folder in ("", "labels", "AdditionalFiles"):
            if (self.root / folder / name).is_file():
                return self.root / folder / name
        hint = (
            ", or set data.duplicates='' to keep duplicates in" if name == self.duplicates else ""
        )
        raise MgcError(f"{self.root}: no {name}. Get it from the dataset's site{hint}.")

    def check(self, catalogue: pd.DataFrame) -> dict[str, str]:
        """Find nothing: broken files were left out when the store was packed."""
        return {}

    def make_dataset(self, split: str, random: bool) -> BeatDataset:
        """Make the tracks of one split.

        Args:
            split: ``train``, ``val`` or ``test``.
            random: No matter, as tracks are whole.

        Returns:
            The tracks.
        """
        return BeatDataset(
            BeatStore(self.store),
            self.tracks["row"].to_numpy(),
            np.flatnonzero(self.tracks["split"] == split),
            self.targets() if self.labels else None,
        )

    def verify(self, progress: Progress = iter) -> list[Problem]:
        """List the track files that could not be read when the store was packed."""
        return [
            Problem("broken", row["track"], f"{row['file']}: {row['reason']}")
            for row in self._broken()
        ]

    def pack(self, workers: int = 0, shard: tuple[int, int] = (0, 1)) -> Packed:
        """Align the features of all track files to beats (see :meth:`MusicDataModule.pack`)."""
        self._check_root()
        if not pack(self.root, self.store, workers, shard):
            return Packed(self.store, finished=False)
        store = BeatStore(self.store)
        broken = {row["file"]: row["reason"] for row in self._broken()}
        summary = (
            f"{len(store)} tracks packed, {len(broken)} broken; {store.beats.sum()} beats, "
            f"{(self.store / FEATURES).stat().st_size / 1e9:.2f} GB"
        )
        return Packed(self.store, True, summary, broken)

    def _broken(self) -> list[dict[str, str]]:
        """Track, file and reason of the track files that could not be read when packed."""
        BeatStore(self.store)
        with open(self.store / BROKEN, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _group(self, catalogue: pd.DataFrame) -> pd.DataFrame:
        # Duplicates are out, so a track is its own group, unless artists are to stay together.
        by_artist = self.split == "artist"
        return catalogue.assign(group=catalogue["artist_id" if by_artist else "track"])


class MSDGenre(MSDBeats):
    """20 genres by MusicBrainz tags, 250 tracks each, or the tagtraum genres.

    The tags belong to artists: with ``stratified`` and ``fold``, as in the paper, a network can
    score by telling artists apart. ``artist`` keeps an artist's tracks on one side. For the
    selection see :func:`mgc.data.msd_catalogue.select_genres` and
    :func:`mgc.data.msd_catalogue.select_tagtraum`.
    """

    splits = ("stratified", "fold", "artist")

    def __init__(
        self,
        root: str = "data/msd",
        source: GenreSource = "musicbrainz",
        tracks_per_class: int = 250,
        tagtraum: str = "msd_tagtraum_cd1.cls",
        **kwargs: Any,
    ) -> None:
        """Initialize a new data module.

        Args:
            root: Folder with the dataset.
            source: Where genres come from: ``musicbrainz`` (20, as in the paper) or ``tagtraum``
                (13).
            tracks_per_class: Tracks of each genre.
            tagtraum: List of tagtraum genres, in ``root``.
            **kwargs: Arguments of :class:`MSDBeats`.
        """
        super().__init__(root, **kwargs)
        self.source = source
        self.tracks_per_class = tracks_per_class
        self.tagtraum = tagtraum
        self.labels = GENRES if source == "musicbrainz" else TAGTRAUM_GENRES

    def select(self, index: pd.DataFrame) -> pd.DataFrame:
        """Select tracks of each genre (see :meth:`MSDBeats.select`)."""
        if self.source == "musicbrainz":
            return select_genres(index, self.tracks_per_class, self.seed)
        genres = read_tagtraum(self.find_list(self.tagtraum))
        return select_tagtraum(index, genres, self.tracks_per_class, self.seed)


class MSDArtist(MSDBeats):
    """The 50 artists with most tracks, 100 tracks each.

    Labels must be known before the files are: ``artist 01`` is the artist with most tracks, and
    the column ``artist`` of ``tracks`` has the names.
    """

    def __init__(
        self,
        root: str = "data/msd",
        artists: int = 50,
        tracks_per_class: int = 100,
        **kwargs: Any,
    ) -> None:
        """Initialize a new data module.

        Args:
            root: Folder with the dataset.
            artists: How many artists.
            tracks_per_class: Tracks of each artist.
            **kwargs: Arguments of :class:`MSDBeats`.
        """
        super().__init__(root, **kwargs)
        self.tracks_per_class = tracks_per_class
        self.labels = artist_labels(artists)

    def select(self, index: pd.DataFrame) -> pd.DataFrame:
        """Select tracks of each artist (see :meth:`MSDBeats.select`)."""
        return select_artists(index, len(self.labels), self.tracks_per_class, self.seed)


class MSDKey(MSDBeats):
    """12 keys, major or minor, 250 tracks each with the highest key confidence."""

    labels = KEYS
    splits = ("stratified", "fold", "artist")

    def __init__(self, root: str = "data/msd", tracks_per_class: int = 250, **kwargs: Any) -> None:
        """Initialize a new data module.

        Args:
            root: Folder with the dataset.
            tracks_per_class: Tracks of each key.
            **kwargs: Arguments of :class:`MSDBeats`.
        """
        super().__init__(root, **kwargs)
        self.tracks_per_class = tracks_per_class

    def select(self, index: pd.DataFrame) -> pd.DataFrame:
        """Select tracks of each key (see :meth:`MSDBeats.select`)."""
        return select_keys(index, self.tracks_per_class)


class MSDUnlabelled(MSDBeats):
    """All tracks, without labels, to pretrain on.

    Training has every track that no task's validation or test set holds (the paper's footnote 4);
    validation and test have those of the tasks. So the settings of the tasks, ``split``, ``fold``,
    ``folds`` and ``seed`` included, must be the ones that are used later. Batches have no
    ``target``.
    """

    splits = ("stratified", "fold", "artist")

    def __init__(
        self,
        root: str = "data/msd",
        genre_source: GenreSource = "musicbrainz",
        genre_tracks: int = 250,
        artists: int = 50,
        artist_tracks: int = 100,
        key_tracks: int = 250,
        **kwargs: Any,
    ) -> None:
        """Initialize a new data module.

        Args:
            root: Folder with the dataset.
            genre_source: Where the genres of the genre task come from.
            genre_tracks: Tracks of each genre; 0 if there is no genre task.
            artists: Artists of the artist task.
            artist_tracks: Tracks of each artist; 0 if there is no artist task.
            key_tracks: Tracks of each key; 0 if there is no key task.
            **kwargs: Arguments of :class:`MSDBeats`.
        """
        super().__init__(root, **kwargs)
        common: dict[str, Any] = {"fold": self.fold, "folds": self.folds, "seed": self.seed}
        # The artist task cannot keep artists on one side.
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
        """Select all tracks (see :meth:`MSDBeats.select`)."""
        return index

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Give validation and test the tracks of the tasks, and training the others."""
        held: dict[str, set[str]] = {VAL: set(), TEST: set()}
        for task in self._tasks:
            selected = task._group(task.select(catalogue))
            split = task.assign_split(selected)
            for name, tracks in held.items():
                tracks.update(selected["track"][split == name])
        test = catalogue["track"].isin(held[TEST])
        val = catalogue["track"].isin(held[VAL])
        return np.where(test, TEST, np.where(val, VAL, TRAIN))
