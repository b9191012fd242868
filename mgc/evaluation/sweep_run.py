"""One run of a sweep, in a process of its own.

``python -m mgc.evaluation.sweep_run FOLDER`` reads what to do from the folder and writes there what
it came to.
"""

import json
import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

from mgc.cli import told_in_one_line
from mgc.errors import MgcError
from mgc.evaluation.fold_run import LAST
from mgc.evaluation.sweep import RESULT, SweepRun
from mgc.stopping import signals
from mgc.tracking import set_wandb_run
from mgc.training import cli as training
from mgc.training.interruption import KeepLast
from mgc.training.run import run_folder
from mgc.training.run_record import read_record
from mgc.writing import replacing


class SweepCLI(training.MgcCLI):
    """A fit whose W&B run is one of a sweep."""

    def __init__(self, run: SweepRun, **kwargs: Any) -> None:
        """Initialize.

        Args:
            run: The run.
            **kwargs: Arguments of :class:`mgc.training.cli.MgcCLI`.
        """
        self.run = run
        super().__init__(**kwargs)

    def before_instantiate_classes(self) -> None:
        """Name the W&B run."""
        set_wandb_run(
            self.config[self.subcommand].trainer.get("logger"),
            group=self.run.group,
            name=f"{self.run.group} {self.run.name}",
            # The same run of W&B goes on where an unfinished one does.
            id=f"{self.run.group}-{self.run.number}",
            job_type="sweep",
        )
        super().before_instantiate_classes()

    def before_fit(self) -> None:
        """Keep what to go on from where the process that starts the runs finds it."""
        callbacks = [c for c in self.trainer.callbacks if not isinstance(c, KeepLast)]  # type: ignore[attr-defined]
        self.trainer.callbacks = [*callbacks, KeepLast(Path(self.run.folder, LAST))]  # type: ignore[attr-defined]

    def after_fit(self) -> None:
        """Write what the run came to.

        Raises:
            MgcError: If the metric of the sweep was not logged.
        """
        trainer = self.trainer
        if not trainer.is_global_zero:
            return
        folder = run_folder(trainer).absolute()
        best = read_record(folder).get("best")
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
        }
        with replacing(Path(self.run.folder, RESULT)) as partial_result:
            partial_result.write_text(json.dumps(result, indent=1), encoding="utf-8")
        Path(self.run.folder, LAST).unlink(missing_ok=True)


def run_one(run: SweepRun) -> None:
    """Train with the settings of a run.

    Args:
        run: The run. If its folder holds a checkpoint, training goes on from there.

    Raises:
        MgcError: If a setting is wrong.
    """
    last = Path(run.folder, LAST)
    training.main(
        [
            *("fit", *run.words, f"--trainer.default_root_dir={run.folder}"),
            *([f"--ckpt_path={last}"] if last.is_file() else []),
        ],
        partial(SweepCLI, run),
    )


def main(folder: str) -> None:
    """Run what a folder describes.

    Args:
        folder: Folder of the run.

    Raises:
        SystemExit: As :func:`mgc.cli.main` tells.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    with told_in_one_line(["sweep"]), signals.handled():
        run_one(SweepRun.read(folder))


if __name__ == "__main__":
    main(sys.argv[1])
