"""Stores beat-aligned features, packed from the track files of the Million Song Dataset.

A store is a folder with

* ``features.npy``: float16 of shape (beats of all tracks, 24), columns 0 to 11 chroma, 12 to 23
  timbre, normalised per track. It is read as a memory map. Float16 keeps the three decimals of the
  dataset's chroma, at half the size of float32.
* ``index.parquet``: one row per track, in the order of track ids: the position of its beats
  (``offset``, ``beats``), mean and standard deviation of its timbre before normalisation
  (``timbre_mean``, ``timbre_deviation``, 12 values each), and its metadata (the attributes of
  :class:`mgc.data.msd.files.MsdTrack`)
* ``broken.csv``: the unreadable files, with reasons. They are tried again when the data set is
  packed again.
* ``sources.parquet``: path (relative to the data set's folder), size, modification time and SHA-256
  of each track file, to find changed ones

Tracks are packed in parts of a thousand, in ``parts/``. Finished parts are kept, so packing can be
interrupted and resumed, or shared between machines, with identical results.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from joblib import delayed
from pyarrow import csv
from tqdm import tqdm

from mgc.core.child_processes import run_parallel
from mgc.core.csv import read_text_csv
from mgc.core.file_cache import stamp_file
from mgc.core.fingerprint import Check, find_changed, hash_file, hash_values
from mgc.core.parquet import META_KEY, read_metadata, read_parquet, write_parquet
from mgc.core.writing import output_folder, replacing
from mgc.data.msd.beats import beat_align, normalise_timbre
from mgc.data.msd.files import DIMENSIONS, find_tracks, read_track, track_id
from mgc.errors import MgcError

VERSION = 3
PART_TRACKS = 1000  # about 20 MB of features, packed in a few seconds
FEATURES, INDEX, BROKEN, PARTS = "features.npy", "index.parquet", "broken.csv", "parts"
SOURCES = "sources.parquet"

_METADATA = pa.schema(
    [
        ("track", pa.string()),
        ("song", pa.string()),
        ("artist_id", pa.string()),
        ("artist", pa.string()),
        ("title", pa.string()),
        ("track_7digital", pa.int32()),
        ("year", pa.int32()),
        ("duration", pa.float64()),
        ("tempo", pa.float64()),
        ("key", pa.int8()),
        ("key_confidence", pa.float64()),
        ("mode", pa.int8()),
        ("mode_confidence", pa.float64()),
        ("mbtags", pa.list_(pa.string())),
        ("mbtags_count", pa.list_(pa.int32())),
        ("terms", pa.list_(pa.string())),
        ("terms_weight", pa.list_(pa.float32())),
    ]
)
_POSITION = [pa.field("offset", pa.int64()), pa.field("beats", pa.int64())]
_TIMBRE = [
    pa.field("timbre_mean", pa.list_(pa.float32())),
    pa.field("timbre_deviation", pa.list_(pa.float32())),
]
_SOURCE = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("checksum", pa.string()),
    ]
)
_BROKEN = pa.schema([("track", pa.string()), ("file", pa.string()), ("reason", pa.string())])


class BeatStore:
    """Reads tracks from the store in a folder. Memory use does not depend on its size.

    ``normalise_timbre=False`` restores the timbre before normalisation.

    Raises:
        MgcError: If the store is missing, incomplete or damaged.
    """

    def __init__(self, path: str | os.PathLike[str], normalise_timbre: bool = True) -> None:
        self.path = Path(path)
        self.normalise_timbre = normalise_timbre
        position = self.index(["offset", "beats"])
        self._offsets = position["offset"].to_numpy()
        self.beats = position["beats"].to_numpy()
        try:
            self._features = np.load(self.path / FEATURES, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise MgcError(f"{self.path / FEATURES} is missing or damaged. Pack again.") from error
        if self._features.shape != (self.beats.sum(), 2 * DIMENSIONS):
            raise MgcError(f"{self.path}: {FEATURES} and {INDEX} do not match. Pack again.")
        if not normalise_timbre:
            self._mean, self._deviation = self._read_statistics()

    def __len__(self) -> int:
        return len(self.beats)

    def __reduce__(self) -> "tuple[type[BeatStore], tuple[Path, bool]]":
        # Workers open the memory map themselves: pickling would copy it.
        return type(self), (self.path, self.normalise_timbre)

    def read(self, track: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the chroma in [0, 1] and the timbre of a track, by row of the index.

        Both have shape (beats, 12).
        """
        start = self._offsets[track]
        features = self._features[start : start + self.beats[track]].astype(np.float32)
        chroma, timbre = features[:, :DIMENSIONS], features[:, DIMENSIONS:]
        if not self.normalise_timbre:
            timbre = timbre * self._deviation[track] + self._mean[track]
        return chroma, timbre

    def index(self, columns: list[str] | None = None) -> pd.DataFrame:
        """Read columns of the index, one row per track."""
        path = self.path / INDEX
        if not path.is_file():
            raise MgcError(
                f"{self.path}: no store of beat-aligned features, or an incomplete one. "
                "Pack the track files, and merge the shards if there are any."
            )
        try:
            return pq.read_table(path, columns=columns).to_pandas()
        except (pa.ArrowException, OSError) as error:
            raise MgcError(f"{path} is damaged. Remove {self.path} and pack again.") from error

    def _read_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the timbre, of shape (tracks, 12)."""
        names = [field.name for field in _TIMBRE]
        if not set(names) <= set(pq.read_schema(self.path / INDEX).names):
            raise MgcError(
                f"{self.path} was packed by an earlier version of mgc, without the timbre before "
                "normalisation. Remove it and pack again."
            )
        table = pq.read_table(self.path / INDEX, columns=names)
        mean, deviation = (
            np.reshape(table[name].combine_chunks().flatten(), (len(table), DIMENSIONS))
            for name in names
        )
        return mean, deviation


def pack(
    root: str | os.PathLike[str],
    store: str | os.PathLike[str],
    processes: int = 1,
    shard: tuple[int, int] = (0, 1),
    check: Check = "sampled",
) -> bool:
    """Pack the track files of a folder, or one machine's share of them, into a store.

    The last machine to finish merges the parts. For machines without a shared disk, copy their
    parts into one folder, then call :func:`merge` or pack again. ``shard`` is the index of this
    machine, from 0, and the number of machines; ``check`` is how changed files are found (see
    :mod:`mgc.core.fingerprint`).

    Returns:
        Whether the store is complete. If not, parts of other machines are missing.

    Raises:
        MgcError: If there are no track files, or the store belongs to other track files or cannot
            be written.
    """
    root, store = Path(root), Path(store)
    number, count = shard
    if not 0 <= number < count:
        raise MgcError(f"shard={number},{count}: the first number must be from 0 to {count - 1}.")
    files = find_tracks(root)
    settings = _pack_settings(files)
    if (store / INDEX).is_file():
        packed = json.loads(pq.read_schema(store / INDEX).metadata[META_KEY])
        if packed != settings:
            reason = (
                f"from different track files than those in {root}"
                if packed["version"] == VERSION
                else "by another version of mgc"
            )
            raise MgcError(f"{store} was packed {reason}. Remove it, or pack into another folder.")
        check_sources(root, store, check)
        digest = read_metadata(store / SOURCES)["features"]
        if hash_file(store / FEATURES, check, content_only=True) != digest:
            raise MgcError(
                f"{store / FEATURES} is missing or damaged. Remove {store} and pack again."
            )
        readable = {file for file in read_broken(store) if _is_readable(root / file)}
        if not readable:
            return True
        with output_folder(store, shard, advice=""):
            _unmerge(store, settings, readable)
    with output_folder(store, shard, advice=""):
        return _pack_shard(root, store, files, settings, processes, shard, check)


def _pack_shard(
    root: Path,
    store: Path,
    files: list[Path],
    settings: dict[str, Any],
    processes: int,
    shard: tuple[int, int],
    check: Check,
) -> bool:
    """Pack one machine's share of the track files; merge if all parts exist."""
    number, count = shard
    _save_settings(store, settings)
    todo = [
        (root, files[part * PART_TRACKS : (part + 1) * PART_TRACKS], _part_path(store, part))
        for part in range(number, _part_count(settings), count)
        if not _is_current(_part_path(store, part), root, check)
    ]
    total = sum(len(paths) for _, paths, _ in todo)
    broken = 0
    with tqdm(total=total, unit=" tracks", desc="Packing", disable=not todo) as progress:
        workers = max(1, min(processes, len(todo)))
        results = run_parallel((delayed(_pack_part)(*task) for task in todo), workers, False)
        for done, failed in results:
            broken += failed
            progress.update(done)
            progress.set_postfix(broken=broken)
    if not all(_part_path(store, part).is_file() for part in range(_part_count(settings))):
        return False
    merge(store)
    return True


