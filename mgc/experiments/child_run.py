"""Runs training in a child process of an experiment."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mgc.core.child_processes import safe_imports
from mgc.core.stopping import signals
from mgc.core.terminal import RESUME_HINT, report_user_errors
from mgc.experiments.processes import WARNING
from mgc.runs.tracking import set_wandb_run, wandb_group
from mgc.training import cli as training
from mgc.training.interruption import KeepLast

#: Name of the checkpoint that an unfinished fit resumes from.
LAST_EPOCH = "last_epoch.ckpt"


class ChildCLI(training.MgcCLI):
    """Command-line interface that writes to a job's folder and W&B run."""

    def __init__(self, folder: str, wandb: dict[str, Any], **kwargs: Any) -> None:
        """Initialize.

        Args:
            folder: Folder of the job, for the last checkpoint.
            wandb: Arguments of ``WandbLogger``. They take precedence over the configuration.
            **kwargs: Arguments of :class:`mgc.training.cli.MgcCLI`.
        """
        self.folder = folder
        self.wandb = wandb
        super().__init__(**kwargs)

    def before_instantiate_classes(self) -> None:
        """Set the W&B run."""
        settings = self.wandb | {"group": wandb_group(self.wandb["group"])}
        set_wandb_run(self.config[self.subcommand].trainer.get("logger"), **settings)
        super().before_instantiate_classes()

    def before_fit(self) -> None:
        """Write the last checkpoint to the job's folder, where :func:`fit` finds it."""
        callbacks = [c for c in self.trainer.callbacks if not isinstance(c, KeepLast)]  # type: ignore[attr-defined]
        self.trainer.callbacks = [*callbacks, KeepLast(Path(self.folder, LAST_EPOCH))]  # type: ignore[attr-defined]


def fit(folder: str, options: Sequence[str], cli: Callable[..., ChildCLI]) -> None:
    """Run ``mgc fit`` with ``options``, or resume it if ``folder`` has a checkpoint."""
    last = Path(folder, LAST_EPOCH)
    resumed = [f"--ckpt_path={last}"] if last.is_file() else []
    training.main(["fit", *options, f"--trainer.default_root_dir={folder}", *resumed], cli)


class _MarkWarnings(logging.Formatter):
    """Marks mgc's warnings, which the parent process shows."""

    def format(self, record: logging.LogRecord) -> str:
        marked = record.levelno == logging.WARNING and record.name.startswith("mgc.")
        text = " ".join(super().format(record).split()) if marked else super().format(record)
        return WARNING + text if marked else text


def run_child(run: Callable[[], None]) -> None:
    """Call ``run`` with the logging, error messages and signal handling of a command."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_MarkWarnings("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    with (
        report_user_errors(RESUME_HINT),
        signals.handled(RESUME_HINT, exits=True),
        safe_imports(),
    ):
        run()
