"""Measure training on one and several devices, and estimate the bottlenecks of eight.

    python benchmarks/scaling.py [--model vgg_tagger] [--batch_size 16] [--batches 30]

Without a GPU: one process with one and with two threads, and two processes with one thread each
(DDP, gloo). With GPUs: one GPU with bf16, channels-last and torch.compile added one by one, and all
GPUs (DDP, NCCL). Every row is a Lightning fit on a packed store of synthetic clips. Columns:

* clips/s: clips per second of wall time; per CPU s: per second of CPU time, which other programs
  hardly affect
* fed: speed relative to training on the same batch again and again; below 100 %, the device waits
  for data
* GB: peak memory of the device

The estimate assumes one process per device. The time of a step is the maximum of computing a batch,
reading it (processes share cores and memory bus), and exchanging 2 (N - 1) / N times the bytes of
the gradients between N devices (ring all-reduce, Patarasuk and Yuan 2009), which overlaps with the
backward pass except for the last bucket.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mgc import registry
from mgc.data.gtzan import GENRES, GTZAN
from mgc.training.kernels import FastKernels

RATE, SECONDS = 12000, 10.0
#: Batches before measuring starts.
WARM_UP = 5
#: Bandwidth between devices in bytes per second; NVLink 4 is that of H100 and H200.
LINKS = {"PCIe 4 x16": 25e9, "NVLink 4": 350e9, "100 Gb/s network": 11e9}


class Meter(Callback):
    """Measures clips per second after the warm-up."""

    def __init__(self) -> None:
        self.clips = 0
        self.start = (0.0, 0.0)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start measuring after the warm-up."""
        if batch_idx == WARM_UP:
            self.start = now()
        if batch_idx >= WARM_UP:
            self.clips += len(batch["audio"])

    def result(self) -> dict[str, float]:
        """Return clips per second of wall time and of CPU time."""
        clock, cpu = (b - a for a, b in zip(self.start, now(), strict=True))
        return {"clock": self.clips / clock, "cpu": self.clips / cpu}


class OneBatch(GTZAN):
    """Repeats the first batch."""

    def train_dataloader(self) -> Any:
        """Read one batch and repeat it."""
        loader = super().train_dataloader()
        batch = next(iter(loader))

        class Same:
            def __len__(self) -> int:
                return len(loader)

            def __iter__(self) -> Any:
                return repeat({key: value.clone() for key, value in batch.items()}, len(loader))

        return Same()


def now() -> tuple[float, float]:
    """Return wall time and CPU time after synchronising the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def one_fit(settings: dict[str, Any]) -> None:
    """Run a fit; the first process writes the measurements."""
    torch.set_num_threads(settings["threads"])
    torch.set_float32_matmul_precision("high")
    kind = OneBatch if settings["same"] else GTZAN
    data = kind(
        settings["root"], sample_rate=RATE, clip_seconds=SECONDS, batch_size=settings["batch_size"]
    )
    data.clips_per_track = settings["clips_per_track"]
    network = registry.load("model", settings["model"])
    model = network(num_classes=data.num_classes, sample_rate=RATE)
    meter = Meter()
    kernels = FastKernels(compile=settings["compile"], channels_last=settings["channels_last"])
    devices, gpu = settings["devices"], torch.cuda.is_available()
    trainer = Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=devices,
        strategy="auto" if devices == 1 else "ddp" if gpu else "ddp_fork",
        precision=settings["precision"],
        max_epochs=1,
        limit_train_batches=WARM_UP + settings["batches"],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[kernels, meter, Report(meter, settings["out"])],
    )
    trainer.fit(model, data)


class Report(Callback):
    """Writes the measurements before the processes end."""

    def __init__(self, meter: Meter, out: str) -> None:
        self.meter, self.out = meter, out

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a JSON file."""
        result = self.meter.result()
        result["parameters"] = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
        if torch.cuda.is_available():
            result["memory"] = torch.cuda.max_memory_allocated() / 1e9
        if trainer.is_global_zero:
            Path(self.out).write_text(json.dumps(result))


