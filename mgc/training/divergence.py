"""Training that has diverged is stopped before it spoils a checkpoint."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.training.interruption import KeepLast


class StopOnDivergence(Callback):
    """Stops a fit whose loss or weights are NaN or infinite, and keeps the good checkpoints.

    On a CPU every batch is looked at. Elsewhere the device notes the first bad step by itself and
    is only asked every ``log_every_n_steps`` of the trainer, and before each checkpoint: asking at
    every batch would make it wait.
    """

    def __init__(self) -> None:
        """Initialize with nothing seen."""
        self._first: Tensor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget earlier fits."""
        self._first = torch.full((), torch.inf, device=pl_module.device)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Look at the loss of a batch.

        Raises:
            MgcError: If the loss of this batch, or one shortly before, is not finite.
        """
        loss = outputs.get("loss") if isinstance(outputs, dict) else None
        if self._first is None or not isinstance(loss, Tensor):
            return
        # The number of batches, as with gradients accumulated there are fewer steps.
        number = float(trainer.fit_loop.total_batch_idx)
        bad = ~torch.isfinite(loss.detach()).all().to(self._first.device)
        self._first = torch.where(bad, self._first.clamp(max=number), self._first)
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self._first.device.type == "cpu" or (every and (batch_idx + 1) % every == 0):
            self._check(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look at the weights, which a finite loss may have spoiled, before they are written.

        Raises:
            MgcError: If the weights or a loss before are not finite.
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
            which = f"The weights {bad[0]}" if bad else "Weights of another device"
            steps = trainer.global_step
            raise MgcError(f"{which} are not finite after {steps} steps. {_advice(trainer)}")

    def _check(self, trainer: Trainer) -> None:
        # All devices stop together: one that goes on would wait for the others for ever.
        found = torch.isfinite(self._first) if self._first is not None else torch.tensor(False)
        if trainer.strategy.reduce_boolean_decision(bool(found), all=False):
            batches = trainer.num_training_batches
            place = "on another device"
            if self._first is not None and bool(found):
                epoch, batch = divmod(int(self._first), int(batches))
                place = f"at batch {batch} of epoch {epoch}"
            raise MgcError(f"The loss is not finite {place}. {_advice(trainer)}")


def _advice(trainer: Trainer) -> str:
    """What to do about it, and what there is to go on from."""
    rates = {group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups}
    rate = ", ".join(f"{rate:g}" for rate in sorted(rates))
    files = [c.file(trainer) for c in trainer.callbacks if isinstance(c, KeepLast)]  # type: ignore[attr-defined]
    kept = "".join(f" The last good checkpoint is {file}." for file in files if file.is_file())
    clip = "" if trainer.gradient_clip_val else " or clip gradients (--trainer.gradient_clip_val 1)"
    half = str(trainer.precision).startswith("16")
    precision = ", or take --trainer.precision bf16-mixed" if half else ""
    return f"Lower the learning rate (it is {rate}){clip}{precision}.{kept}"
