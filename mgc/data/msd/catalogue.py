"""Defines tasks of the Million Song Dataset: track selection, duplicates, genres and tags.

The tasks are those of Dieleman, Brakel and Schrauwen, "Audio-based music classification with a
pretrained convolutional network" (ISMIR 2011), section 4. Selections take rows of a store's index
(:mod:`mgc.data.msd.beat_store`) and return some of them with a ``label``. They do not depend on the
order of the rows, and raise :class:`MgcError` if a class has too few tracks.
"""

import json
import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd

from mgc.data.msd.files import TRACK_ID
from mgc.errors import MgcError

log = logging.getLogger(__name__)

#: The 20 genres of section 4, in the paper's order.
GENRES = (
    "folk", "punk", "metal", "jazz", "country", "blues", "classical", "rnb", "new wave",
    "world", "soul", "latin", "dance", "reggae", "techno", "funk", "rap", "hip hop", "rock",
    "pop",
)  # fmt: skip

#: Genres of the tagtraum annotations (Schreiber, "Improving genre annotations for the Million
#: Song Dataset", ISMIR 2015).
TAGTRAUM_GENRES = (
    "Blues", "Country", "Electronic", "Folk", "International", "Jazz", "Latin", "New Age",
    "Pop_Rock", "Rap", "Reggae", "RnB", "Vocal",
)  # fmt: skip

KEYS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

#: The 50 most frequent Last.fm tags that describe the music, most frequent first, as in Choi,
#: Fazekas and Sandler, "Automatic tagging using deep convolutional neural networks" (ISMIR 2016).
TAGS = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s",
    "alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists",
    "classic rock", "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s",
    "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient", "acoustic",
    "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country",
    "easy listening", "sexy", "catchy", "funk", "electro", "heavy metal", "Progressive rock",
    "60s", "rnb", "indie pop", "sad", "House", "happy",
)  # fmt: skip

#: Track ids of the Last.fm top-50 tagging split.
SPLIT_LISTS = {
    "train": "tagging_split_train.txt",
    "val": "tagging_split_valid.txt",
    "test": "tagging_split_test.txt",
}

# Spellings on MusicBrainz that differ by more than case, hyphens, spaces and "&" for "n".
_ALIASES = {"randb": "rnb", "rhythmnblues": "rnb", "rhythmandblues": "rnb"}


def find_genre(tag: str) -> str | None:
    """Return the genre that a tag names, or None: ``Hip-Hop`` is hip hop, ``R&B`` is rnb.

    Tags with other words, such as ``punk rock`` or ``hip hop rnb and dance hall``, name no genre.
    """
    normalised = _normalise_tag(tag)
    return _SPELLINGS.get(_ALIASES.get(normalised, normalised))


def _normalise_tag(tag: str) -> str:
    return re.sub(r"[^a-z0-9]", "", tag.lower().replace("&", "n"))


_SPELLINGS = {_normalise_tag(genre): genre for genre in GENRES}


def find_genres(index: pd.DataFrame) -> pd.Series:
    """Return the genre of each track, by the MusicBrainz tags of its artist.

    Dieleman et al. do not say how to choose between several tags. Here the tag given by most users
    wins. On a tie, the genre with the fewest tracks wins, as it is more specific: a track with
    "rock" and "punk" is punk. Tracks without a genre are omitted.
    """
    tags = index[["track", "mbtags", "mbtags_count"]].explode(["mbtags", "mbtags_count"])
    spelled = {tag: find_genre(tag) for tag in tags["mbtags"].dropna().unique()}
    tags["label"] = tags["mbtags"].map(spelled)
    tags = tags.dropna(subset="label")
    # Two spellings of a genre on one track count once, with the larger count.
    tags["mbtags_count"] = tags["mbtags_count"].astype(int)
    votes = tags.groupby(["track", "label"])["mbtags_count"].max().reset_index()
    votes["frequency"] = votes.groupby("label")["track"].transform("size")
    votes["order"] = votes["label"].map(GENRES.index)
    votes = votes.sort_values(["mbtags_count", "frequency", "order"], ascending=[False, True, True])
    return votes.drop_duplicates("track").set_index("track")["label"]


def select_genres(index: pd.DataFrame, per_genre: int = 250, seed: int = 0) -> pd.DataFrame:
    """Select random tracks of the 20 genres (see :func:`find_genres`)."""
    labels = find_genres(index)
    labelled = index.assign(label=index["track"].map(labels)).dropna(subset="label")
    return _sample_per_class(labelled, GENRES, per_genre, seed)


