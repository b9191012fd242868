"""Finishes the W&B run in processes that Lightning forks or spawns."""

import multiprocessing
from multiprocessing.util import Finalize

from lightning.pytorch import Callback, LightningModule, Trainer

from mgc.core.stopping import signals
from mgc.runs.tracking import finish_wandb_run, report_offline_runs


class FinishWandbRun(Callback):
    """Finishes the W&B run in processes that Lightning forks or spawns.

    These exit without the session of the command (see :func:`mgc.runs.tracking.wandb_session`).
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finish the run when the process exits, also after an error.

        Lightning reports errors to the callbacks of the parent process, not to these.
        """
        if _launched(trainer):
            Finalize(None, _finish_failed, exitpriority=1)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finish the run."""
        if _launched(trainer):
            _finish(0)


def _finish(exit_code: int) -> None:
    finish_wandb_run(exit_code)
    report_offline_runs()


def _finish_failed() -> None:
    _finish(1 if signals.received is None else 128 + signals.received)


def _launched(trainer: Trainer) -> bool:
    """Whether Lightning forked or spawned this process, rather than somebody else."""
    return trainer.strategy.launcher is not None and bool(multiprocessing.parent_process())
