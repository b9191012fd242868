"""Resumed runs that end like unbroken ones."""

import os

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mgc.data.clips import Batch


class SeedSteps(Callback):
    """Seed every training batch by its number.

    Dropout and other random layers then depend on the batch and the device's rank alone, not on
    what was drawn before, so a resumed run ends with the weights of an unbroken one.
    """

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Seed torch from the run's seed, the rank, the epoch and the batch."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        place = [seed, trainer.global_rank, trainer.current_epoch, batch_idx]
        (state,) = np.random.SeedSequence(place).generate_state(1, np.uint64)
        torch.manual_seed(int(state) >> 1)
