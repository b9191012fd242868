"""Measure the cost of fingerprints: of many files, and as a share of the commands that skip work.

    python benchmarks/fingerprints.py [--files 10000] [--size 200000] [--songs 40]

The first table has the time to hash FILES files of SIZE bytes, all in the page cache: the first
time, again without a change, and with ``--check full``. The second has the CPU time of separating,
packing and extracting SONGS synthetic songs of 30 s (22 050 Hz, mono, 16 bit), and the share of
hashing inputs and outputs. CPU time is used, because other programs hardly affect it.
"""

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from mgc.commands.data_pack import pack
from mgc.commands.separate import separate
from mgc.core import fingerprint
from mgc.core.fingerprint import hash_files
from mgc.synthesis.data_set import synthesise
from mgc.transfer.extraction import extract_audio


def write_files(folder: Path, files: int, size: int) -> list[Path]:
    """Write files of random bytes, and set back their times so that their digests are cached."""
    content = np.random.default_rng(0).bytes(size + files)
    paths = [folder / f"{number:06}" for number in range(files)]
    for number, path in enumerate(paths):
        path.write_bytes(content[number : number + size])
    time.sleep(fingerprint.RECENT_NS / 1e9)
    return paths


@contextmanager
def timed_hashes() -> Iterator[list[float]]:
    """Collect the CPU time of each call that hashes or compares files."""
    spent: list[float] = []
    hash_one = fingerprint._hash

    def timed(key: tuple[str, int, int, int, str]) -> str:
        start = time.thread_time()
        digest = hash_one(key)
        spent.append(time.thread_time() - start)
        return digest

    with mock.patch.object(fingerprint, "_hash", timed):
        yield spent


def measure(name: str, work: Callable[[], object]) -> None:
    """Print the CPU time of a command and the share of hashing, first and when up to date."""
    os.environ["MGC_CACHE_DIR"] = tempfile.mkdtemp(dir=os.environ["MGC_CACHE_DIR"])
    for run in ("first", "up to date"):
        with timed_hashes() as spent:
            start = time.process_time()
            work()
            total = time.process_time() - start
        print(f"{name:10} {run:12} {total:8.2f} s {sum(spent):8.3f} s {sum(spent) / total:7.1%}")
        time.sleep(fingerprint.RECENT_NS / 1e9)


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=200_000)
    parser.add_argument("--songs", type=int, default=40)
    args = parser.parse_args()
    logging.getLogger("mgc").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MGC_CACHE_DIR"] = folder
        files = Path(folder, "files")
        files.mkdir()
        paths = write_files(files, args.files, args.size)
        print(f"{args.files} files of {args.size} bytes    wall      CPU")
        for name, check in (("first", "sampled"), ("unchanged", "sampled"), ("full", "full")):
            wall, cpu = time.perf_counter(), time.process_time()
            hash_files(paths, check)  # type: ignore[arg-type] # one of Check
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(f"{name:10} {wall:8.2f} s {cpu:8.2f} s")
        root = Path(folder, "songs")
        synthesise(root, -(-args.songs // 10), 30.0, progress=False)
        time.sleep(fingerprint.RECENT_NS / 1e9)
        out = Path(folder, "components")
        print(f"\n{'command':10} {'':12}    total   hashing   share")
        measure("separate", lambda: separate([str(root)], str(out)))
        measure("pack", lambda: pack("gtzan", str(root), 12000, workers=0))
        table = str(out / "features.parquet")
        measure(
            "extract",
            lambda: extract_audio([str(root / "genres")], table, model="mfcc", accelerator="cpu"),
        )


if __name__ == "__main__":
    main()