def measure(settings: dict[str, Any], **changes: Any) -> dict[str, float]:
    """Run a fit in a subprocess."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "result.json")
        whole = settings | changes | {"out": str(out)}
        environment = os.environ | {"OMP_NUM_THREADS": str(whole["threads"])}
        command = [sys.executable, __file__, "--one", json.dumps(whole)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if not out.is_file():
            sys.exit(done.stderr)
        result: dict[str, float] = json.loads(out.read_text())
        return result


def loader_rate(settings: dict[str, Any]) -> float:
    """Return clips per second of CPU time that one process reads from the packed store."""
    data = GTZAN(settings["root"], sample_rate=RATE, clip_seconds=SECONDS, batch_size=32)
    data.clips_per_track = 100
    data.setup("fit")
    clips, start = 0, time.process_time()
    for batch in data.train_dataloader():
        clips += len(batch["audio"])
        if clips >= 3000:
            break
    return clips / (time.process_time() - start)


def make_data(root: Path) -> None:
    """Write and pack a dataset in GTZAN's layout with ten tracks per genre."""
    rng = np.random.default_rng(0)
    for genre in GENRES:
        folder = root / "genres" / genre
        folder.mkdir(parents=True)
        for track in range(10):
            noise = rng.normal(0, 0.1, round(2 * SECONDS * RATE))
            soundfile.write(folder / f"{genre}.{track:05}.wav", noise, RATE)
    GTZAN(str(root), sample_rate=RATE).pack()


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="vgg_tagger")
    parser.add_argument("--batch_size", type=int, default=16, help="clips per device")
    parser.add_argument("--batches", type=int, default=30, help="number of batches to measure")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one_fit(json.loads(args.one))
        return
    gpus = torch.cuda.device_count()
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder))
        settings = {
            "root": folder,
            "model": args.model,
            "batch_size": args.batch_size,
            "batches": args.batches,
            # Enough clips for the batches of all devices.
            "clips_per_track": -(-(WARM_UP + args.batches) * args.batch_size * max(2, gpus) // 80),
            "devices": 1,
            "threads": 1,
            "precision": "32-true",
            "channels_last": False,
            "compile": False,
            "same": False,
        }
        rows: dict[str, dict[str, Any]] = {"1 process": {}}
        if gpus:
            rows = {
                "1 GPU, float32 (TF32)": {},
                "  bf16": {"precision": "bf16-mixed"},
                "  bf16, channels last": {"precision": "bf16-mixed", "channels_last": True},
            }
            fast = {"precision": "bf16-mixed", "channels_last": True, "compile": True}
            rows["  bf16, channels last, compiled"] = fast
            if gpus > 1:
                rows[f"{gpus} GPUs, the same"] = fast | {"devices": gpus}
        else:
            rows["1 process, 2 threads"] = {"threads": 2}
            rows["2 processes"] = {"devices": 2}
        where = f"{gpus} x {torch.cuda.get_device_name()}" if gpus else "CPU"
        print(f"{args.model}, {args.batch_size} clips of {SECONDS:g} s per device, {where}")
        header = ("", "clips/s", "x", "per CPU s", "x", "fed", "GB")
        print("{:32}{:>9}{:>7}{:>11}{:>7}{:>7}{:>7}".format(*header))
        first: dict[str, float] = {}
        for name, changes in rows.items():
            devices = changes.get("devices", 1)
            result = measure(settings, **changes)
            same = measure(settings, **changes, same=True)
            first = first or result
            fed = min(1.0, result["clock"] / same["clock"])
            fed_cpu = min(1.0, result["cpu"] / same["cpu"])
            print(
                f"{name:32}{result['clock'] * devices:9.1f}"
                f"{result['clock'] * devices / first['clock']:7.2f}{result['cpu']:11.1f}"
                f"{result['cpu'] / first['cpu']:7.2f}{fed if gpus else fed_cpu:7.0%}"
                f"{result.get('memory', float('nan')):7.1f}"
            )
        reading = loader_rate(settings)
    predict(result["parameters"], result["clock"], args.batch_size, reading)


def predict(parameters: float, clips: float, batch_size: int, reading: float) -> None:
    """Print estimates for a step on eight devices."""
    cores = len(os.sched_getaffinity(0))
    step, size = batch_size / clips, 4 * parameters
    print(f"\nEight such devices (last row) in one machine with {cores} or more cores:")
    print(f"  computing a step of {batch_size} clips       {1000 * step:10.2f} ms")
    print(
        f"  reading it, one process per device   {1000 * batch_size / reading:10.2f} ms "
        f"({reading:.0f} clips/s; 8 devices need {8 * clips:.0f}, {8 * clips / reading:.2f} cores)"
    )
    for link, bandwidth in LINKS.items():
        exchange = 2 * 7 / 8 * size / bandwidth
        print(
            f"  exchanging {size / 1e6:.1f} MB by {link:18}{1000 * exchange:8.2f} ms, at least "
            f"{step / (step + exchange):.1%} of linear"
        )


if __name__ == "__main__":
    main()
