"""Functions that use private names of Lightning, written for Lightning 2.6.6.

Check these names after a new release of Lightning, before raising its bound in ``pyproject.toml``.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint
    from torch import Tensor


class KeepConfiguration:
    """Mixin for a LightningCLI that keeps the given configuration."""

    def _parse_ckpt_path(self) -> None:
        """Do nothing.

        Lightning's method silently replaces the whole model section, even its class, by the
        hyperparameters of ``--ckpt_path`` (Lightning pull request 21455).
        """


def ignore_undefined(callback: "ModelCheckpoint") -> None:
    """Let a checkpoint callback skip epochs whose monitored metric is NaN, in place.

    Otherwise, it saves the first epochs as the best ones while it has fewer than ``save_top_k``.
    With -1, it saves every epoch.
    """
    if callback.save_top_k != -1:
        callback.check_monitor_top_k = _CheckDefined(callback)  # type: ignore[method-assign]


class _CheckDefined:
    """Method of a ModelCheckpoint that rejects NaN. Can be pickled."""

    def __init__(self, callback: "ModelCheckpoint") -> None:
        self.callback = callback

    def __call__(self, trainer: "Trainer", current: "Tensor | None" = None) -> bool:
        if current is None or current.isnan():
            return False
        return type(self.callback).check_monitor_top_k(self.callback, trainer, current)


def clear_restart_flags(trainer: "Trainer") -> None:
    """Let schedulers that monitor a metric step at the end of a resumed epoch.

    Lightning skips them there. Call this after the first step of the resumed fit.
    """
    trainer.fit_loop._restarting = False


def launched_processes(launcher: Any) -> Sequence[Any]:
    """Return the processes (``multiprocessing`` or ``subprocess``) that a launcher started."""
    processes: Sequence[Any] = getattr(launcher, "procs", ())
    return processes


def batches_of_epoch(trainer: "Trainer") -> tuple[int, int]:
    """Return how many training batches of this epoch were started, and how many completed."""
    current = trainer.fit_loop.epoch_loop.batch_progress.current
    return current.ready, current.completed


def discard_validation(checkpoint: dict[str, Any]) -> None:
    """Mark a checkpoint written during validation as written before it, in place."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    progress["total"] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress["current"] |= {"ready": 0, "started": 0, "processed": 0, "completed": 0}
    progress["is_last_batch"] = False


def discard_epoch(checkpoint: dict[str, Any]) -> None:
    """Mark a checkpoint written at the start of an epoch as written before it, in place."""
    for count in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
        count["ready"] = count["completed"]


def epochs_begun(checkpoint: dict[str, Any]) -> int:
    """Return the number of epochs started when a checkpoint was written; 0 if unknown.

    The checkpoint's ``epoch`` is one more if it was written at the end of an epoch.
    """
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_progress", {})
    epochs: int = progress.get("current", {}).get("started", 0)
    return epochs


def guard_restoring(
    trainer: "Trainer", guard: Callable[["Trainer"], AbstractContextManager[None]]
) -> None:
    """Enter a new context manager whenever the trainer restores a part of a checkpoint.

    Args:
        trainer: Trainer, changed in place.
        guard: Function that returns a context manager. Started processes need to pickle it.
    """
    for name in ("_restore_modules_and_callbacks", "restore_training_state"):
        setattr(trainer._checkpoint_connector, name, _GuardedMethod(trainer, name, guard))


class _GuardedMethod:
    """Method of the checkpoint connector that runs in a context manager. Can be pickled."""

    def __init__(
        self,
        trainer: "Trainer",
        name: str,
        guard: Callable[["Trainer"], AbstractContextManager[None]],
    ) -> None:
        self.trainer = trainer
        self.name = name
        self.guard = guard

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        connector = self.trainer._checkpoint_connector
        with self.guard(self.trainer):
            getattr(type(connector), self.name)(connector, *args, **kwargs)
