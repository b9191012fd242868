"""Ends W&B runs in processes that Lightning launches."""

import multiprocessing
from multiprocessing.util import Finalize

from lightning.pytorch import Callback, LightningModule, Trainer

from mgc.core.stopping import signals
from mgc.runs.tracking import finish_wandb_run, report_offline_runs


class FinishWandbRun(Callback):
    """Finishes the W&B run in processes that Lightning forks or spawns.

    These processes exit outside of :func:`mgc.runs.tracking.wandb_session`.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finish the run at exit.

        After an error, Lightning calls no callback in these processes.
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
    """Return whether Lightning forked or spawned this process."""
    return trainer.strategy.launcher is not None and bool(multiprocessing.parent_process())
