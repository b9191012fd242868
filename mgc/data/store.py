"""Packed store: all audio of a data set, decoded and resampled once, read at memory speed.

A store is the folder ``packed/<sample rate>hz`` of a data set, or ``packed/<sample rate>hz-ch<k>``
for a single channel. It contains

* ``audio-00000.s16`` and so on: one file per part, with the concatenated int16 samples
  (little-endian, mono) of up to 2000 audio files (2.6 GB of 30 s clips at 22 050 Hz)
* ``index.parquet``: one row per file with ``track`` (the first one in the file), ``path`` (relative
  to the data set's folder), ``part``, ``offset`` and ``length`` in samples, ``clipped`` (number of
  samples beyond full scale), ``reason`` (why a broken file has no audio), and ``size``,
  ``mtime_ns`` and ``checksum`` (SHA-256) of the source. It is written last and marks the store as
  complete.

Samples are rounded to 16 bits without dither. The error of at most 2⁻¹⁶ is no larger than that of
16-bit files and MP3s. 16-bit mono files that are not resampled are stored exactly.

Alternatives read more than a clip: LitData and WebDataset return whole songs, Zarr decodes whole
chunks, and an Arrow column holds a song as a single value. A memory map copies only the clip.

Each part depends only on its files. Packing can therefore be interrupted and resumed, or shared
between machines, with identical results.
"""

import hashlib
import logging
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.data import Dataset
from tqdm import tqdm

from mgc.core.fingerprint import SOURCE_COLUMNS, Check, find_changed, hash_file, hash_values
from mgc.core.parquet import read_parquet, write_parquet
from mgc.core.stopping import signals
from mgc.core.writing import output_folder, replacing
from mgc.data import audio
from mgc.data.audio import AudioError
from mgc.data.clips import excerpt_length, keep_batch
from mgc.data.loading import WorkerLoader, ignore_stop_signals
from mgc.errors import MgcError

log = logging.getLogger(__name__)

FORMAT_VERSION = 2
INDEX = "index.parquet"

#: Target number of parts, and minimum and maximum number of files per part. Small data sets have
#: small parts, so that machines can share the work and an interruption loses little.
TARGET_PARTS = 64
PART_FILES_RANGE = (8, 2000)
#: Maximum number of parts to keep open. A million tracks have 500 parts.
MAX_OPEN_PARTS = 512

#: Folder of a data set's stores.
STORES = "packed"

FULL_SCALE = 32768
SAMPLE_DTYPE = np.dtype("<i2")

#: Length of the blocks in which files are decoded, in seconds; limits memory.
BLOCK_SECONDS = 300


class PackedReader:
    """Reads tracks from a packed store (see :class:`mgc.data.clips.TrackReader`).

    Each process maps a part into memory at its first read; the system shares the pages. Pickling
    the reader copies no audio. ``parts``, ``starts`` (first sample in the part) and ``lengths`` (in
    samples) have shape (tracks,).
    """

    def __init__(
        self, folder: Path, parts: np.ndarray, starts: np.ndarray, lengths: np.ndarray
    ) -> None:
        self.lengths = lengths
        self._folder = folder
        self._parts = parts
        self._starts = starts
        self._open = lru_cache(MAX_OPEN_PARTS)(self._map)

    def __reduce__(self) -> tuple[type["PackedReader"], tuple[Any, ...]]:
        return type(self), (self._folder, self._parts, self._starts, self.lengths)

    def read(self, track: int, start: int, out: np.ndarray) -> int:
        """Read an excerpt of a track (see :class:`mgc.data.clips.TrackReader`)."""
        samples = excerpt_length(int(self.lengths[track]), start, len(out))
        first = int(self._starts[track]) + start
        part = self._open(int(self._parts[track]))
        out[:samples] = part[first : first + samples]
        out[:samples] *= np.float32(1 / FULL_SCALE)
        return samples

    def _map(self, part: int) -> np.ndarray:
        with _audio_path(self._folder, part).open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(memory, SAMPLE_DTYPE)