def select_tagtraum(
    index: pd.DataFrame, genres: pd.DataFrame, per_genre: int = 250, seed: int = 0
) -> pd.DataFrame:
    """Select random tracks that have exactly one genre in :func:`read_tagtraum`'s table."""
    certain = genres[genres["second"] == ""].set_index("track")["genre"]
    labelled = index.assign(label=index["track"].map(certain)).dropna(subset="label")
    return _sample_per_class(labelled, TAGTRAUM_GENRES, per_genre, seed)


def select_artists(
    index: pd.DataFrame, artists: int = 50, per_artist: int = 100, seed: int = 0
) -> pd.DataFrame:
    """Select random tracks of the artists with the most tracks, labelled by rank."""
    counts = index["artist_id"].value_counts().rename_axis("artist_id").reset_index()
    if len(counts) < artists:
        raise MgcError(f"artists={artists}, but there are only {len(counts)} artists. Use fewer.")
    ranked = counts.sort_values(["count", "artist_id"], ascending=[False, True])[:artists]
    names = make_artist_labels(artists)
    label_of = dict(zip(ranked["artist_id"], names, strict=True))
    labelled = index.assign(label=index["artist_id"].map(label_of)).dropna(subset="label")
    return _sample_per_class(labelled, names, per_artist, seed)


def make_artist_labels(artists: int) -> tuple[str, ...]:
    """Return the class names of the artist task: ``artist 01`` has the most tracks."""
    return tuple(f"artist {rank:02d}" for rank in range(1, artists + 1))


def select_keys(index: pd.DataFrame, per_key: int = 250) -> pd.DataFrame:
    """Select the tracks of each key, major or minor, with the highest key confidence."""
    labelled = index[index["key"].between(0, 11)]
    labelled = labelled.assign(label=np.array(KEYS)[labelled["key"]])
    ranked = labelled.sort_values(["key_confidence", "track"], ascending=[False, True])
    return _take_per_class(ranked, KEYS, per_key)


def remove_duplicates(index: pd.DataFrame, groups: Sequence[Sequence[str]]) -> pd.DataFrame:
    """Keep one track of each group of known duplicates, the first by track id.

    The paper removes "over 78,000 tracks". This agrees with the list, which has 131 661 tracks in
    53 471 groups, so 78 190 tracks are removed.
    """
    leader = {track: min(group) for group in groups for track in group}
    group = index["track"].map(lambda track: leader.get(track, track))
    first = index["track"].groupby(group).transform("min")
    return index[index["track"] == first]


def read_duplicates(path: str | os.PathLike[str]) -> list[list[str]]:
    """Read groups of track ids from ``msd_duplicates.txt``, the dataset's list of duplicates.

    Lines that start with ``#`` are comments, and those with ``%`` start a group. All others start
    with a track id. Groups that share a track are merged.

    Raises:
        MgcError: If the file is missing or has another format.
    """
    group_of: dict[str, list[str]] = {}
    group: list[str] | None = None
    for number, line in enumerate(_read_lines(path), 1):
        if line.startswith("%"):
            group = []
        elif line and not line.startswith("#"):
            match = TRACK_ID.match(line)
            if match is None or group is None:
                raise MgcError(f"{path}, line {number}: expected a track id in a group (%…).")
            track = match[0]
            known = group_of.get(track)
            if known is None:
                group.append(track)
                group_of[track] = group
            elif known is not group:
                known.extend(group)
                group_of.update(dict.fromkeys(group, known))
                group = known
    groups = {id(group): group for group in group_of.values()}
    return [sorted(group) for group in groups.values()]


