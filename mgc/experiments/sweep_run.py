"""Trains one run of a sweep.

``python -m mgc.experiments.sweep_run FOLDER`` reads the run from ``sweep_run.json`` in the folder
and writes the metrics of the best epoch to ``result.json``.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from mgc.core.writing import replacing
from mgc.errors import MgcError
from mgc.experiments.child_run import LAST_EPOCH, ChildCLI, fit, run_child
from mgc.experiments.sweep import RESULT, SweepRun
from mgc.runs.folder import run_folder
from mgc.runs.record import read_record


class SweepCLI(ChildCLI):
    """Trains a run of a sweep and writes its result."""

    def __init__(self, run: SweepRun, **kwargs: Any) -> None:
        """Initialize with a run and the arguments of :class:`mgc.training.cli.MgcCLI`."""
        self.run = run
        wandb = {
            "group": run.group,
            "name": f"{run.group} {run.name}",
            # A fixed ID, so that a resumed fit continues its W&B run.
            "id": f"{run.group}-{run.number}",
            "job_type": "sweep",
        }
        super().__init__(run.folder, wandb, **kwargs)

    def after_fit(self) -> None:
        """Write the result, of the last epoch if no checkpoint callback monitors a metric.

        Raises:
            MgcError: If the metric of the sweep was not logged, or the monitored one was NaN.
        """
        trainer = self.trainer
        if not trainer.is_global_zero:
            return
        folder = run_folder(trainer).absolute()
        record = read_record(folder)
        last = Path(self.run.folder, LAST_EPOCH)
        best = record.get("best")
        checkpoint = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if not best and any(getattr(c, "monitor", None) for c in trainer.checkpoint_callbacks):
            raise MgcError("No best epoch: the monitored metric was never a number.")
        if not best:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            best = {"epoch": trainer.current_epoch - 1, "metrics": metrics}
            checkpoint = str(last)
        metrics = best["metrics"]
        if self.run.metric not in metrics:
            raise MgcError(
                f"Metric {self.run.metric!r} was not logged. Logged: {', '.join(sorted(metrics))}."
            )
        result = {
            "value": metrics[self.run.metric],
            "epoch": best["epoch"],
            "metrics": metrics,
            "run_folder": str(folder),
            "checkpoint": str(Path(checkpoint).absolute()) if checkpoint else None,
            "wandb": record.get("wandb", {}),
        }
        with replacing(Path(self.run.folder, RESULT)) as partial_result:
            partial_result.write_text(json.dumps(result, indent=1), encoding="utf-8")
        if checkpoint != str(last):
            last.unlink(missing_ok=True)


def train(run: SweepRun) -> None:
    """Train a run, resuming if possible, and write its result.

    Raises:
        MgcError: If a setting is wrong, or the metric of the sweep was not logged.
    """
    fit(run.folder, run.options, partial(SweepCLI, run))


def main(folder: str) -> None:
    """Train the run in a folder."""
    run_child(lambda: train(SweepRun.read(folder)))


if __name__ == "__main__":
    main(sys.argv[1])
