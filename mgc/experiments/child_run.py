"""What a fit of an experiment does in a process of its own."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mgc.core.stopping import signals
from mgc.core.terminal import RESUME, report_user_errors
from mgc.runs.tracking import set_wandb_run
from mgc.training import cli as training
from mgc.training.interruption import KeepLast

#: Name of the checkpoint that an unfinished fit goes on from.
LAST_EPOCH = "last_epoch.ckpt"


class ChildCLI(training.MgcCLI):
    """A fit that is part of an experiment, with a folder and a W&B run of its own."""

    def __init__(self, folder: str, wandb: dict[str, Any], **kwargs: Any) -> None:
        """Initialize.

        Args:
            folder: Where the last checkpoint goes.
            wandb: Settings of the W&B run, whatever the configuration says of them.
            **kwargs: Arguments of :class:`mgc.training.cli.MgcCLI`.
        """
        self.folder = folder
        self.wandb = wandb
        super().__init__(**kwargs)

    def before_instantiate_classes(self) -> None:
        """Name the W&B run."""
        set_wandb_run(self.config[self.subcommand].trainer.get("logger"), **self.wandb)
        super().before_instantiate_classes()

    def before_fit(self) -> None:
        """Keep what to go on from where the process that starts the fits finds it."""
        callbacks = [c for c in self.trainer.callbacks if not isinstance(c, KeepLast)]  # type: ignore[attr-defined]
        self.trainer.callbacks = [*callbacks, KeepLast(Path(self.folder, LAST_EPOCH))]  # type: ignore[attr-defined]


def fit(folder: str, words: Sequence[str], cli: Callable[..., ChildCLI]) -> None:
    """Train in a folder; if it holds a checkpoint, go on from there.

    Args:
        folder: Folder of the fit.
        words: Options of ``mgc fit``.
        cli: What to build.

    Raises:
        MgcError: If a setting is wrong.
    """
    last = Path(folder, LAST_EPOCH)
    resumed = [f"--ckpt_path={last}"] if last.is_file() else []
    training.main(["fit", *words, f"--trainer.default_root_dir={folder}", *resumed], cli)


def run_child(run: Callable[[], None]) -> None:
    """Run what a process was started for.

    Args:
        run: What to do.

    Raises:
        SystemExit: As :func:`mgc.cli.main` tells.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    with report_user_errors(RESUME), signals.handled():
        run()
