"""Reads track files of the Million Song Dataset.

Each file contains the Echo Nest's analysis of a track and the metadata of its artist. The layout is
described in Bertin-Mahieux, Ellis, Whitman and Lamere, "The Million Song Dataset" (ISMIR 2011).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5s, h5t

from mgc.core.hdf5 import describe_hdf5_error, open_hdf5
from mgc.data import audio
from mgc.data.file_names import find_name
from mgc.errors import MgcError

TRACK_ID = re.compile(r"TR[A-Z0-9]{16}")
SUFFIXES = (".h5", ".hdf5")
DIMENSIONS = 12  # of chroma and of timbre

# Attribute of MsdTrack and type of each field.
_FIELDS = {
    "analysis/songs": {
        "track_id": ("track", "S32"),
        "duration": ("duration", "f8"),
        "key": ("key", "i4"),
        "key_confidence": ("key_confidence", "f8"),
        "mode": ("mode", "i4"),
        "mode_confidence": ("mode_confidence", "f8"),
        "tempo": ("tempo", "f8"),
    },
    "metadata/songs": {
        "song_id": ("song", "S32"),
        "artist_id": ("artist_id", "S32"),
        "artist_name": ("artist", "S1024"),
        "title": ("title", "S1024"),
        "track_7digitalid": ("track_7digital", "i4"),
    },
    "musicbrainz/songs": {"year": ("year", "i4")},
}
_ROWS = {
    name: np.dtype([(field, kind) for field, (_, kind) in fields.items()])
    for name, fields in _FIELDS.items()
}


@dataclass(frozen=True)
class MsdTrack:
    """Content of a track file, as far as beat-aligned features need it. Times are in seconds."""

    track: str  # TRABCDE128F0123456
    song: str
    artist_id: str  # of the Echo Nest
    artist: str
    title: str
    track_7digital: int  # in names of audio previews; 0 or less if none
    year: int  # 0 if unknown to MusicBrainz
    duration: float
    tempo: float  # beats per minute
    key: int  # 0 (C) to 11 (B)
    key_confidence: float
    mode: int  # 0 (minor) or 1 (major)
    mode_confidence: float
    mbtags: list[str]  # of the artist, on MusicBrainz
    mbtags_count: list[int]  # users who gave each tag
    terms: list[str]  # of the artist, by the Echo Nest
    terms_weight: list[float]  # 0 to 1
    beats_start: np.ndarray
    segments_start: np.ndarray
    chroma: np.ndarray  # (segments, 12), 0 to 1, C to B
    timbre: np.ndarray  # (segments, 12)


def find_tracks(root: str | os.PathLike[str]) -> list[Path]:
    """Find the track files of a copy of the dataset, in the order of their track ids.

    If ``root/data`` exists, only this folder is searched. Files may be at any depth. Names may be
    in lower case.

    Raises:
        MgcError: If there are no track files, or two for one track.
    """
    root = Path(root)
    top = find_name(root, "data")
    top = top if top.is_dir() else root
    found: dict[str, Path] = {}
    for path in audio.find_files(top, SUFFIXES):
        track = track_id(path)
        if not TRACK_ID.fullmatch(track):
            continue
        if track in found:
            raise MgcError(f"{path} and {found[track]} are the same track. Remove one of them.")
        found[track] = path
    if not found:
        raise MgcError(
            f"{top}: no track files of the Million Song Dataset found (A/B/C/TRABC….h5). "
            "Use the folder with these files, or the one above `data`."
        )
    return [found[track] for track in sorted(found)]


def track_id(path: Path) -> str:
    """Return the track id that a file is named after."""
    return path.stem.upper()


def read_track(path: str | os.PathLike[str]) -> MsdTrack:
    """Read a track file.

    Raises:
        MgcError: If the file is missing, is not an HDF5 file, or is incomplete or inconsistent.
    """
    try:
        with open_hdf5(path) as file:
            track = _read(file)
    except _ContentError as error:
        raise MgcError(f"{path}: {error}") from error
    except OSError as error:
        raise MgcError(f"{path}: {describe_hdf5_error(error)}") from error
    name = track_id(Path(path))
    if TRACK_ID.fullmatch(name) and name != track.track:
        raise MgcError(f"{path}: contains track {track.track!r}, unlike its file name")
    return track


class _ContentError(Exception):
    """Raised for missing or inconsistent content."""


def _read(file: h5py.File) -> MsdTrack:
    # h5py's low-level reads take half the time of its Dataset class for such small files, and
    # convert to the requested fields and types.
    fields = {}
    for name, names in _FIELDS.items():
        row = _read_row(file, name)
        for field, (attribute, kind) in names.items():
            value = row[field].item()
            fields[attribute] = value if kind[0] != "S" else value.decode(errors="replace")
    mbtags = _read_array(file, "musicbrainz/artist_mbtags", "S256")
    mbtags_count = _read_array(file, "musicbrainz/artist_mbtags_count", "i4")
    terms = _read_array(file, "metadata/artist_terms", "S256")
    terms_weight = _read_array(file, "metadata/artist_terms_weight", "f8")
    beats_start = _read_array(file, "analysis/beats_start", "f8")
    segments_start = _read_array(file, "analysis/segments_start", "f8")
    chroma = _read_array(file, "analysis/segments_pitches", "f4", DIMENSIONS)
    timbre = _read_array(file, "analysis/segments_timbre", "f4", DIMENSIONS)
    if len(mbtags) != len(mbtags_count) or len(terms) != len(terms_weight):
        raise _ContentError("the artist's tags and their counts differ in length")
    if not len(beats_start):
        raise _ContentError("no beats")
    if not len(segments_start):
        raise _ContentError("no segments")
    if not len(segments_start) == len(chroma) == len(timbre):
        raise _ContentError("segments_start, segments_pitches and segments_timbre differ in length")
    if (np.diff(beats_start) < 0).any() or (np.diff(segments_start) < 0).any():
        raise _ContentError("beats_start or segments_start is not ascending")
    if not (np.isfinite(chroma).all() and np.isfinite(timbre).all()):
        raise _ContentError("segments_pitches or segments_timbre has values that are not finite")
    return MsdTrack(
        **fields,
        mbtags=[tag.decode(errors="replace") for tag in mbtags.tolist()],
        mbtags_count=mbtags_count.tolist(),
        terms=[term.decode(errors="replace") for term in terms.tolist()],
        terms_weight=terms_weight.tolist(),
        beats_start=beats_start,
        segments_start=segments_start,
        chroma=chroma,
        timbre=timbre,
    )


def _read_array(file: h5py.File, name: str, kind: str, width: int | None = None) -> np.ndarray:
    dataset = _open(file, name)
    if (
        len(dataset.shape) != (1 if width is None else 2)
        or dataset.shape[1:] != (width,)[: len(dataset.shape) - 1]
    ):
        raise _ContentError(f"{name} has shape {dataset.shape}")
    values = np.empty(dataset.shape, kind)
    if len(values):
        _fill(dataset, name, values)
    return values


def _read_row(file: h5py.File, name: str) -> np.void:
    dataset = _open(file, name)
    if dataset.shape != (1,):
        raise _ContentError(f"{name} has shape {dataset.shape}, expected one row")
    stored = dataset.get_type()
    columns = (
        {stored.get_member_name(i).decode() for i in range(stored.get_nmembers())}
        if isinstance(stored, h5t.TypeCompoundID)
        else set()
    )
    missing = [field for field in _FIELDS[name] if field not in columns]
    if missing:
        raise _ContentError(f"{name} lacks {', '.join(missing)}")
    row = np.empty(1, _ROWS[name])
    _fill(dataset, name, row)
    return row[0]


def _open(file: h5py.File, name: str) -> h5d.DatasetID:
    try:
        return h5d.open(file.id, name.encode())
    except KeyError:
        raise _ContentError(f"lacks {name}") from None


def _fill(dataset: h5d.DatasetID, name: str, values: np.ndarray) -> None:
    try:
        dataset.read(h5s.ALL, h5s.ALL, values, h5t.py_create(values.dtype))
    except (OSError, TypeError) as error:
        if getattr(error, "errno", None):
            raise  # of the disk
        raise _ContentError(f"{name} is damaged or has a different type") from None
