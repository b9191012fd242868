"""Resumed runs that end like unbroken ones."""

import os

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mgc.data.clips import Batch


class SeedSteps(Callback):
    """Seed every training step by its number.

    Dropout and other random layers then depend on the step and the device's rank alone, not on
    what was drawn before, so a resumed run ends with the weights of an unbroken one.
    """

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Seed torch from the run's seed, the step and the rank."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        # Far apart for neighbouring runs, ranks and steps.
        torch.manual_seed(
            (seed * 1_000_003 + trainer.global_rank) * 1_000_003 + trainer.global_step
        )