def check_sources(
    root: str | os.PathLike[str], store: str | os.PathLike[str], check: Check = "sampled"
) -> None:
    """Raise an MgcError if track files have changed since a store was packed.

    Missing track files are ignored, because the store replaces them.
    """
    path = Path(store, SOURCES)
    try:
        sources, _ = read_parquet(path)
    except MgcError as error:
        raise MgcError(f"{error} Remove {store} and pack again.") from error
    sources = sources[~sources["path"].isin(list(read_broken(Path(store))))]
    files = sources.itertuples(index=False, name=None)
    changed = find_changed(files, root, path.stat().st_mtime_ns, check)
    if changed:
        raise MgcError(
            f"{len(changed)} track files have changed since {store} was packed, the first is "
            f"{Path(root, changed[0])}. Remove {store} and pack again."
        )


def read_broken(store: Path) -> dict[str, str]:
    """Return the reason of each unreadable track file, by path relative to the data set."""
    broken = read_text_csv(store / BROKEN)
    return dict(zip(broken["file"], broken["reason"], strict=True))


def merge(store: str | os.PathLike[str]) -> None:
    """Merge the parts of all shards into a complete store, and delete the parts.

    Raises:
        MgcError: If parts are missing, or no track file was readable.
    """
    store = Path(store)
    if (store / INDEX).is_file():  # written last, so only the parts may remain
        shutil.rmtree(store / PARTS, ignore_errors=True)
        return
    try:
        settings = json.loads((store / PARTS / "plan.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MgcError(f"{store}: nothing to merge. Pack the track files first.") from None
    parts = [_part_path(store, part) for part in range(_part_count(settings))]
    missing = [part for part in parts if not part.is_file()]
    if missing:
        raise MgcError(
            f"{store}: {len(missing)} of {len(parts)} parts are missing, the first is "
            f"{missing[0].name}. Finish all shards and copy their parts into this folder."
        )
    try:
        _merge_parts(store, parts, settings)
    except OSError as error:
        # Another machine may have merged and deleted the parts in the meantime.
        if not (store / INDEX).is_file():
            raise MgcError(f"{store} cannot be merged: {error.strerror or error}.") from error
    shutil.rmtree(store / PARTS, ignore_errors=True)


def _merge_parts(store: Path, parts: list[Path], settings: dict[str, Any]) -> None:
    tables = [
        pq.read_table(part, columns=["beats", *_BROKEN.names, *_SOURCE.names]) for part in parts
    ]
    broken = pa.concat_tables(
        table.filter(pc.is_valid(table["reason"])).select(_BROKEN.names) for table in tables
    )
    if len(broken) == settings["tracks"]:
        raise MgcError(
            f"{store}: none of the {len(broken)} track files is readable. First error: "
            f"{broken['file'][0]}: {broken['reason'][0]}."
        )
    beats = [pc.sum(table["beats"], min_count=0).as_py() for table in tables]
    offsets = np.cumsum([0, *beats])
    metadata = {META_KEY: json.dumps(settings).encode()}
    fields = [_METADATA.field("track"), *_POSITION, *_TIMBRE, *list(_METADATA)[1:]]
    schema = pa.schema(fields, metadata)
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)),
        "fortran_order": False,
        "shape": (int(offsets[-1]), 2 * DIMENSIONS),
    }
    with replacing(store / INDEX) as index, replacing(store / FEATURES) as features:
        # Do not write through a memory map: a full disk would kill the process.
        with features.open("wb") as file, pq.ParquetWriter(index, schema) as writer:
            np.lib.format.write_array_header_1_0(file, header)
            for part, offset in zip(
                tqdm(parts, unit=" parts", desc="Merging"), offsets[:-1], strict=True
            ):
                file.write(np.load(part.with_suffix(".npy")).tobytes())
                table = pq.read_table(part)
                table = table.filter(pc.is_null(table["reason"]))
                ends = offset + np.cumsum(table["beats"].to_numpy())
                first = pa.array(ends - table["beats"].to_numpy(), pa.int64())
                table = table.append_column("offset", first)
                writer.write_table(table.select(schema.names).cast(schema))
        with replacing(store / BROKEN) as path:
            csv.write_csv(broken, path)
        sources = pa.concat_tables(table.select(_SOURCE.names) for table in tables)
        about = settings | {"features": hash_file(features, content_only=True)}
        write_parquet(sources.to_pandas(), store / SOURCES, about)


