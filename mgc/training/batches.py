"""Logs the batch size and learning rate of a fit."""

import logging
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)


class LogBatchSize(Callback):
    """Logs batch size and learning rate when a fit starts.

    Neither is scaled with the number of devices.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log a line (rank zero only)."""
        if trainer.is_global_zero:
            log.info("%s", describe_step(trainer))


def describe_step(trainer: Trainer) -> str:
    """Describe the batch size and learning rate of a fit that has started."""
    devices = trainer.world_size
    # The last batch of an epoch ends a step.
    accumulate = int(min(trainer.accumulate_grad_batches, trainer.num_training_batches))
    unit = "device" if devices == 1 else "devices"
    size: Any = getattr(trainer.train_dataloader, "batch_size", None)
    parts = f"{size or 'unknown'} per device x {devices} {unit}"
    if accumulate > 1:
        parts += f" x {accumulate} batches accumulated"
    total = f" = {size * devices * accumulate} clips per step" if isinstance(size, int) else ""
    rates = [f"{group['lr']:g}" for o in trainer.optimizers for group in o.param_groups]
    rate = f"; learning rate {', '.join(dict.fromkeys(rates))} as given, not scaled"
    return f"Batch: {parts}{total}{rate if rates else ''}."
