"""A packed store: all audio of a data set, decoded and resampled once, read at memory speed.

A store is the folder ``packed/<sample rate>hz`` of a data set, or ``packed/<sample rate>hz-ch<k>``
for one channel of it, with

* ``audio-00000.s16`` and so on: int16 samples, little-endian, mono, of one file after another. The
  parts have up to 2000 files each (2.6 GB of 30 s clips at 22 050 Hz)
* ``index.parquet``: a row per file: ``track`` (the first one in it), ``path`` (relative to the data
  set's folder), ``part``, ``offset`` and ``length`` in samples, ``clipped`` (samples beyond full
  scale), ``reason`` why a broken file has no audio, and ``size``, ``mtime_ns`` and ``checksum`` of
  the source. It is written last: without it the store is not finished.

Samples are rounded to 16 bits, without dither: the error of 2⁻¹⁶ at most lies as low as that of the
16-bit files and MP3s that music comes as, and a 16-bit mono file that keeps its rate is kept bit
for bit.

LitData and WebDataset stream shards in their order and hand out whole samples, so that a clip of
3 s from a song costs the song; zarr copies chunks through its codecs, and a column of Arrow holds a
song as one value behind a reader object. Of a memory map one needs the offsets alone, and it is the
only one of these that copies no more than the clip.

The parts depend on the files and nothing else. So packing goes on where it stopped, several
machines share it, and neither changes a byte.
"""

import hashlib
import logging
import mmap
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mgc.core.parquet import read_parquet, write_parquet
from mgc.core.writing import replacing
from mgc.data import audio
from mgc.data.audio import AudioError
from mgc.data.clips import keep_batch
from mgc.errors import MgcError

log = logging.getLogger(__name__)

FORMAT = 1
INDEX = "index.parquet"

#: Parts of a small set are small too, so that machines can share them and little is lost by an
#: interruption. A million tracks are 500 parts, which one process can keep open.
USUAL_PARTS = 64
PART_FILES = (8, 2000)
OPEN_PARTS = 512

FULL_SCALE = 32768
SAMPLE = np.dtype("<i2")

#: Long files are decoded in blocks of this length, in seconds, to bound memory.
BLOCK_SECONDS = 300

#: Bytes at the beginning, middle and end of a file that its checksum covers.
CHECKED_BYTES = 16384


class PackedReader:
    """Reads tracks from a packed store (see :class:`mgc.data.clips.TrackReader`).

    Parts are mapped into memory when they are first read, in each process by itself, and shared
    by all processes of a machine. A copy for another process carries no audio.

    Attributes:
        lengths: Length of each track in samples, of shape (tracks,).
    """

    def __init__(
        self, folder: Path, parts: np.ndarray, starts: np.ndarray, lengths: np.ndarray
    ) -> None:
        """Initialize a new reader.

        Args:
            folder: Folder of the store.
            parts: Number of each track's part, of shape (tracks,).
            starts: First sample of each track in its part, of shape (tracks,).
            lengths: Length of each track in samples, of shape (tracks,).
        """
        self.lengths = lengths
        self._folder = folder
        self._parts = parts
        self._starts = starts
        self._open = lru_cache(OPEN_PARTS)(self._map)

    def __reduce__(self) -> tuple[type["PackedReader"], tuple[Any, ...]]:
        return type(self), (self._folder, self._parts, self._starts, self.lengths)

    def read(self, track: int, start: int, out: np.ndarray) -> int:
        """Read a part of a track (see :class:`mgc.data.clips.TrackReader`)."""
        samples = min(len(out), int(self.lengths[track]) - start)
        first = int(self._starts[track]) + start
        part = self._open(int(self._parts[track]))
        out[:samples] = part[first : first + samples]
        out[:samples] *= np.float32(1 / FULL_SCALE)
        return samples

    def _map(self, part: int) -> np.ndarray:
        with _audio_path(self._folder, part).open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(memory, SAMPLE)


