"""Compare random access to clips in the packed store, in audio files and in memory.

    python benchmarks/packed_store.py [FOLDER]

Synthesises 20 tracks of 3 minutes in FOLDER (1.5 GB; default: a temporary folder), as MP3
(44 100 Hz, stereo) and WAV (22 050 Hz, mono). The upper bound is copying the same number of samples
in memory from int16 to float32 on one thread. All files are in the page cache. Reports the best of
three rounds of CPU time, which other programs hardly affect.

The second table shows the memory of a worker that has read a whole store: anonymous memory, its
share of mapped pages (PSS; a page mapped by eight workers counts an eighth) and resident memory
(RSS). The system can reclaim mapped pages.

The third table extrapolates packing from one core to full datasets.
"""

import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

from mgc.data import audio
from mgc.data.clips import ClipDataset, FileReader, TrackReader
from mgc.data.store import PackedReader, PackedStore, pack, store_folder

RATE = 22050
TRACKS, SECONDS = 20, 180
BATCH = 32
#: Numbers of previews of 29 s; first the tracks of the Last.fm split (Choi et al., ISMIR 2017).
FULL_SETS = {"msd_tagging": 244_224, "a million tracks": 1_000_000}


def make_files(root: Path) -> dict[str, list[str]]:
    """Write the tracks as MP3 and WAV."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, (44100 * SECONDS, 2)).cumsum(axis=0)
    noise = 0.5 * noise / np.abs(noise).max()
    files: dict[str, list[str]] = {"mp3": [], "wav": []}
    for kind, rate, step, channels in (("mp3", 44100, 1, 2), ("wav", RATE, 2, 1)):
        for track in range(TRACKS):
            path = root / kind / f"{track:03}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                samples = np.roll(noise, track * 1000, axis=0)[::step, :channels]
                soundfile.write(path, samples, rate)
            files[kind].append(str(path))
    return files


def clips_per_second(reader: TrackReader, seconds: float) -> float:
    """Measure reading random clips in batches, as in training, in one process."""
    tracks = np.arange(len(reader.lengths))
    clip = round(seconds * RATE)
    dataset = ClipDataset(
        reader, tracks, torch.zeros(len(tracks)), clip, clip, random=True, clips_per_track=1000
    )
    rng = np.random.default_rng(0)
    keys = [
        [(0, int(index)) for index in rng.integers(len(dataset), size=BATCH)] for _ in range(100)
    ]
    return rate(lambda i: dataset.__getitems__(keys[i % 100])) * BATCH


def copies_per_second(seconds: float) -> float:
    """Measure copying random clips of an array in memory, int16 to float32, in batches."""
    source = np.zeros(RATE * TRACKS * SECONDS, np.int16)
    source += 1
    clip = round(seconds * RATE)
    starts = np.random.default_rng(0).integers(len(source) - clip, size=(100, BATCH))

    def copy(i: int) -> None:
        batch = np.empty((BATCH, clip), np.float32)
        for row, start in enumerate(starts[i % 100]):
            batch[row] = source[start : start + clip]

    return rate(copy) * BATCH


def rate(work: Callable[[int], object]) -> float:
    """Return calls per second of CPU time."""
    work(0)
    start, count = time.process_time(), 0
    while time.process_time() - start < 1:
        work(count)
        count += 1
    return count / (time.process_time() - start)


def worker_memory(reader: PackedReader, pipe: multiprocessing.connection.Connection) -> None:
    """Read every track of a store and send anonymous, PSS and RSS memory in MB."""
    out = np.empty(RATE * SECONDS, np.float32)
    for track in range(len(reader.lengths)):
        reader.read(track, 0, out)
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, kilobytes, _ = line.split()
        fields[name.rstrip(":")] = int(kilobytes) / 1000
    pipe.send((fields["Anonymous"], fields["Pss_File"], fields["Rss"]))


def make_store(root: Path, tracks: int) -> PackedReader:
    """Make a store of noise, without audio files."""
    folder = root / f"noise-{tracks}"
    folder.mkdir(exist_ok=True)
    samples = RATE * SECONDS
    track = np.random.default_rng(0).integers(-999, 999, samples, dtype=np.int16).tobytes()
    with (folder / "audio-00000.s16").open("wb") as file:
        for _ in range(tracks):
            file.write(track)
    return PackedReader(
        folder,
        np.zeros(tracks, np.int64),
        np.arange(tracks) * samples,
        np.full(tracks, samples),
    )


def main(root: Path) -> None:
    """Measure and print tables."""
    torch.set_num_threads(1)
    files = make_files(root)
    readers: dict[str, TrackReader] = {}
    speeds = {}
    for kind, paths in files.items():
        folder = root / kind
        catalogue = pd.DataFrame({"track": paths, "path": paths})
        shutil.rmtree(store_folder(folder, RATE), ignore_errors=True)
        start = time.process_time()
        pack(catalogue, folder, RATE)
        speeds[kind] = TRACKS * SECONDS / (time.process_time() - start)
        probes = [audio.probe(path) for path in paths]
        lengths = np.array(
            [audio.resampled_length(p.frames, p.sample_rate, RATE) for p in probes], np.int64
        )
        readers[f"decode {kind}"] = FileReader(paths, lengths, RATE)
        store = PackedStore(store_folder(folder, RATE), folder)
        readers["packed store"] = store.reader(paths, np.zeros(len(paths), np.int64), lengths)
    print(f"\n{'clips/s':20}{'29 s':>10}{'':>8}{'3 s':>10}")
    found = {name: np.zeros(2) for name in ("copy (upper bound)", *sorted(readers, reverse=True))}
    for _ in range(3):
        for name, best in found.items():
            for column, seconds in enumerate((29, 3)):
                if name in readers:
                    speed = clips_per_second(readers[name], seconds)
                else:
                    speed = copies_per_second(seconds)
                best[column] = max(best[column], speed)
    limits = found["copy (upper bound)"]
    for name, (long, short) in found.items():
        shares = [long / limits[0], short / limits[1]]
        print(f"{name:20}{long:10.1f}{shares[0]:8.2%}{short:10.1f}{shares[1]:8.2%}")

    print(f"\n{'store':>10}{'anonymous':>10}{'PSS file':>10}{'RSS':>10}  MB per worker")
    context = multiprocessing.get_context("spawn")
    for tracks in (10, 40, 80):
        reader = make_store(root, tracks)
        mine, theirs = context.Pipe()
        process = context.Process(target=worker_memory, args=(reader, theirs))
        process.start()
        memory = mine.recv()
        process.join()
        size = tracks * SECONDS * RATE * 2 / 1e6
        print(f"{size:7.0f} MB" + "".join(f"{value:10.0f}" for value in memory))

    print("\npacking per core; 29 s per track at 22 050 Hz")
    for kind, speed in speeds.items():
        print(f"{kind}: {speed:.0f} s of audio per second")
        for name, clips in FULL_SETS.items():
            hours = clips * 29 / speed / 3600
            size = clips * 29 * RATE * 2 / 1e9
            print(
                f"  {name:18}{size:8.0f} GB {hours:8.1f} h on 1 core, {hours / 16:.1f} h on 16, "
                f"{hours / 64:.1f} h on 4 machines of 16"
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