def _is_current(part: Path, root: Path, check: Check) -> bool:
    """Return whether a part is undamaged and its track files are unchanged."""
    try:
        columns = [*_SOURCE.names, "reason"]
        table = pq.read_table(part, columns=columns, page_checksum_verification=True)
        about = json.loads((table.schema.metadata or {})[META_KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return False
    if hash_file(part.with_suffix(".npy"), check, content_only=True) != about["features"]:
        return False
    unreadable = table.filter(pc.is_valid(table["reason"]))["path"].to_pylist()
    if any(_is_readable(root / path) for path in unreadable):
        return False
    sources = table.select(_SOURCE.names).to_pandas().itertuples(index=False, name=None)
    return not find_changed(sources, root, part.stat().st_mtime_ns, check)


def _pack_settings(files: list[Path]) -> dict[str, Any]:
    """Return the settings that all parts must share. File paths may differ between machines."""
    return {
        "version": VERSION,
        "tracks": len(files),
        "part_tracks": PART_TRACKS,
        "files": hash_values(list(map(track_id, files))),
    }


def _save_settings(store: Path, settings: dict[str, Any]) -> None:
    path = store / PARTS / "plan.json"
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != settings:
            raise MgcError(
                f"{store} contains parts of different track files or another version of mgc. "
                f"Remove {path.parent}, or pack into another folder."
            )
        return
    with replacing(path) as partial:
        partial.write_text(json.dumps(settings), encoding="utf-8")


def _part_count(settings: dict[str, Any]) -> int:
    return -(-settings["tracks"] // settings["part_tracks"])


def _part_path(store: Path, number: int) -> Path:
    return store / PARTS / f"{number:05d}.parquet"


def _pack_part(root: Path, files: list[Path], part: Path) -> tuple[int, int]:
    """Write the features of a part, then its index, which marks the part as complete."""
    rows: list[dict[str, object]] = []
    features = [np.empty((0, 2 * DIMENSIONS), np.float16)]
    for path in files:
        name, stamp = path.relative_to(root).as_posix(), stamp_file(path)
        source: dict[str, object] = {"path": name, "size": -1, "mtime_ns": -1}
        if stamp:
            source |= {"size": stamp.size, "mtime_ns": stamp.modified_ns}
        source["checksum"] = hash_file(path, content_only=True)
        try:
            track = read_track(path)
        except MgcError as error:
            reason = str(error).removeprefix(f"{path}: ")
            row = {"track": track_id(path), "file": name, "reason": reason, "beats": 0}
            rows.append(row | source)
            continue
        timing = (track.segments_start, track.beats_start)
        chroma = beat_align(*timing, track.chroma, track.duration)
        timbre = beat_align(*timing, track.timbre, track.duration)
        features.append(np.hstack([chroma, normalise_timbre(timbre)]).astype(np.float16))
        row = {name: getattr(track, name) for name in _METADATA.names}
        row |= {"timbre_mean": timbre.mean(0), "timbre_deviation": timbre.std(0)}
        rows.append({**row, **source, "beats": len(chroma)})
    _write_part(part, rows, np.concatenate(features))
    return len(rows), sum("reason" in row for row in rows)


def _is_readable(path: Path) -> bool:
    try:
        read_track(path)
    except MgcError:
        return False
    return True


def _unmerge(store: Path, settings: dict[str, Any], readable: set[str]) -> None:
    """Split a complete store into parts, without those with files that have become readable."""
    sources: Any = read_parquet(store / SOURCES)[0].to_dict("records")
    broken = read_broken(store)
    index = pq.read_table(store / INDEX)
    features = np.load(store / FEATURES, mmap_mode="r")
    tracks = beats = 0
    for part in range(_part_count(settings)):
        files = sources[part * PART_TRACKS : (part + 1) * PART_TRACKS]
        count = sum(file["path"] not in broken for file in files)
        good = iter(index.slice(tracks, count).drop_columns("offset").to_pylist())
        rows: list[dict[str, object]] = []
        for file in files:
            name = file["path"]
            reason = broken.get(name)
            row = {"track": track_id(Path(name)), "file": name, "reason": reason, "beats": 0}
            rows.append({**(next(good) if reason is None else row), **file})
        end = beats + sum(row["beats"] for row in rows)  # type: ignore[misc] # integers
        if not any(file["path"] in readable for file in files):
            _write_part(_part_path(store, part), rows, features[beats:end])
        tracks, beats = tracks + count, end
    _save_settings(store, settings)
    (store / INDEX).unlink()


def _write_part(part: Path, rows: list[dict[str, object]], features: np.ndarray) -> None:
    with replacing(part.with_suffix(".npy")) as partial, partial.open("wb") as file:
        np.save(file, features)
    about = {"features": hash_file(part.with_suffix(".npy"), content_only=True)}
    schema = pa.schema(
        [*_METADATA, _POSITION[1], *_TIMBRE, *list(_BROKEN)[1:], *_SOURCE],
        {META_KEY: json.dumps(about).encode()},
    )
    with replacing(part) as partial:
        pq.write_table(pa.Table.from_pylist(rows, schema), partial, write_page_checksum=True)
