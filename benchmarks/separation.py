"""Compare harmonic/percussive separation with librosa (SciPy) on clips of 30 s.

    python benchmarks/separation.py [--clips N] [--rounds N] [--compile] [--audio FILE ...]

Uses one core and alternating rounds; the CPU time of the best round counts. Spectrograms have 1025
bins and 1292 frames (2048 samples, hop 512, 22 050 Hz). The lower bound for a median filter is the
memory traffic of reading and writing a spectrogram once.
"""

import argparse
import os
import time
from collections.abc import Callable

# Before any library starts its threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import librosa
import numpy as np
import torch
from scipy.ndimage import median_filter as scipy_filter

from mgc.features.separation import HarmonicPercussive, median_filter

RATE, LENGTH = 22050, 31

#: Target for the speed of the median filters relative to librosa.
MIN_RATIO = 30.0


def synthesise(seed: int, seconds: float = 30.0) -> np.ndarray:
    """Synthesise chords that change with the beat, noise bursts and a noise floor."""
    rng = np.random.default_rng(seed)
    time_ = np.arange(int(seconds * RATE)) / RATE
    audio = 0.002 * rng.standard_normal(len(time_))
    audio += 0.1 * np.exp(-40 * (time_ % 0.5)) * rng.standard_normal(len(time_))
    for start in range(int(seconds)):
        here = (time_ >= start) & (time_ < start + 1)
        for interval in (0, 4, 7, 12):
            pitch = 110 * 2 ** ((rng.integers(12) + interval) / 12)
            for harmonic in range(1, 10):
                audio[here] += 0.05 / harmonic * np.sin(2 * np.pi * pitch * harmonic * time_[here])
    return audio.astype(np.float32)


def measure(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the CPU time of the best round of each function, in seconds."""
    best: dict[str, float] = {}
    for _ in range(rounds + 1):  # the first warms up
        for name, run in functions.items():
            start = time.process_time()
            run()
            spent = time.process_time() - start
            best[name] = min(best[name], spent) if name in best else float("inf")
    return best


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=8, help="clips in the batch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")
    parser.add_argument("--audio", nargs="+", help="audio files; default: synthesised music")
    args = parser.parse_args()
    torch.set_num_threads(1)

    if args.audio:
        clips = [librosa.load(file, sr=RATE, duration=29.9)[0] for file in args.audio]
    else:
        clips = [synthesise(seed) for seed in range(args.clips)]
    spectra = [np.abs(librosa.stft(clip)) for clip in clips]
    one, batch = torch.from_numpy(spectra[0]), torch.from_numpy(np.stack(spectra))
    count = len(spectra)
    module = HarmonicPercussive(LENGTH, LENGTH)

    def filters(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return median_filter(x, LENGTH, -1), median_filter(x, LENGTH, -2)

    contestants: dict[str, Callable[[], object]] = {
        "librosa's filters (SciPy)": lambda: (
            scipy_filter(spectra[0], (1, LENGTH), mode="reflect"),
            scipy_filter(spectra[0], (LENGTH, 1), mode="reflect"),
        ),
        "mgc's filters": lambda: filters(one),
        f"mgc's filters, batch of {count}": lambda: filters(batch),
        "traffic of two filters": lambda: (one.clone(), one.clone()),
        f"traffic, batch of {count}": lambda: (batch.clone(), batch.clone()),
        "librosa.decompose.hpss": lambda: librosa.decompose.hpss(spectra[0]),
        "HarmonicPercussive": lambda: module(one),
        f"HarmonicPercussive, batch of {count}": lambda: module(batch),
    }
    if args.compile:
        start = time.perf_counter()
        compiled = torch.compile(filters, dynamic=False)
        same = all(map(torch.equal, compiled(one), filters(one)))
        print(f"compiled in {time.perf_counter() - start:.0f} s, bit-identical: {same}")
        contestants["mgc's filters, compiled"] = lambda: compiled(one)

    # SciPy's filters take a second, so run fewer rounds.
    slow = {name for name in contestants if "librosa" in name}
    best = measure({name: contestants[name] for name in slow}, max(1, args.rounds // 3))
    best |= measure({n: c for n, c in contestants.items() if n not in slow}, args.rounds)

    expected = librosa.decompose.hpss(spectra[0])
    found = module(one)
    print(f"{one.shape[0]} bins, {one.shape[1]} frames; one core; milliseconds per clip")
    for name in contestants:
        share = count if "batch" in name else 1
        peer = best[
            "librosa.decompose.hpss" if "ercussive" in name else "librosa's filters (SciPy)"
        ]
        ratio = peer / best[name] * share
        row = f"  {name:36}{best[name] * 1e3 / share:9.2f}{ratio:8.1f} x librosa"
        if "mgc" in name:
            traffic = best[f"traffic, batch of {count}" if share > 1 else "traffic of two filters"]
            row += f", {best[name] / traffic:.1f} x the traffic"
            row += f", target {MIN_RATIO:g}: {'reached' if ratio >= MIN_RATIO else 'missed'}"
        print(row)
    for name, ours, theirs in zip(("harmonic", "percussive"), found, expected, strict=True):
        error = np.abs(ours.numpy() - theirs).sum() / theirs.sum()
        correlation = np.corrcoef(ours.flatten(), theirs.flatten())[0, 1]
        print(f"  {name}: correlation {correlation:.7f}, relative error {error:.1e}")


if __name__ == "__main__":
    main()
