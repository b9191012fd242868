"""Measure the search for repeated recordings: copies found, false pairs, time.

    python benchmarks/recordings.py --clips data/gtzan --distractors 1000 --tracks 10000

* Copies: each of 100 clips (of ``--clips``, else synthetic) in 17 other forms, among the clips,
  their copies and synthetic distractors. Reports the share of copies that are found, the smallest
  number of landmarks in common, and pairs of different clips that are reported. Data sets can have
  repeated recordings, so look at those. If fpcalc is installed, also Chromaprint: the share of
  equal bits at the best shift, at the threshold with as many false pairs.
* Time: CPU time per clip for decoding and landmarks, relative to decoding alone, and of the search
  in random sets of landmarks of up to ``--tracks`` tracks.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from joblib import Parallel, delayed
from scipy.signal import butter, resample_poly, sosfilt

from mgc.data import audio
from mgc.data.landmarks import RATE, find_landmarks
from mgc.data.recordings import match_landmarks, read_landmarks
from mgc.synthesis.data_set import synthesise
from mgc.synthesis.genres import GENRES

#: Sample rate of the clips in Hz.
SOURCE = 22050

#: Equal bits of Chromaprint at least in so many frames (8 a second).
CHROMAPRINT_FRAMES = 16

Form = Callable[[np.ndarray, np.random.Generator, Path], None]


def _fade(x: np.ndarray) -> np.ndarray:
    ramp = np.minimum(1, np.arange(len(x)) / (5 * SOURCE))
    return x * ramp * ramp[::-1]


def _noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    level = np.sqrt((x**2).mean()) * 10 ** (-15 / 20)
    return np.clip(x + rng.normal(0, level, len(x)), -1, 1)


def _cut(x: np.ndarray, rng: np.random.Generator, seconds: float) -> np.ndarray:
    start = rng.integers(0, max(1, len(x) - round(seconds * SOURCE)))
    return x[start : start + round(seconds * SOURCE)]


def _stereo(x: np.ndarray) -> np.ndarray:
    mono = resample_poly(x, 2, 1)
    return np.stack([mono, 0.6 * mono], 1)


def _telephone(x: np.ndarray) -> np.ndarray:
    return sosfilt(butter(2, [300, 3400], "band", fs=SOURCE, output="sos"), x)


def _mp3(path: Path, x: np.ndarray, level: float) -> None:
    soundfile.write(path, x, SOURCE, bitrate_mode="CONSTANT", compression_level=level)


FORMS: dict[str, tuple[str, Form]] = {
    "MP3, 64 kbit/s": ("mp3", lambda x, r, p: _mp3(p, x, 0.8)),
    "MP3, lowest rate": ("mp3", lambda x, r, p: _mp3(p, x, 0.99)),
    "Vorbis, low rate": (
        "ogg", lambda x, r, p: soundfile.write(p, x, SOURCE, compression_level=0.95)
    ),
    "Opus, low rate": (
        "opus",
        lambda x, r, p: soundfile.write(
            p, resample_poly(x, 320, 147), 48000, format="OGG", subtype="OPUS",
            compression_level=0.95,
        ),
    ),
    "8 bits": ("wav", lambda x, r, p: soundfile.write(p, x, SOURCE, subtype="PCM_U8")),
    "26 dB quieter": ("wav", lambda x, r, p: soundfile.write(p, 0.05 * x, SOURCE)),
    "12 dB louder, clipped": (
        "wav", lambda x, r, p: soundfile.write(p, np.clip(4 * x, -1, 1), SOURCE)
    ),
    "8 kHz": ("wav", lambda x, r, p: soundfile.write(p, resample_poly(x, 160, 441), 8000)),
    "stereo, 44.1 kHz": ("wav", lambda x, r, p: soundfile.write(p, _stereo(x), 44100)),
    "300 to 3400 Hz": ("wav", lambda x, r, p: soundfile.write(p, _telephone(x), SOURCE)),
    "noise at 15 dB": ("wav", lambda x, r, p: soundfile.write(p, _noise(x, r), SOURCE)),
    "faded, 5 s each": ("wav", lambda x, r, p: soundfile.write(p, _fade(x), SOURCE)),
    "cut of 10 s": ("wav", lambda x, r, p: soundfile.write(p, _cut(x, r, 10), SOURCE)),
    "cut of 5 s": ("wav", lambda x, r, p: soundfile.write(p, _cut(x, r, 5), SOURCE)),
    "1 to 5 s of silence before": (
        "wav",
        lambda x, r, p: soundfile.write(
            p, np.pad(x, (r.integers(SOURCE, 5 * SOURCE), 0))[: len(x)], SOURCE
        ),
    ),
    "starts 1 to 5 s later": (
        "wav", lambda x, r, p: soundfile.write(p, x[r.integers(SOURCE, 5 * SOURCE) :], SOURCE)
    ),
    "cut of 12 s, quiet, MP3": ("mp3", lambda x, r, p: _mp3(p, 0.3 * _cut(x, r, 12), 0.95)),
}  # fmt: skip


def write_copies(clips: list[Path], folder: Path) -> list[tuple[int, str, Path]]:
    """Write all forms of all clips; return number of the clip, form and file."""

    def write(number: int) -> list[tuple[int, str, Path]]:
        rng = np.random.default_rng(number)
        samples = audio.read(clips[number], SOURCE)
        found = []
        for place, (form, (suffix, save)) in enumerate(FORMS.items()):
            path = folder / f"{number}_{place}.{suffix}"
            save(samples, rng, path)
            found.append((number, form, path))
        return found

    written = Parallel(-1)(delayed(write)(number) for number in range(len(clips)))
    return [copy for copies in written for copy in copies]


def chromaprint(paths: list[Path]) -> list[np.ndarray]:
    """Return Chromaprint's raw fingerprint of each file."""

    def compute(path: Path) -> np.ndarray:
        command = ["fpcalc", "-raw", "-plain", "-length", "0", str(path)]
        out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return np.array(out.split(",") if out.strip() else [], np.uint32)

    return Parallel(-1, prefer="threads")(delayed(compute)(path) for path in paths)


