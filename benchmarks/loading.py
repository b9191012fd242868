"""Measure the speed of the training loader, and training steps with and without loading.

    python benchmarks/loading.py [FOLDER]

FOLDER is a dataset in GTZAN's layout; by default, music is synthesised. Compares

* clips of 3 s per second in one process: mgc (reads and resamples the clip only), soundfile
  (whole files), librosa (clips only)
* a training step of the VGG tagger that loads its batch with one worker, with the same step on a
  batch in memory (the lower bound)
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch
from torchaudio.functional import resample

from mgc.data.gtzan import GTZAN
from mgc.models.vgg import VGGTagger
from mgc.synthesis.data_set import synthesise

SAMPLE_RATE = 12_000
SECONDS = 3.0
ROUNDS = 3


def whole_files(paths: list[str], starts: np.ndarray) -> None:
    """Read whole files with soundfile, resample them with torchaudio, then cut the clips."""
    for path, start in zip(paths, starts, strict=True):
        audio, rate = soundfile.read(path, dtype="float32")
        audio = resample(torch.from_numpy(audio), rate, SAMPLE_RATE)
        first = int(start * SAMPLE_RATE)
        audio[first : first + int(SECONDS * SAMPLE_RATE)].clone()


def with_librosa(paths: list[str], starts: np.ndarray) -> None:
    """Read and resample clips with librosa."""
    for path, start in zip(paths, starts, strict=True):
        librosa.load(path, sr=SAMPLE_RATE, offset=start, duration=SECONDS)


def best(run: Callable[[], object]) -> float:
    """Return the shortest time of several rounds in seconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def forever(data: GTZAN) -> Iterator[dict[str, torch.Tensor]]:
    """Yield training batches endlessly."""
    while True:
        yield from data.train_dataloader()


def main() -> None:
    """Measure and print tables."""
    if len(sys.argv) > 1:
        root = sys.argv[1]
    else:
        root = tempfile.mkdtemp()
        synthesise(root, 10, seconds=30)
    settings = {"sample_rate": SAMPLE_RATE, "clip_seconds": SECONDS, "batch_size": 32}
    data = GTZAN(root, **settings)
    data.setup("fit")
    rows = data.tracks.query("split == 'train'")
    paths = rows["path"].tolist()
    starts = np.random.default_rng(0).uniform(0, 25, len(paths))
    dataset = data.datasets["train"]
    keys = [(0, int(i)) for i in np.linspace(0, len(dataset) - 1, len(paths))]

    torch.set_num_threads(1)
    ours = best(lambda: dataset.__getitems__(keys))
    print(
        f"Loading {SECONDS:g} s at {SAMPLE_RATE} Hz from {Path(paths[0]).suffix} files, one thread"
    )
    for name, seconds in [
        ("mgc", ours),
        ("soundfile, whole files", best(lambda: whole_files(paths, starts))),
        ("librosa.load, clips", best(lambda: with_librosa(paths, starts))),
    ]:
        ratio = seconds / ours
        print(f"  {name:26}{len(paths) / seconds:8.0f} clips/s, mgc is {ratio:5.1f} x as fast")

    model = VGGTagger(num_classes=10, sample_rate=SAMPLE_RATE)
    optimizer = torch.optim.Adam(model.parameters())

    def step(batch: dict[str, torch.Tensor]) -> None:
        optimizer.zero_grad()
        model.loss(model(batch["audio"]), batch["target"]).backward()
        optimizer.step()

    memory = next(iter(data.train_dataloader()))
    data.num_workers = 1
    loader = forever(data)
    step(next(loader))
    steps, limit, loaded = 10, 0.0, 0.0
    for _ in range(ROUNDS):  # alternate, since the speed of the machine drifts
        start = time.perf_counter()
        for _ in range(steps):
            step(memory)
        middle = time.perf_counter()
        for _ in range(steps):
            step(next(loader))
        limit += middle - start
        loaded += time.perf_counter() - middle
    print(
        f"Training step of the VGG tagger, {settings['batch_size']} clips, one thread, one worker"
    )
    print(f"  batch in memory            {limit / steps / ROUNDS:8.3f} s")
    print(
        f"  with loading               {loaded / steps / ROUNDS:8.3f} s, speed {limit / loaded:.0%}"
    )


if __name__ == "__main__":
    main()