class PackedStore:
    """A complete store.

    Attributes:
        index: One row per file (see :mod:`mgc.data.store`).

    Raises:
        MgcError: If the store is damaged, or files have changed since it was packed.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root
        self.index, settings = read_parquet(folder / INDEX)
        options = f"--root {root} --sample_rate {settings.get('sample_rate')}"
        if settings.get("channel") is not None:
            options += f" --channel {settings['channel']}"
        self._repack_hint = f"Run mgc data pack NAME {options} again, or remove {folder}."
        if settings.get("format") != FORMAT_VERSION:
            raise MgcError(f"{folder} has an unknown format. {self._repack_hint}")
        for part, samples in enumerate(np.bincount(self.index["part"], self.index["length"])):
            if not _has_samples(folder, part, int(samples)):
                path = _audio_path(folder, part)
                raise MgcError(f"{path} is missing or truncated. {self._repack_hint}")
        packed_ns = (folder / INDEX).stat().st_mtime_ns
        changed = find_changed(_sources(self.index), root, packed_ns)
        if changed:
            raise MgcError(
                f"{len(changed)} files have changed since {folder} was packed, the first is "
                f"{root / changed[0]}. {self._repack_hint}"
            )
        self._rows = pd.Index(self.index["path"])

    def lengths(self, paths: Sequence[str] | np.ndarray) -> list[int | AudioError]:
        """Return the length of each file in samples, or its error if it has no audio.

        Raises:
            MgcError: If a file is not in the store.
        """
        rows = self.index.iloc[self._find(paths)]
        return [
            AudioError(f"{path}: {reason}") if isinstance(reason, str) else int(length)
            for path, length, reason in zip(paths, rows["length"], rows["reason"], strict=True)
        ]

    def reader(
        self, paths: Sequence[str], offsets: np.ndarray, lengths: np.ndarray
    ) -> PackedReader:
        """Return a reader of tracks.

        Args:
            paths: File of each track, absolute.
            offsets: First sample of each track in its file, of shape (tracks,).
            lengths: Length of each track in samples, of shape (tracks,).
        """
        rows = self.index.iloc[self._find(paths)]
        if ((offsets < 0) | (offsets + lengths > rows["length"].to_numpy())).any():
            raise ValueError("A track exceeds its file.")
        starts = rows["offset"].to_numpy() + offsets
        return PackedReader(self.folder, rows["part"].to_numpy(), starts, lengths)

    def checksums(self, paths: Sequence[str]) -> list[str]:
        """Return the SHA-256 of each file when it was packed."""
        checksums: list[str] = self.index["checksum"].iloc[self._find(paths)].tolist()
        return checksums

    def _find(self, paths: Sequence[str] | np.ndarray) -> np.ndarray:
        rows = self._rows.get_indexer(pd.Index([_relative_path(path, self.root) for path in paths]))
        if (rows < 0).any():
            raise MgcError(
                f"{(rows < 0).sum()} of {len(rows)} files are not in {self.folder}, the first is "
                f"{paths[int(np.argmax(rows < 0))]}. {self._repack_hint}"
            )
        return rows


def store_folder(root: Path, sample_rate: int, channel: int | None = None) -> Path:
    """Return the folder of a store; ``channel=None`` is the mean of all channels."""
    return root / STORES / f"{sample_rate}hz{'' if channel is None else f'-ch{channel}'}"


def find_store(root: Path, sample_rate: int, channel: int | None = None) -> PackedStore | None:
    """Open the store of a data set, or return None if it is missing or incomplete.

    Raises:
        MgcError: If the store is damaged, or files have changed since it was packed.
    """
    folder = store_folder(root, sample_rate, channel)
    if (folder / INDEX).is_file():
        return PackedStore(folder, root)
    if folder.is_dir():
        log.warning("%s: packing is not finished. Reading the audio files instead.", folder)
    return None


def pack(
    catalogue: pd.DataFrame,
    root: Path,
    sample_rate: int,
    channel: int | None = None,
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    check: Check = "sampled",
) -> pd.DataFrame | None:
    """Decode, resample and pack the files that are not packed yet or have changed.

    Once all parts exist, they are merged into a complete store. For machines without a shared disk,
    copy their parts into one folder and pack again to merge them.

    Args:
        catalogue: ``track`` and ``path`` of each track.
        root: Folder of the data set; the store is created in it.
        sample_rate: Sample rate in Hz.
        channel: Index of the channel to pack; the mean of all channels by default.
        workers: Number of decoding processes; 0 decodes in this process.
        shard: Index of this machine, from 0, and the number of machines.
        check: How to compare files (see :mod:`mgc.core.fingerprint`).

    Returns:
        Index of the complete store, or None if parts of other machines are missing.

    Raises:
        MgcError: If the shard is out of range, the store cannot be written, or no file is readable.
    """
    number, count = shard
    if not 0 <= number < count:
        raise MgcError(f"Shard {number}/{count}: the first number must be from 0 to {count - 1}.")
    folder = store_folder(root, sample_rate, channel)
    files = _list_files(catalogue, root)
    settings: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "sample_rate": sample_rate,
        "channel": channel,
        "parts": int(files["part"].iloc[-1]) + 1,
        "files": hash_values(files["path"].tolist()),
    }
    try:
        with output_folder(folder, shard, advice=""):
            outdated = _find_outdated_parts(folder, root, settings, check)
            if outdated:
                (folder / INDEX).unlink(missing_ok=True)
            own_parts = sorted(outdated & set(range(number, settings["parts"], count)))
            if own_parts:
                decoder = _Decoder(files[files["part"].isin(own_parts)], root, sample_rate, channel)
                _write_parts(folder, own_parts, decoder, workers, settings)
                # The last machine to finish merges, so check for parts of other machines.
                outdated = _find_outdated_parts(folder, root, settings, check)
            return None if outdated else _merge_parts(folder, settings)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        signals.raise_received()
        raise MgcError(
            f"{folder}: a decoding process was killed, probably for lack of memory. To resume, run "
            "the command again with fewer workers."
        ) from error


def to_int16(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """Round audio in [-1, 1] to 16 bits, and count the samples clipped to full scale."""
    scaled = np.rint(samples * np.float32(FULL_SCALE))
    limited = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1)
    return limited.astype(SAMPLE_DTYPE), int(np.count_nonzero(limited != scaled))


@dataclass
class _Decoded:
    """Audio of a file and its row of the index."""

    samples: np.ndarray
    row: dict[str, Any]


class _Decoder(Dataset[_Decoded]):
    """Decodes files in the processes of a data loader."""

    def __init__(
        self, files: pd.DataFrame, root: Path, sample_rate: int, channel: int | None
    ) -> None:
        self.files = files
        self.root = root
        self.sample_rate = sample_rate
        self.channel = channel

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> _Decoded:
        row: dict[Any, Any] = self.files.iloc[index].to_dict()
        row |= {"size": -1, "mtime_ns": -1, "checksum": "", "clipped": 0, "reason": None}
        path = os.path.join(self.root, row["path"])
        samples = np.zeros(0, SAMPLE_DTYPE)
        try:
            status = os.stat(path)
            row |= {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
            row["checksum"] = hash_file(path, content_only=True)
            samples, row["clipped"] = self._decode(path)
        except FileNotFoundError:
            row["reason"] = "missing"
        except (AudioError, OSError) as error:
            row["reason"] = str(getattr(error, "strerror", None) or error).removeprefix(f"{path}: ")
        row["length"] = len(samples)
        return _Decoded(samples, row)

    def _decode(self, path: str) -> tuple[np.ndarray, int]:
        info = audio.probe(path)
        audio.check_rates(path, info.sample_rate, self.sample_rate)
        total = audio.resampled_length(info.frames, info.sample_rate, self.sample_rate)
        packed, clipped = np.empty(total, SAMPLE_DTYPE), 0
        block = BLOCK_SECONDS * self.sample_rate
        for start in range(0, total, block):
            samples = audio.read(path, self.sample_rate, start, block, self.channel)
            packed[start : start + block], count = to_int16(samples)
            clipped += count
        return packed, clipped


def _list_files(catalogue: pd.DataFrame, root: Path) -> pd.DataFrame:
    """List the files of a catalogue with their parts, ordered by name."""
    files = catalogue[["track", "path"]].drop_duplicates("path")
    if files.empty:
        raise MgcError(f"{root}: no tracks to pack. Check --root.")
    files = files.assign(path=[_relative_path(path, root) for path in files["path"]])
    files = files.sort_values("path").reset_index(drop=True)
    size = int(np.clip(-(-len(files) // TARGET_PARTS), *PART_FILES_RANGE))
    return files.assign(part=np.arange(len(files)) // size)


def _find_outdated_parts(
    folder: Path, root: Path, settings: dict[str, Any], check: Check
) -> set[int]:
    """Find parts that are missing or damaged, or whose files have changed."""
    parts = set(range(settings["parts"]))
    current = set()
    for part in parts:
        path = _part_path(folder, part)
        try:
            rows, used = read_parquet(path)
        except MgcError:
            continue  # missing or damaged
        samples = used.pop("audio", "")
        if (
            used == settings
            and samples == hash_file(_audio_path(folder, part), check, content_only=True)
            and not find_changed(_sources(rows), root, path.stat().st_mtime_ns, check)
            and not _is_readable_again(rows, root, settings)
        ):
            current.add(part)
    return parts - current


def _is_readable_again(rows: pd.DataFrame, root: Path, settings: dict[str, Any]) -> bool:
    """Return whether a file that could not be packed, such as one on a lost disk, now can."""
    broken = rows[rows["reason"].notna()]
    decoder = _Decoder(broken, root, settings["sample_rate"], settings["channel"])
    return any(decoder[row].row["reason"] is None for row in range(len(broken)))


def _sources(index: pd.DataFrame) -> Iterator[tuple[str, int, int, str]]:
    return index[list(SOURCE_COLUMNS)].itertuples(index=False, name=None)


def _merge_parts(folder: Path, settings: dict[str, Any]) -> pd.DataFrame:
    """Merge the indices of all parts into the store's index."""
    parts = [_part_path(folder, number) for number in range(settings["parts"])]
    index = pd.concat([read_parquet(path)[0] for path in parts], ignore_index=True)
    if index["reason"].notna().all():
        raise MgcError(
            f"{folder}: none of the {len(index)} files is readable. First error: "
            f"{index['path'].iloc[0]}: {index['reason'].iloc[0]}."
        )
    write_parquet(index, folder / INDEX, settings)
    # Remove parts that no longer exist in the data set.
    kept = {folder / INDEX, *parts}
    kept |= {_audio_path(folder, number) for number in range(settings["parts"])}
    for path in set(folder.glob("[!.]*")) - kept:
        path.unlink(missing_ok=True)
    return index


