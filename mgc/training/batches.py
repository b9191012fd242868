"""Says what a step of training is: how many clips, on how many devices, at what rate."""

import logging
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)


class LogBatchSize(Callback):
    """Logs batch size and learning rate when a fit starts.

    Both are taken as they are given: neither is divided by the number of devices nor multiplied.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log them, on the first process."""
        if trainer.is_global_zero:
            log.info("%s", describe_step(trainer))


def describe_step(trainer: Trainer) -> str:
    """Put a step of training into words.

    Args:
        trainer: A trainer whose fit has started.

    Returns:
        One line.
    """
    devices, accumulate = trainer.world_size, trainer.accumulate_grad_batches
    size: Any = getattr(trainer.train_dataloader, "batch_size", None)
    parts = f"{size or 'unknown'} per device x {devices} {_plural(devices)}"
    if accumulate > 1:
        parts += f" x {accumulate} batches accumulated"
    whole = f" = {size * devices * accumulate} clips a step" if isinstance(size, int) else ""
    rates = [f"{group['lr']:g}" for o in trainer.optimizers for group in o.param_groups]
    rate = f"; learning rate {', '.join(dict.fromkeys(rates))} as given, not scaled"
    return f"Batch: {parts}{whole}{rate if rates else ''}."


def _plural(devices: int) -> str:
    return "device" if devices == 1 else "devices"
