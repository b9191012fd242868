"""Generate a small Million Song Dataset in the real layout.

The data are random but learnable: chroma depends on the key, timbre over eight beats on the genre
and over three beats on the artist. As a script: ``python tests/data/generate_msd.py FOLDER``.
"""

import json
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import soundfile

from mgc.data.msd.catalogue import GENRES, SPLIT_LISTS, TAGS, TAGTRAUM_GENRES

# Spellings of the genres on MusicBrainz.
SPELLINGS = {"rnb": "R&B", "hip hop": "hip-hop", "new wave": "New Wave"}

MAJOR = np.array([1, 0.1, 0.3, 0.1, 0.7, 0.3, 0.1, 0.8, 0.1, 0.3, 0.1, 0.3])

STRINGS = {"audio_md5": 32, "track_id": 32, "analyzer_version": 32, "artist_id": 32, "song_id": 32}
STRINGS |= {"artist_mbid": 40, "artist_name": 1024, "artist_location": 1024}
STRINGS |= {"genre": 1024, "release": 1024, "title": 1024}

# Columns of the three tables, in the order of the real files: text as above, f8 or i4.
ANALYSIS = """analysis_sample_rate:i4 audio_md5 danceability:f8 duration:f8 end_of_fade_in:f8
energy:f8 idx_bars_confidence:i4 idx_bars_start:i4 idx_beats_confidence:i4 idx_beats_start:i4
idx_sections_confidence:i4 idx_sections_start:i4 idx_segments_confidence:i4
idx_segments_loudness_max:i4 idx_segments_loudness_max_time:i4 idx_segments_loudness_start:i4
idx_segments_pitches:i4 idx_segments_start:i4 idx_segments_timbre:i4 idx_tatums_confidence:i4
idx_tatums_start:i4 key:i4 key_confidence:f8 loudness:f8 mode:i4 mode_confidence:f8
start_of_fade_out:f8 tempo:f8 time_signature:i4 time_signature_confidence:f8 track_id"""
METADATA = """analyzer_version artist_7digitalid:i4 artist_familiarity:f8 artist_hotttnesss:f8
artist_id artist_latitude:f8 artist_location artist_longitude:f8 artist_mbid artist_name
artist_playmeid:i4 genre idx_artist_terms:i4 idx_similar_artists:i4 release release_7digitalid:i4
song_hotttnesss:f8 song_id title track_7digitalid:i4"""
MUSICBRAINZ = "idx_artist_mbtags:i4 year:i4"


@dataclass
class Track:
    """A generated track; ``twin`` is the number of the track that it repeats."""

    track: str
    number: int
    artist: int
    key: int
    genre: str
    twin: int | None


def generate_msd(
    root: str | Path,
    tracks: int = 240,
    artists: int = 40,
    beats: int = 40,
    duplicates: int = 6,
    previews: int = 0,
    seed: int = 0,
) -> list[Track]:
    """Write track files, lists, tags and previews.

    Args:
        root: Folder to write to.
        tracks: Number of tracks without duplicates.
        artists: Number of artists; each has one of the 20 genres.
        beats: Minimum number of beats of a track; the maximum is twice as high.
        duplicates: Number of tracks to repeat.
        previews: Number of tracks with an audio preview of 2 s, named by 7digital id.
        seed: Seed of all random values.
    """
    root = Path(root)
    rng = np.random.default_rng(seed)
    catalogue = []
    for number in range(tracks + duplicates):
        source = number % tracks
        artist = source % artists
        catalogue.append(
            Track(
                track=_track_id(rng),
                number=number,
                artist=artist,
                key=(source + source // artists) % 12,
                genre=GENRES[artist % len(GENRES)],
                twin=source if number >= tracks else None,
            )
        )
    templates = np.random.default_rng(1)
    by_genre = {genre: templates.normal(0, 30, (8, 12)) for genre in GENRES}
    by_artist = templates.normal(0, 20, (artists, 3, 12))
    for track in catalogue:
        # A copy of a track differs only in noise.
        writer = np.random.default_rng((seed, track.number % tracks))
        path = root / "data" / track.track[2] / track.track[3] / track.track[4]
        path.mkdir(parents=True, exist_ok=True)
        template = by_genre[track.genre], by_artist[track.artist]
        _write_track(path / f"{track.track}.h5", track, template, beats, writer)
    _write_lists(root, catalogue)
    _write_lastfm(root, catalogue)
    for track in catalogue[:previews]:
        _write_preview(root / "audio", track)
    return catalogue


def id_at_7digital(track: Track) -> int:
    """Return the track's id at 7digital."""
    return 1_200_000 + 37 * track.number


def lastfm_tags(track: Track) -> list[tuple[str, int]]:
    """Return the Last.fm tags of a track and their weights."""
    first = track.artist % len(TAGS)
    named = [TAGS[first], TAGS[(first + 7) % len(TAGS)], TAGS[(first + 9) % len(TAGS)]]
    return [*zip(named, (100, 60, 20), strict=True), ("seen live", 90)]


def _track_id(rng: np.random.Generator) -> str:
    letters = "".join(rng.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), 5))
    return f"TR{letters}128F{rng.integers(16**7):07X}"