def _write_parts(
    folder: Path, parts: list[int], decoder: _Decoder, workers: int, settings: dict[str, Any]
) -> None:
    loader: WorkerLoader[_Decoded] = WorkerLoader(
        decoder,
        None,
        num_workers=workers,
        worker_init_fn=ignore_stop_signals,
        collate_fn=keep_batch,  # type: ignore[arg-type] # each item is one file, not a batch
    )
    results = iter(loader)
    broken = 0
    with tqdm(total=len(decoder), unit=" files", desc="Packing") as progress:
        for part in parts:
            # The index of a part marks it as complete, so it is written last.
            _part_path(folder, part).unlink(missing_ok=True)
            rows: list[dict[str, Any]] = []
            offset = 0
            digest = hashlib.sha256()
            with replacing(_audio_path(folder, part)) as partial, partial.open("wb") as file:
                for _ in range(int((decoder.files["part"] == part).sum())):
                    decoded: _Decoded = next(results)
                    file.write(decoded.samples.data)
                    digest.update(decoded.samples.data)
                    rows.append({**decoded.row, "offset": offset})
                    offset += len(decoded.samples)
                    broken += decoded.row["reason"] is not None
                    progress.set_postfix(broken=broken, refresh=False)
                    progress.update()
                file.flush()
                os.fsync(file.fileno())
            about = settings | {"audio": digest.hexdigest()}
            write_parquet(pd.DataFrame(rows), _part_path(folder, part), about)


def _audio_path(folder: Path, part: int) -> Path:
    return folder / f"audio-{part:05}.s16"


def _part_path(folder: Path, part: int) -> Path:
    return folder / f"part-{part:05}.parquet"


def _has_samples(folder: Path, part: int, samples: int) -> bool:
    path = _audio_path(folder, part)
    return path.is_file() and path.stat().st_size == samples * SAMPLE_DTYPE.itemsize


def _relative_path(path: str, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()
