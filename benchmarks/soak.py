"""Measure memory and open files of a long fit.

    python benchmarks/soak.py [STEPS]

Fits a small tagger for STEPS steps (default: 2000) in a temporary folder, with validation, two
loader workers and an offline W&B run. Prints the private memory (USS) of the main process and of
its child processes, loader workers and W&B's service, their proportional memory (PSS) and the open
files of the main process over time. The slopes are those of the second half: memory that only grows
while caches fill has a slope of zero there.
"""

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from mgc.cli import main

STEPS = 2000

#: Number of rows of the table.
ROWS = 20

OPTIONS = """
    --model vgg_tagger --model.channels=2 --model.n_fft=256 --model.hop_length=128
    --data gtzan --data.root=music --data.split=stratified --data.sample_rate=8000
    --data.clip_seconds=2 --data.batch_size=4 --data.num_workers=2
    --trainer.accelerator=cpu --trainer.max_epochs=-1 --trainer.enable_progress_bar=false
    --trainer.enable_model_summary=false --trainer.callbacks+=soak.Measure
"""

COLUMNS = ("step", "main USS", "main PSS", "children USS", "children PSS", "children", "files")


class Measure(Callback):
    """Prints memory and open files during a fit, and their slopes at its end."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a row."""
        if trainer.global_step % max(1, trainer.max_steps // ROWS) == 0:
            self.rows.append([trainer.global_step, *measure()])
            print("  ".join(f"{value:12,.0f}" for value in self.rows[-1]), flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the slopes."""
        rows = np.array(self.rows[len(self.rows) // 2 :])
        print("\nSlope of the second half per 1000 steps:")
        for name, values in zip(COLUMNS[1:], rows.T[1:], strict=True):
            print(f"{name:>12} {1000 * np.polyfit(rows[:, 0], values, 1)[0]:12,.1f}")


def measure() -> list[float]:
    """Return memory in KiB of this process and of its children, their number, and open files."""
    own = read_memory(os.getpid())
    others = [memory for pid in find_children(os.getpid()) if any(memory := read_memory(pid))]
    children = np.sum(others, axis=0) if others else np.zeros(2)
    return [*own, *children, len(others), len(os.listdir("/proc/self/fd"))]


def read_memory(pid: int) -> tuple[int, int]:
    """Return USS and PSS of a process in KiB; zeros if it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return 0, 0
    sizes = {name: int(size) for name, size in re.findall(r"(\w+): +(\d+) kB", text)}
    return sizes.get("Private_Clean", 0) + sizes.get("Private_Dirty", 0), sizes.get("Pss", 0)


def find_children(pid: int) -> list[int]:
    """Return all descendants of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text(encoding="utf-8").split()]
        except OSError:
            continue
        found += [*children, *(below for child in children for below in find_children(child))]
    return found


if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    sys.path.insert(0, str(Path(__file__).parent))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        size = "--tracks-per-genre 10 --seconds 4 --sample-rate 8000"
        main(["data", "synth", "music", *size.split()])
        print("Memory in KiB\n" + "  ".join(f"{name:>12}" for name in COLUMNS), flush=True)
        main(["fit", *OPTIONS.split(), f"--trainer.max_steps={steps}"])
