"""Measure what true lengths and exact excerpts cost, by format, against libsndfile alone.

    python benchmarks/decoding.py [--songs 1000]

Prints the time of random 3 s clips relative to a plain seek and read of libsndfile, which is wrong
for MP3 and for the last page of Ogg, and the time and memory of reading the lengths of many MP3s:
the first time, and from the cache.
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from mgc.data import audio

RATE = 22050
SECONDS = 30
CLIP = 3 * RATE
CLIPS = 200
ROUNDS = 5
FORMATS = (
    ("wav", "WAV", "PCM_16"),
    ("flac", "FLAC", "PCM_16"),
    ("ogg", "OGG", "VORBIS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
)


def plain(path: str, start: int) -> np.ndarray:
    """Seek and read with libsndfile."""
    with soundfile.SoundFile(path) as file:
        file.seek(start)
        return file.read(CLIP, dtype="float32", always_2d=True)[:, 0]


def exact(path: str, start: int) -> np.ndarray:
    """Read with mgc."""
    return audio.read(path, RATE, start, CLIP)


def cpu_seconds(read: Callable[[str, int], np.ndarray], path: str, starts: np.ndarray) -> float:
    """Return the CPU time of reading all clips."""
    begin = time.process_time()
    for start in starts:
        read(path, int(start))
    return time.process_time() - begin


def largest_error(read: Callable[[str, int], np.ndarray], path: str, starts: np.ndarray) -> float:
    """Return the largest difference from the same part of the decoded file."""
    whole = soundfile.read(path, dtype="float32")[0]
    return max(
        float(np.abs(read(path, int(start)) - whole[start : start + CLIP]).max())
        for start in starts
    )


def write_song(folder: Path) -> dict[str, str]:
    """Write the same music in every format."""
    rng = np.random.default_rng(0)
    seconds = np.arange(SECONDS * RATE) / RATE
    music = sum(0.2 * np.sin(2 * np.pi * f * seconds * (1 + seconds / 60)) for f in (220, 331, 660))
    music = (music + rng.normal(0, 0.03, len(seconds))).astype(np.float32)
    paths = {}
    for suffix, container, subtype in FORMATS:
        paths[suffix] = str(folder / f"song.{suffix}")
        with soundfile.SoundFile(paths[suffix], "w", RATE, 1, subtype, format=container) as file:
            # libsndfile fails on large blocks of Vorbis.
            for start in range(0, len(music), 4096):
                file.write(music[start : start + 4096])
    return paths


def measure_clips(paths: dict[str, str]) -> None:
    """Print the cost of clips."""
    starts = np.random.default_rng(1).integers(0, SECONDS * RATE - CLIP, CLIPS)
    print("| format | libsndfile, ms a clip | mgc | ratio | largest error, libsndfile | mgc |")
    print("| --- | --- | --- | --- | --- | --- |")
    for suffix, path in paths.items():
        exact(path, 0)  # builds the index
        times = {plain: float("inf"), exact: float("inf")}
        for _ in range(ROUNDS):
            for read in times:
                times[read] = min(times[read], cpu_seconds(read, path, starts))
        errors = [largest_error(read, path, starts[:50]) for read in times]
        before, after = (1000 * value / CLIPS for value in times.values())
        print(
            f"| {suffix} | {before:.3f} | {after:.3f} | {after / before:.2f} | {errors[0]:.1g} | "
            f"{errors[1]:.1g} |"
        )


def measure_setup(song: str, songs: int, folder: Path) -> None:
    """Print the time and memory of reading the lengths of many MP3s."""
    os.environ["MGC_CACHE_DIR"] = str(folder / "cache")
    paths = []
    for number in range(songs):
        paths.append(str(folder / f"{number}.mp3"))
        shutil.copyfile(song, paths[-1])
    for name in ("first time", "from the cache"):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin, cpu = time.perf_counter(), time.process_time()
        audio.probe_all(paths)
        wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(
            f"{songs} MP3s of {SECONDS} s, {name}: {wall:.1f} s ({cpu:.1f} s CPU), {grown:.0f} MB"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=1000, help="number of MP3s")
    songs = parser.parse_args().songs
    with tempfile.TemporaryDirectory() as folder:
        paths = write_song(Path(folder))
        measure_clips(paths)
        measure_setup(paths["mp3"], songs, Path(folder))


if __name__ == "__main__":
    main()
