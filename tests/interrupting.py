"""Callbacks that interrupt or break a fit."""

import multiprocessing
import os
import signal
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Kill(Callback):
    """Sends a signal to this process and its workers at a given epoch and batch."""

    def __init__(
        self,
        epoch: int,
        batch: int,
        hook: Literal["train", "validation", "epoch_end"] = "train",
        signum: int = 15,
        rank: int = 0,
    ) -> None:
        self.epoch, self.batch, self.hook, self.signum, self.rank = (
            epoch,
            batch,
            hook,
            signum,
            rank,
        )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._kill(trainer, batch_idx, "train")

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.sanity_checking:
            self._kill(trainer, batch_idx, "validation")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._kill(trainer, self.batch, "epoch_end")

    def _kill(self, trainer: Trainer, batch: int, hook: str) -> None:
        here = (trainer.current_epoch, batch, hook, trainer.global_rank)
        if here == (self.epoch, self.batch, self.hook, self.rank):
            # Like a terminal, signal all processes of the group.
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, self.signum)
            os.kill(os.getpid(), self.signum)


class KillWorker(Callback):
    """Kills a data loading worker."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.current_epoch == 1 and batch_idx == 1:
            loader: Any = trainer.train_dataloader
            os.kill(loader._iterator._workers[0].pid, signal.SIGKILL)


class Spoil(Callback):
    """Sets weights to NaN before or after a batch of the second epoch."""

    def __init__(self, batch: int, before: bool = True) -> None:
        self.batch, self.before = batch, before

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._spoil(trainer, pl_module, batch_idx, before=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._spoil(trainer, pl_module, batch_idx, before=False)

    def _spoil(
        self, trainer: Trainer, pl_module: LightningModule, batch: int, before: bool
    ) -> None:
        if (trainer.current_epoch, batch, before) == (1, self.batch, self.before):
            with torch.no_grad():
                next(pl_module.parameters()).fill_(float("nan"))
