"""Stops a diverged fit before it overwrites a checkpoint."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.training.interruption import KeepLast


class StopOnDivergence(Callback):
    """Stops a fit whose loss or weights are NaN or infinite.

    On a CPU, checks every batch. Other devices record the first bad batch and are read every
    ``log_every_n_steps`` batches and before each checkpoint, because reading synchronizes them.
    """

    def __init__(self) -> None:
        """Initialize without a bad batch."""
        self._first: Tensor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the state."""
        self._first = torch.full((), torch.inf, device=pl_module.device)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Check the loss of a batch.

        Raises:
            MgcError: If a loss since the last check is not finite.
        """
        loss = outputs.get("loss") if isinstance(outputs, dict) else None
        if self._first is None or not isinstance(loss, Tensor):
            return
        # Count batches: with accumulated gradients there are fewer steps.
        number = float(trainer.fit_loop.total_batch_idx)
        bad = ~torch.isfinite(loss.detach()).all().to(self._first.device)
        self._first = torch.where(bad, self._first.clamp(max=number), self._first)
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self._first.device.type == "cpu" or (every and (batch_idx + 1) % every == 0):
            self._check(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check loss and weights before they are saved.

        Raises:
            MgcError: If one of them is not finite.
        """
        if self._first is None:
            return
        self._check(trainer)
        bad = [
            name
            for name, weight in pl_module.named_parameters()
            if not torch.isfinite(weight.detach()).all()
        ]
        if trainer.strategy.reduce_boolean_decision(bool(bad), all=False):
            which = f"The weights {bad[0]}" if bad else "Weights on another device"
            steps = trainer.global_step
            raise MgcError(f"{which} are not finite after {steps} steps. {_hint(trainer)}")

    def _check(self, trainer: Trainer) -> None:
        # All devices must stop together: a single one would wait for the others forever.
        found = torch.isfinite(self._first) if self._first is not None else torch.tensor(False)
        if trainer.strategy.reduce_boolean_decision(bool(found), all=False):
            where = "on another device"
            if self._first is not None and bool(found):
                epoch, batch = divmod(int(self._first), int(trainer.num_training_batches))
                where = f"at epoch {epoch}, batch {batch}"
            raise MgcError(f"Loss is not finite {where}. {_hint(trainer)}")


def _hint(trainer: Trainer) -> str:
    """Suggest settings, and name the last checkpoint."""
    rates = {group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups}
    rate = ", ".join(f"{rate:g}" for rate in sorted(rates))
    files = [c.file(trainer) for c in trainer.callbacks if isinstance(c, KeepLast)]  # type: ignore[attr-defined]
    kept = "".join(f" The last good checkpoint is {file}." for file in files if file.is_file())
    clip = "" if trainer.gradient_clip_val else ", --trainer.gradient_clip_val 1"
    half = str(trainer.precision).startswith("16")
    precision = ", --trainer.precision bf16-mixed" if half else ""
    return f"Try a lower learning rate (now {rate}){clip}{precision}.{kept}"