def _dtype(columns: str) -> np.dtype:
    pairs = [column.split(":") for column in columns.split()]
    return np.dtype([(p[0], f"<{p[1]}" if p[1:] else f"S{STRINGS[p[0]]}") for p in pairs])


def _table(columns: str, **values: object) -> np.ndarray:
    table = np.zeros(1, _dtype(columns))
    for name, value in values.items():
        table[name] = value.encode() if isinstance(value, str) else value
    return table


def _write_track(
    path: Path,
    track: Track,
    template: tuple[np.ndarray, np.ndarray],
    beats: int,
    rng: np.random.Generator,
) -> None:
    count = int(rng.integers(beats, 2 * beats + 1))
    tempo = rng.uniform(80, 160)
    beats_start = 0.4 + np.arange(count) * 60 / tempo
    # Segments start just before their beat. Some beats have no segment, some have two.
    starts = np.append(beats_start[rng.random(count) < 0.9] - 0.03, beats_start + 0.25 * 60 / tempo)
    starts = np.sort(np.append(0.0, starts[: len(starts) - count // 2]))
    beat = np.clip(np.searchsorted(beats_start, starts + 0.05) - 1, 0, None)
    chroma = np.roll(MAJOR, track.key) * rng.uniform(0.3, 1, (len(starts), 12))
    timbre = template[0][beat % 8] + template[1][beat % 3] + rng.normal(0, 20, (len(starts), 12))
    timbre[:, 0] += 45
    duration = float(beats_start[-1] + 2)
    artist = f"Artist {track.artist}"
    arrays = {
        name: rng.random(len(beats_start) // 4)
        for name in ("bars_confidence", "sections_confidence")
    }
    arrays |= {"bars_start": beats_start[::4], "sections_start": beats_start[::32]}
    for name in ("beats", "tatums"):
        arrays |= {f"{name}_start": beats_start, f"{name}_confidence": rng.random(count)}
    loudness = ("confidence", "loudness_max", "loudness_max_time", "loudness_start")
    arrays |= {f"segments_{name}": rng.random(len(starts)) for name in loudness}
    arrays |= {
        "segments_start": starts,
        "segments_pitches": (chroma / chroma.max(axis=1, keepdims=True)).round(3),
        "segments_timbre": timbre.round(3),
    }
    analysis = _table(
        ANALYSIS,
        analysis_sample_rate=22050,
        duration=duration,
        key=track.key,
        key_confidence=round(rng.random(), 3),
        mode=1,
        mode_confidence=0.5,
        tempo=tempo,
        time_signature=4,
        track_id=track.track,
    )
    metadata = _table(
        METADATA,
        artist_id=f"AR{track.artist:016X}",
        artist_name=artist,
        title=f"Title {track.number}",
        song_id=f"SO{track.number:016X}",
        track_7digitalid=id_at_7digital(track),
    )
    tags = [SPELLINGS.get(track.genre, track.genre), "american", "hip hop rnb and dance hall"]
    terms = ["electronica", "60s"]
    with h5py.File(path, "w") as file:
        tables = {"analysis": analysis, "metadata": metadata}
        tables["musicbrainz"] = _table(MUSICBRAINZ, year=1960 + track.number % 50)
        for group, table in tables.items():
            _write(file, f"{group}/songs", table)
        for name, values in arrays.items():
            _write(file, f"analysis/{name}", values)
        _write(file, "metadata/artist_terms", np.array(terms, "S256"))
        _write(file, "metadata/artist_terms_freq", np.array([1.0, 0.5]))
        _write(file, "metadata/artist_terms_weight", np.array([1.0, 0.7]))
        _write(file, "metadata/similar_artists", np.array([f"AR{0:016X}"], "S20"))
        _write(file, "musicbrainz/artist_mbtags", np.array(tags, "S256"))
        _write(file, "musicbrainz/artist_mbtags_count", np.array([2, 1, 1], "i4"))


def _write(file: h5py.File, name: str, values: np.ndarray) -> None:
    file.create_dataset(
        name,
        data=values,
        maxshape=(None, *values.shape[1:]),
        chunks=values.shape,
        compression="gzip",
    )


def _write_lists(root: Path, catalogue: list[Track]) -> None:
    twins = [track for track in catalogue if track.twin is not None]
    lines = ["# Groups of tracks that are the same recording", "#"]
    for number, track in enumerate(twins):
        # The real list has a score after some ids.
        lines.append(f"%{number} Artist {track.artist} - Title {track.twin}")
        lines += [catalogue[track.twin].track, f"{track.track} 0.0"]
    (root / "msd_duplicates.txt").write_text("\n".join(lines) + "\n")
    lines = ["# tagtraum genres"]
    for track in catalogue:
        genres = [TAGTRAUM_GENRES[track.artist % len(TAGTRAUM_GENRES)]]
        if track.number % 7 == 6:
            genres.append(TAGTRAUM_GENRES[(track.artist + 1) % len(TAGTRAUM_GENRES)])
        lines.append("\t".join([track.track, *genres]))
    (root / "msd_tagtraum_cd1.cls").write_text("\n".join(lines) + "\n")
    # A tenth of the tracks each for validation and test.
    share = [8, 9]
    for split, name in SPLIT_LISTS.items():
        chosen = {"train": range(8), "val": share[:1], "test": share[1:]}[split]
        names = [track.track for track in catalogue if track.number % 10 in chosen]
        (root / name).write_text("\n".join(names) + "\n")


def _write_lastfm(root: Path, catalogue: list[Track]) -> None:
    names = [*TAGS, "seen live"]
    with closing(sqlite3.connect(root / "lastfm_tags.db")) as database, database:
        database.executescript(
            "CREATE TABLE tids (tid TEXT PRIMARY KEY); CREATE TABLE tags (tag TEXT PRIMARY KEY);"
            "CREATE TABLE tid_tag (tid INT, tag INT, val FLOAT);"
        )
        database.executemany("INSERT INTO tags VALUES (?)", [(name,) for name in names])
        for row, track in enumerate(catalogue, 1):
            database.execute("INSERT INTO tids VALUES (?)", (track.track,))
            values = [(row, names.index(tag) + 1, weight) for tag, weight in lastfm_tags(track)]
            database.executemany("INSERT INTO tid_tag VALUES (?, ?, ?)", values)
    for track in catalogue:
        part = "lastfm_test" if track.number % 10 == 9 else "lastfm_train"
        folder = root / part / track.track[2] / track.track[3] / track.track[4]
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "artist": f"Artist {track.artist}",
            "timestamp": "2011-08-02 20:13:25.674526",
            "similars": [],
            "tags": [[tag, str(weight)] for tag, weight in lastfm_tags(track)],
            "track_id": track.track,
            "title": f"Title {track.number}",
        }
        (folder / f"{track.track}.json").write_text(json.dumps(content))


def _write_preview(audio: Path, track: Track) -> None:
    number = str(id_at_7digital(track))
    path = audio / number[0] / number[1] / f"{number}.clip.mp3"
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(2 * 22050) / 22050
    tone = 0.5 * np.sin(2 * np.pi * (220 + 40 * track.artist) * time)
    soundfile.write(path, tone, 22050, format="MP3")


if __name__ == "__main__":
    generate_msd(sys.argv[1], previews=40)