class PackedStore:
    """A finished store.

    Attributes:
        folder: Folder of the store.
        index: A row per file (see :mod:`mgc.data.store`).
    """

    def __init__(self, folder: Path, root: Path) -> None:
        """Open a store.

        Args:
            folder: Folder of the store.
            root: Folder of the data set.

        Raises:
            MgcError: If the store is damaged, or files have changed since it was packed.
        """
        self.folder = folder
        self.root = root
        self.index, about = read_parquet(folder / INDEX)
        again = (
            f"Run mgc data pack NAME --root {root} --sample_rate {about.get('sample_rate')} again"
        )
        if about.get("channel") is not None:
            again += f" with --channel {about['channel']}"
        self._again = f"{again}, or remove {folder}."
        if about.get("format") != FORMAT:
            raise MgcError(f"{folder} has another format. {self._again}")
        for part, samples in enumerate(np.bincount(self.index["part"], self.index["length"])):
            if not _has_samples(folder, part, int(samples)):
                path = _audio_path(folder, part)
                raise MgcError(f"{path} is missing or cut short. {self._again}")
        changed = find_changed(self.index, root)
        if changed:
            raise MgcError(
                f"{len(changed)} files have changed since {folder} was packed, the first: "
                f"{root / changed[0]}. {self._again}"
            )
        self._rows = pd.Index(self.index["path"])

    def lengths(self, paths: Sequence[str] | np.ndarray) -> list[int | AudioError]:
        """Look up files.

        Args:
            paths: Absolute paths.

        Returns:
            Length of each file in samples, or why it has no audio.

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
        """Make the reader of tracks.

        Args:
            paths: File of each track, absolute.
            offsets: First sample of each track in its file, of shape (tracks,).
            lengths: Length of each track in samples, of shape (tracks,).

        Returns:
            The reader.
        """
        rows = self.index.iloc[self._find(paths)]
        starts = rows["offset"].to_numpy() + offsets
        return PackedReader(self.folder, rows["part"].to_numpy(), starts, lengths)

    def _find(self, paths: Sequence[str] | np.ndarray) -> np.ndarray:
        rows = self._rows.get_indexer(pd.Index([_relative(path, self.root) for path in paths]))
        if (rows < 0).any():
            raise MgcError(
                f"{(rows < 0).sum()} of {len(rows)} files are not in {self.folder}, the first: "
                f"{paths[int(np.argmax(rows < 0))]}. {self._again}"
            )
        return rows


def store_folder(root: Path, sample_rate: int, channel: int | None = None) -> Path:
    """Name the folder of a store.

    Args:
        root: Folder of the data set.
        sample_rate: Rate in Hz.
        channel: Number of the channel that was packed; by default the mean of all channels.

    Returns:
        The folder.
    """
    return root / "packed" / f"{sample_rate}hz{'' if channel is None else f'-ch{channel}'}"


def find_store(root: Path, sample_rate: int, channel: int | None = None) -> PackedStore | None:
    """Open the store of a data set, if there is one.

    Args:
        root: Folder of the data set.
        sample_rate: Rate in Hz.
        channel: Number of the channel; by default the mean of all channels.

    Returns:
        The store, or None if there is none or packing has not finished.

    Raises:
        MgcError: If the store is damaged, or files have changed since it was packed.
    """
    folder = store_folder(root, sample_rate, channel)
    if (folder / INDEX).is_file():
        return PackedStore(folder, root)
    if folder.is_dir():
        log.warning("%s: packing has not finished. The audio files are read instead.", folder)
    return None


def pack(
    catalogue: pd.DataFrame,
    root: Path,
    sample_rate: int,
    channel: int | None = None,
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
) -> pd.DataFrame | None:
    """Decode, resample and pack files; only what is not packed yet, or has changed since.

    When no part is missing any more, the parts are merged into a finished store. Where machines do
    not share a disk, bring their parts into one folder and pack once more to merge them.

    Args:
        catalogue: ``track`` and ``path`` of each track.
        root: Folder of the data set, in which the store is made.
        sample_rate: Rate in Hz.
        channel: Number of the channel to pack; by default the mean of all channels.
        workers: Processes that decode; 0 decodes in this one.
        shard: Number of this machine, from 0, and how many machines share the work.

    Returns:
        The index of the finished store; None if parts of other machines are missing.

    Raises:
        MgcError: If the shard is out of range, the store cannot be written, or no file can be read.
    """
    number, count = shard
    if not 0 <= number < count:
        raise MgcError(f"Shard {number}/{count}: the first number goes from 0 to {count - 1}.")
    folder = store_folder(root, sample_rate, channel)
    files = _list_files(catalogue, root)
    about: dict[str, Any] = {
        "format": FORMAT,
        "sample_rate": sample_rate,
        "channel": channel,
        "parts": int(files["part"].iloc[-1]) + 1,
        "files": hashlib.sha256("\n".join(files["path"]).encode()).hexdigest(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        outdated = _outdated_parts(folder, root, about)
        if outdated:
            (folder / INDEX).unlink(missing_ok=True)
        mine = sorted(outdated & set(range(number, about["parts"], count)))
        if mine:
            decoder = _Decoder(files[files["part"].isin(mine)], root, sample_rate, channel)
            _write_parts(folder, mine, decoder, workers, about)
            # Other machines have gone on meanwhile: the last one to finish merges.
            outdated = _outdated_parts(folder, root, about)
        return None if outdated else _merge(folder, about)
    except OSError as error:
        raise MgcError(f"{folder} cannot be written: {error.strerror}.") from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise MgcError(
            f"{folder}: a process that decodes was killed, mostly for lack of memory. Run the "
            "command again with fewer workers: it goes on where it stopped."
        ) from error


def find_changed(index: pd.DataFrame, root: Path) -> list[str]:
    """Find files that are not what they were when they were packed.

    Files that are gone are no change: the store stands for them. A file of the same size and time
    is taken as the same; one of another time is compared by its checksum.

    Args:
        index: Index of a store.
        root: Folder of the data set.

    Returns:
        Paths relative to ``root``.
    """
    columns = ["path", "size", "mtime_ns", "checksum"]
    rows = list(index[columns].itertuples(index=False, name=None))

    def search(rows: list[tuple[str, int, int, str]]) -> list[str]:
        return [row[0] for row in rows if _has_changed(os.path.join(root, row[0]), *row[1:])]

    # Threads: on a network's disk one waits for each file.
    with ThreadPoolExecutor(16) as pool:
        chunks = pool.map(search, (rows[i : i + 1000] for i in range(0, len(rows), 1000)))
        return [path for chunk in chunks for path in chunk]


def to_int16(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """Round audio to 16 bits.

    Args:
        samples: Audio, full scale being -1 to 1.

    Returns:
        Int16 of the same shape, and how many samples were beyond full scale and are clipped.
    """
    scaled = np.rint(samples * np.float32(FULL_SCALE))
    limited = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1)
    return limited.astype(SAMPLE), int(np.count_nonzero(limited != scaled))


@dataclass
class _Decoded:
    """A file's audio, and what the index says of it."""

    samples: np.ndarray
    row: dict[str, Any]


