"""Compare reading beat-aligned MSD features from the packed store and from HDF5 files.

    python benchmarks/msd_beats.py --root FOLDER [--copies 30]

Prints tracks per second and the ratio to h5py, which opens each file and aligns segments to beats.
Estimates time and size for packing a million tracks. The target is a ratio of at least 100.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from mgc.data.msd.beat_store import BeatStore, pack
from mgc.data.msd.beats import beat_align, normalise_timbre
from mgc.data.msd.files import find_tracks, read_track

#: Target for the speed relative to h5py.
MIN_RATIO = 100.0
MILLION = 1_000_000


def align(
    segments: np.ndarray,
    beats: np.ndarray,
    chroma: np.ndarray,
    timbre: np.ndarray,
    duration: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return chroma and normalised timbre per beat."""
    timbre = normalise_timbre(beat_align(segments, beats, timbre, duration))
    return beat_align(segments, beats, chroma, duration), timbre


def read_h5py(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a track file with h5py."""
    with h5py.File(path) as file:
        analysis = file["analysis"]
        return align(
            analysis["segments_start"][:],
            analysis["beats_start"][:],
            analysis["segments_pitches"][:],
            analysis["segments_timbre"][:],
            float(analysis["songs"]["duration"][0]),
        )


def read_mgc(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a track file with all metadata, as packing does."""
    track = read_track(path)
    return align(
        track.segments_start, track.beats_start, track.chroma, track.timbre, track.duration
    )


def rates_in_turns(
    readers: dict[str, Callable[[int], object]], orders: dict[str, np.ndarray], rounds: int
) -> dict[str, float]:
    """Return tracks per second of each reader: the best of alternating rounds."""
    best = dict.fromkeys(readers, float("inf"))
    for _ in range(rounds):
        for name, read in readers.items():
            start = time.perf_counter()
            for track in orders[name]:
                read(track)
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: len(orders[name]) / seconds for name, seconds in best.items()}


def copy_tracks(root: Path, folder: Path, copies: int) -> None:
    """Copy each track file under several names, to fill more than one part of the store."""
    for path in find_tracks(root):
        for copy in range(copies):
            name = f"TR{copy:05d}{path.stem[7:]}"
            target = folder / f"{name}.h5"
            shutil.copy(path, target)
            with h5py.File(target, "a") as file:
                row = file["analysis/songs"][0]
                row["track_id"] = name.encode()
                file["analysis/songs"][0] = row


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder with track files")
    parser.add_argument("--copies", type=int, default=30, help="copies of each file to pack")
    parser.add_argument("--rounds", type=int, default=10, help="number of rounds; the best counts")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    files = find_tracks(args.root)
    order = np.random.default_rng(0).permutation(len(files))
    with tempfile.TemporaryDirectory() as folder:
        store_path = Path(folder, "store")
        pack(args.root, store_path)
        store = BeatStore(store_path)
        readers: dict[str, Callable[[int], object]] = {
            "h5py": lambda i: read_h5py(files[i]),
            "read_track, with metadata": lambda i: read_mgc(files[i]),
            "packed store": store.read,
        }
        orders = dict.fromkeys(readers, order) | {"packed store": np.tile(order, 30)}
        rates = rates_in_turns(readers, orders, args.rounds)
        per_track = (store_path / "features.npy").stat().st_size / len(files)
        original = sum(path.stat().st_size for path in files) / len(files)
        many = Path(folder, "many")
        many.mkdir()
        copy_tracks(args.root, many, args.copies)
        start = time.perf_counter()
        pack(many, Path(folder, "many_store"), processes=args.processes)
        seconds = (time.perf_counter() - start) / (len(files) * args.copies)
    print(f"{len(files)} tracks of {store.beats.mean():.0f} beats\n")
    print(f"{'':28}{'tracks/s':>10}{'ratio':>8}")
    for name, value in rates.items():
        print(f"{name:28}{value:10.0f}{value / rates['h5py']:8.1f}")
    ratio = rates["packed store"] / rates["h5py"]
    print(f"\ntarget {MIN_RATIO:.0f}: {'reached' if ratio >= MIN_RATIO else 'MISSED'}")
    print(
        f"a million tracks: {per_track * MILLION / 1e9:.1f} GB of features from "
        f"{original * MILLION / 1e9:.0f} GB of files, packed in "
        f"{seconds * MILLION / 3600:.2f} h by {args.processes} processes (files in cache)"
    )


if __name__ == "__main__":
    main()
