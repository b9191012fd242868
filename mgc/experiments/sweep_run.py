"""One run of a sweep, in a process of its own.

``python -m mgc.experiments.sweep_run FOLDER`` reads what to do from the folder and
writes there what it came to.
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
    """A fit whose W&B run is one of a sweep."""

    def __init__(self, run: SweepRun, **kwargs: Any) -> None:
        """Initialize.

        Args:
            run: The run.
            **kwargs: Arguments of :class:`mgc.training.cli.MgcCLI`.
        """
        self.run = run
        wandb = {
            "group": run.group,
            "name": f"{run.group} {run.name}",
            # The same run of W&B goes on where an unfinished one does.
            "id": f"{run.group}-{run.number}",
            "job_type": "sweep",
        }
        super().__init__(run.folder, wandb, **kwargs)

    def after_fit(self) -> None:
        """Write what the run came to.

        Raises:
            MgcError: If the metric of the sweep was not logged.
        """
        trainer = self.trainer
        if not trainer.is_global_zero:
            return
        folder = run_folder(trainer).absolute()
        record = read_record(folder)
        best = record.get("best")
        if not best:
            raise MgcError("No best epoch: the configuration keeps no checkpoint by a metric.")
        metrics = best["metrics"]
        if self.run.metric not in metrics:
            raise MgcError(f"{self.run.metric} was not logged, only {', '.join(sorted(metrics))}.")
        checkpoint = getattr(trainer.checkpoint_callback, "best_model_path", "")
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
        Path(self.run.folder, LAST_EPOCH).unlink(missing_ok=True)


def run_one(run: SweepRun) -> None:
    """Train with the settings of a run.

    Args:
        run: The run. If its folder holds a checkpoint, training goes on from there.

    Raises:
        MgcError: If a setting is wrong.
    """
    fit(run.folder, run.words, partial(SweepCLI, run))


def main(folder: str) -> None:
    """Run what a folder describes.

    Args:
        folder: Folder of the run.

    Raises:
        SystemExit: As :func:`mgc.cli.main` tells.
    """
    run_child(lambda: run_one(SweepRun.read(folder)))


if __name__ == "__main__":
    main(sys.argv[1])