class _Decoder(Dataset[_Decoded]):
    """Decodes files, in the processes of a data loader."""

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
        samples = np.zeros(0, SAMPLE)
        try:
            status = os.stat(path)
            row |= {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
            row["checksum"] = _checksum(path, status.st_size)
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
        packed, clipped = np.empty(total, SAMPLE), 0
        block = BLOCK_SECONDS * self.sample_rate
        for start in range(0, total, block):
            samples = audio.read(path, self.sample_rate, start, block, self.channel)
            if not np.isfinite(samples).all():
                raise AudioError(f"{path}: holds samples that are not numbers")
            packed[start : start + block], count = to_int16(samples)
            clipped += count
        return packed, clipped


def _list_files(catalogue: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Files of a catalogue in an order that depends on their names alone, and their parts."""
    files = catalogue[["track", "path"]].drop_duplicates("path")
    if files.empty:
        raise MgcError(f"{root}: no tracks to pack. Check --root.")
    files = files.assign(path=[_relative(path, root) for path in files["path"]])
    files = files.sort_values("path").reset_index(drop=True)
    size = int(np.clip(-(-len(files) // USUAL_PARTS), *PART_FILES))
    return files.assign(part=np.arange(len(files)) // size)


def _outdated_parts(folder: Path, root: Path, about: dict[str, Any]) -> set[int]:
    """Parts that are not packed, or whose files or audio are no longer what was packed."""
    read = (read_parquet(path) for path in folder.glob("part-*.parquet"))
    packed = {int(rows["part"].iloc[0]): rows for rows, known in read if known == about}
    return {
        part
        for part in range(about["parts"])
        if part not in packed
        or not _has_samples(folder, part, int(packed[part]["length"].sum()))
        or find_changed(packed[part], root)
    }


def _merge(folder: Path, about: dict[str, Any]) -> pd.DataFrame:
    """Write the index of all parts."""
    parts = [_part_path(folder, number) for number in range(about["parts"])]
    index = pd.concat([read_parquet(path)[0] for path in parts], ignore_index=True)
    if index["reason"].notna().all():
        raise MgcError(
            f"{folder}: none of {len(index)} files could be read, the first: "
            f"{index['path'].iloc[0]}: {index['reason'].iloc[0]}."
        )
    write_parquet(index, folder / INDEX, about)
    # What is left of runs that were killed, and of parts that there are no more.
    kept = {folder / INDEX, *parts}
    kept |= {_audio_path(folder, number) for number in range(about["parts"])}
    for path in set(folder.iterdir()) - kept:
        path.unlink(missing_ok=True)
    return index


def _write_parts(
    folder: Path, parts: list[int], decoder: _Decoder, workers: int, about: dict[str, Any]
) -> None:
    loader = DataLoader(decoder, None, num_workers=workers, collate_fn=keep_batch)  # type: ignore[arg-type] # a file is no batch
    results = iter(loader)
    broken = 0
    with tqdm(total=len(decoder), unit=" files", desc="Packing") as progress:
        for part in parts:
            # Without its index, which is written after its audio, a part counts as not packed.
            _part_path(folder, part).unlink(missing_ok=True)
            rows: list[dict[str, Any]] = []
            offset = 0
            with replacing(_audio_path(folder, part)) as partial, partial.open("wb") as file:
                for _ in range(int((decoder.files["part"] == part).sum())):
                    decoded: _Decoded = next(results)
                    file.write(decoded.samples.data)
                    rows.append({**decoded.row, "offset": offset})
                    offset += len(decoded.samples)
                    broken += decoded.row["reason"] is not None
                    progress.set_postfix(broken=broken, refresh=False)
                    progress.update()
                file.flush()
                os.fsync(file.fileno())
            write_parquet(pd.DataFrame(rows), _part_path(folder, part), about)


def _audio_path(folder: Path, part: int) -> Path:
    return folder / f"audio-{part:05}.s16"


def _part_path(folder: Path, part: int) -> Path:
    return folder / f"part-{part:05}.parquet"


def _has_samples(folder: Path, part: int, samples: int) -> bool:
    path = _audio_path(folder, part)
    return path.is_file() and path.stat().st_size == samples * SAMPLE.itemsize


def _relative(path: str, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _has_changed(path: str, size: int, mtime_ns: int, checksum: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    if status.st_size != size:
        return True
    return status.st_mtime_ns != mtime_ns and _checksum(path, size) != checksum


def _checksum(path: str, size: int) -> str:
    """Tell files of one size apart, in the time that opening them takes."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        for start in (0, size // 2, max(0, size - CHECKED_BYTES)):
            file.seek(start)
            digest.update(file.read(CHECKED_BYTES))
    return digest.hexdigest()
