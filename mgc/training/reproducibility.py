"""Seeds each training step, so that resumed runs are reproducible."""

import os

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mgc.data.clips import Batch


class SeedSteps(Callback):
    """Seeds every training step from the run's seed, the rank, the epoch and the batch index.

    Dropout and other random layers do not depend on earlier steps, so a resumed run ends with the
    same weights as an uninterrupted one.
    """

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Seed torch."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        entropy = [seed, trainer.global_rank, trainer.current_epoch, batch_idx]
        (state,) = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
        torch.manual_seed(int(state) >> 1)