def equal_bits(one: np.ndarray, two: np.ndarray) -> float:
    """Return the largest share of equal bits over all shifts of two raw fingerprints."""
    best = 0.0
    for shift in range(-len(one) + CHROMAPRINT_FRAMES, len(two) - CHROMAPRINT_FRAMES + 1):
        a, b = one[max(0, -shift) :], two[max(0, shift) :]
        common = min(len(a), len(b))
        if common >= CHROMAPRINT_FRAMES:
            differing = np.bitwise_count(a[:common] ^ b[:common]).mean()
            best = max(best, 1 - float(differing) / 32)
    return best


def measure_copies(clips: list[Path], distractors: list[Path], folder: Path) -> None:
    """Print which copies are found, and pairs of different clips that are reported."""
    copies = write_copies(clips, folder)
    files = [*clips, *(path for _, _, path in copies), *distractors]
    pairs = match_landmarks(read_landmarks([str(path) for path in files], show_progress=True))
    owner = np.array([*range(len(clips)), *(number for number, _, _ in copies)])
    owner = np.append(owner, np.arange(len(distractors)) + len(clips))
    same = owner[pairs["first"]] == owner[pairs["second"]]
    of_original = pairs[same & (pairs["first"] < len(clips))].set_index("second")["landmarks"]
    rows = []
    for form in FORMS:
        wanted = [len(clips) + row for row, copy in enumerate(copies) if copy[1] == form]
        found = of_original.reindex(wanted)
        rows.append((form, found.notna().mean(), found.min(), found.median()))
    table = pd.DataFrame(rows, columns=["form", "found", "fewest landmarks", "median"])
    print(table.to_string(index=False))
    print(f"\n{len(files)} files, {int(same.sum())} pairs of copies, {int((~same).sum())} others:")
    for first, second, landmarks, share, _ in pairs[~same].itertuples(index=False):
        print(f"  {files[first].name} {files[second].name}: {landmarks} landmarks, {share:.1%}")
    if shutil.which("fpcalc"):
        compare_chromaprint(clips, copies)


def compare_chromaprint(clips: list[Path], copies: list[tuple[int, str, Path]]) -> None:
    """Print the share of copies above the largest similarity of two different clips."""
    prints = chromaprint(clips)
    unrelated = max(
        Parallel(-1)(
            delayed(equal_bits)(prints[i], prints[j]) for i in range(len(clips)) for j in range(i)
        )
    )
    copied = chromaprint([path for _, _, path in copies])
    scores = Parallel(-1)(
        delayed(equal_bits)(prints[number], found)
        for (number, _, _), found in zip(copies, copied, strict=True)
    )
    table = pd.DataFrame({"form": [form for _, form, _ in copies], "score": scores})
    found = (table["score"] > unrelated).groupby(table["form"], sort=False).mean()
    print(f"\nChromaprint, more than the {unrelated:.3f} equal bits of two different clips:")
    print(found.to_string())


def measure_time(clips: list[Path], tracks: int) -> None:
    """Print the time per clip, and of the search among random landmarks."""

    def seconds(job: Callable[[], object]) -> float:
        start = time.process_time()
        job()
        return time.process_time() - start

    some = clips[:50]
    decoding = seconds(lambda: [audio.read(path, RATE) for path in some]) / len(some)
    both = seconds(lambda: [find_landmarks(audio.read(path, RATE)) for path in some]) / len(some)
    print(f"\nA clip: decoding {1e3 * decoding:.1f} ms, with landmarks {1e3 * both:.1f} ms.")
    marks = [find_landmarks(audio.read(path, RATE)) for path in clips]
    rng = np.random.default_rng(0)
    for count in _sizes(tracks):
        # Hashes as frequent as in music, in other orders.
        hashes = np.concatenate([x[0] for x in marks])
        sets = [
            np.stack([rng.choice(hashes, x.shape[1]), x[1]])
            for x in (marks[number % len(marks)] for number in range(count))
        ]
        print(f"{count} tracks: search {seconds(lambda s=sets: match_landmarks(s)):.1f} s")


def _sizes(tracks: int) -> Iterator[int]:
    size = 1000
    while size < tracks:
        yield size
        size *= 3
    yield tracks


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, help="folder with music; synthetic by default")
    parser.add_argument("--count", type=int, default=100, help="number of clips to copy")
    parser.add_argument("--distractors", type=int, default=1000)
    parser.add_argument("--work", type=Path, help="folder that keeps the files, for another run")
    parser.add_argument("--tracks", type=int, default=10000, help="largest number for the search")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.work or Path(name)
        synthesise(folder / "synthetic", -(-options.distractors // len(GENRES)))
        distractors = audio.find_files(folder / "synthetic")
        clips = audio.find_files(options.clips) if options.clips else distractors
        clips = clips[:: max(1, len(clips) // options.count)][: options.count]
        (folder / "copies").mkdir(exist_ok=True)
        others = [path for path in distractors if path not in clips]
        measure_copies(clips, others, folder / "copies")
        measure_time(clips, options.tracks)


if __name__ == "__main__":
    main()
