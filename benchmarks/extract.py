"""Measure the throughput of feature extraction from files to table.

    python benchmarks/extract.py --workers 2
    python benchmarks/extract.py --accelerator gpu --workers 16 --files 2000 --batch_size 32

The upper bound is the forward pass on clips in device memory. The baseline is a typical script that
calls librosa.load and the network for one file at a time.
"""

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch

from mgc.transfer.extraction import PRECISION, extract_features
from mgc.transfer.inputs import make_model, open_data

RATE, SECONDS = 12000, 29.0


def write_music(folder: Path, files: int) -> None:
    """Write files with 30 s of coloured noise: 22 050 Hz, mono, 16 bit."""
    rng = np.random.default_rng(0)
    noise = np.cumsum(rng.normal(0, 0.02, 22050 * 30 + files))
    noise = (noise - np.convolve(noise, np.ones(50) / 50, "same")).clip(-1, 1)
    for number in range(files):
        part = noise[number : number + 22050 * 30]
        soundfile.write(folder / f"{number:05}.wav", part, 22050, subtype="PCM_16")


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the wall time of a call in seconds."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--files", type=int, default=96)
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--precision", choices=tuple(PRECISION), default="32")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    logging.getLogger("mgc").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    device = torch.device("cuda" if args.accelerator == "gpu" else "cpu")
    dtype = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}[args.precision]
    model = make_model("vgg_tagger", RATE, {}, seed=0)
    batch = torch.rand(args.batch_size, round(RATE * SECONDS)) * 2 - 1
    batches = -(-args.files // args.batch_size)

    @torch.inference_mode()
    def forward() -> None:
        network, clips = model.eval().to(device), batch.to(device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for _ in range(batches):
                network.features(clips)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "music")
        folder.mkdir()
        write_music(folder, args.files)

        def extract(out: str, resampling: str) -> None:
            settings = {
                "sample_rate": RATE,
                "clip_seconds": SECONDS,
                "batch_size": args.batch_size,
                "num_workers": args.workers,
            }
            data = open_data([str(folder)], None, {}, settings)
            trainer = {
                "accelerator": args.accelerator,
                "devices": 1,
                "precision": PRECISION[args.precision],
            }
            layers = [f"block{i}" for i in range(1, 6)]
            path = Path(name, f"{out}.parquet")
            extract_features(model, layers, data, path, {}, resampling, trainer=trainer)

        @torch.inference_mode()
        def script() -> None:
            network = model.eval().to(device)
            for path in sorted(folder.iterdir()):
                clip, _ = librosa.load(path, sr=RATE, duration=SECONDS)
                clip = torch.from_numpy(clip[: round(RATE * SECONDS)])[None].to(device)
                with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                    network.features(clip)

        extract("warm", "fast")
        forward()
        times: dict[str, list[float]] = {}
        for repeat in range(args.repeats):
            for kind, work in {
                "forward pass alone (limit)": forward,
                "extract, resampling fast": lambda: extract(f"fast{repeat}", "fast"),  # noqa: B023
                "extract, resampling best": lambda: extract(f"best{repeat}", "best"),  # noqa: B023
                "librosa.load, one file at a time": script,
            }.items():
                times.setdefault(kind, []).append(seconds(work, device))
    limit = min(times["forward pass alone (limit)"])
    setting = f"{args.accelerator}, {args.precision}, batches of {args.batch_size}"
    print(f"{args.files} files of 30 s, {setting}, {args.workers} workers, load {load:.1f}")
    print(f"{'':32}{'clips/s':>9}{'of limit':>10}")
    for kind, each in times.items():
        clips = args.files if "limit" not in kind else batches * args.batch_size
        best = min(each)
        share = (clips / best) / (batches * args.batch_size / limit)
        print(f"{kind:32}{clips / best:9.1f}{share:10.2f}")


if __name__ == "__main__":
    main()