def read_tagtraum(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a tagtraum genre list, such as ``msd_tagtraum_cd1.cls``.

    Each line has a track, a genre and an optional second genre, separated by tabs. The table has a
    row per track: ``track``, ``genre`` and ``second``, which may be empty.

    Raises:
        MgcError: If the file is missing or has another format.
    """
    rows = []
    for number, line in enumerate(_read_lines(path), 1):
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        if not TRACK_ID.fullmatch(fields[0]) or len(fields) not in (2, 3):
            raise MgcError(f"{path}, line {number}: expected a track id and one or two genres.")
        rows.append((fields[0], fields[1], fields[2] if len(fields) == 3 else ""))
    return pd.DataFrame(rows, columns=["track", "genre", "second"])


def read_track_list(path: str | os.PathLike[str]) -> list[str]:
    """Read a list of track ids, one per line, such as ``tagging_split_train.txt``.

    Raises:
        MgcError: If the file is missing, a line is not a track id, or a track is repeated.
    """
    tracks = [line for line in _read_lines(path) if line]
    for number, track in enumerate(tracks, 1):
        if not TRACK_ID.fullmatch(track):
            raise MgcError(f"{path}, line {number}: {track[:40]!r} is not a track id.")
    if len(set(tracks)) < len(tracks):
        raise MgcError(f"{path}: some tracks are listed twice. Download the list again.")
    return tracks


def read_lastfm(
    source: str | os.PathLike[str],
    tracks: Sequence[str],
    tags: Sequence[str],
    min_weight: float = 0.0,
) -> np.ndarray:
    """Read the Last.fm tags of tracks as float32 of shape (tracks, tags), 1 if a track has a tag.

    The source is ``lastfm_tags.db``, or a folder of JSON files (``A/B/C/TRABC….json``):
    ``lastfm_train``, ``lastfm_test`` or the folder that contains both. Weights, 0 to 100, must
    exceed ``min_weight``. Warns of tracks that the source does not contain, which have no tags.

    Raises:
        MgcError: If the source is missing or unreadable, or contains none of the tracks.
    """
    read = _read_sqlite if Path(source).is_file() else _read_json
    targets = np.zeros((len(tracks), len(tags)), np.float32)
    row_of = {track: row for row, track in enumerate(tracks)}
    column_of = {tag: column for column, tag in enumerate(tags)}
    known = set()
    for track, tag, weight in read(Path(source), tracks, tags):
        if track in row_of:
            known.add(track)
            if tag in column_of and weight > min_weight:
                targets[row_of[track], column_of[tag]] = 1
    if not known:
        raise MgcError(
            f"{source}: no Last.fm tags of these tracks. Use lastfm_tags.db, or the folder with "
            "lastfm_train and lastfm_test."
        )
    unknown = len(row_of) - len(known)
    if unknown:
        log.warning(
            "%s: %d of %d tracks are not in it. They count as tracks without any tag.",
            source, unknown, len(row_of),
        )  # fmt: skip
    return targets


def _read_sqlite(
    source: Path, tracks: Sequence[str], tags: Sequence[str]
) -> Iterator[tuple[str, str, float]]:
    """Return an entry without a tag for each track, then one per track and tag."""
    query = (
        "SELECT tids.tid, tags.tag, tid_tag.val FROM tags "
        "JOIN tid_tag ON tid_tag.tag = tags.rowid JOIN tids ON tids.rowid = tid_tag.tid "
        "WHERE tags.tag = ?"
    )
    try:
        # Read-only: otherwise SQLite would create a missing database, and lock a shared one.
        with closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as database:
            yield from ((track, "", 0.0) for (track,) in database.execute("SELECT tid FROM tids"))
            for tag in tags:
                yield from database.execute(query, (tag,))
    except sqlite3.Error as error:
        raise MgcError(f"{source} is not the Last.fm tag database: {error}.") from error


def _read_json(
    source: Path, tracks: Sequence[str], tags: Sequence[str]
) -> Iterator[tuple[str, str, float]]:
    folders = [source / "lastfm_train", source / "lastfm_test", source]

    def read_tags(track: str) -> list[tuple[str, str, float]]:
        for folder in folders:
            path = folder / track[2] / track[3] / track[4] / f"{track}.json"
            try:
                content = json.loads(path.read_bytes())["tags"]
                found = [(track, tag, float(weight)) for tag, weight in content if tag in tags]
                return [(track, "", 0.0), *found]
            except FileNotFoundError:
                continue
            except (KeyError, TypeError, ValueError) as error:
                raise MgcError(f"{path} is not a Last.fm track: {error}.") from error
        return []

    with ThreadPoolExecutor(8) as pool:
        for rows in pool.map(read_tags, tracks):
            yield from rows


def _sample_per_class(
    labelled: pd.DataFrame, labels: tuple[str, ...], per_class: int, seed: int
) -> pd.DataFrame:
    """Select random tracks of each class, independent of the order of the rows."""
    shuffled = labelled.sort_values("track").sample(frac=1, random_state=seed)
    return _take_per_class(shuffled, labels, per_class)


def _take_per_class(ranked: pd.DataFrame, labels: tuple[str, ...], per_class: int) -> pd.DataFrame:
    """Select the first tracks of each class."""
    counts = ranked["label"].value_counts().reindex(list(labels), fill_value=0)
    if counts.min() < per_class:
        raise MgcError(
            f"tracks_per_class={per_class}, but there are only {counts.min()} tracks of "
            f"{counts.idxmin()!r}. Use at most {counts.min()}, or more of the dataset."
        )
    return ranked.groupby("label").head(per_class).sort_values("track").reset_index(drop=True)


def _read_lines(path: str | os.PathLike[str]) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\r\n") for line in file]
    except OSError as error:
        raise MgcError(f"{path}: {error.strerror}.") from error
