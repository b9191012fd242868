"""What mgc uses of Lightning that its documentation does not promise, read in Lightning 2.6.6.

Look at these after a new release of Lightning, before its bound in ``pyproject.toml`` is raised.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


class KeepConfiguration:
    """Part of a LightningCLI whose configuration stays as it was given."""

    def _parse_ckpt_path(self) -> None:
        """Do nothing.

        Lightning's own replaces the whole model section, even its class, by the hyperparameters of
        ``--ckpt_path``, in silence (Lightning pull request 21455).
        """


def forget_restart(trainer: "Trainer") -> None:
    """Let schedulers that follow a metric step at the end of a resumed epoch.

    Lightning leaves them out there, as if the metric were not known.

    Args:
        trainer: The trainer, after the first step of the resumed fit.
    """
    trainer.fit_loop._restarting = False


def launched_processes(launcher: Any) -> Sequence[Any]:
    """Find the processes that a launcher started.

    Args:
        launcher: ``trainer.strategy.launcher``, which may be None.

    Returns:
        Processes of ``multiprocessing`` or ``subprocess``.
    """
    processes: Sequence[Any] = getattr(launcher, "procs", ())
    return processes


def batches_of_epoch(trainer: "Trainer") -> tuple[int, int]:
    """Count the training batches of this epoch.

    Args:
        trainer: A trainer that fits.

    Returns:
        How many were begun, and how many were completed.
    """
    current = trainer.fit_loop.epoch_loop.batch_progress.current
    return current.ready, current.completed


def discard_validation(checkpoint: dict[str, Any]) -> None:
    """Let a checkpoint that was written while validating say that no validation had begun.

    Args:
        checkpoint: What Lightning is about to write; changed in place.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    progress["total"] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress["current"] |= {"ready": 0, "started": 0, "processed": 0, "completed": 0}
    progress["is_last_batch"] = False


def discard_epoch(checkpoint: dict[str, Any]) -> None:
    """Let a checkpoint that was written as an epoch began say that it has not begun.

    Args:
        checkpoint: What Lightning is about to write; changed in place.
    """
    for count in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
        count["ready"] = count["completed"]


def epochs_begun(checkpoint: dict[str, Any]) -> int:
    """Count the epochs that a fit had begun when it wrote a checkpoint.

    ``epoch`` itself counts one more in checkpoints that are written when an epoch is over.

    Args:
        checkpoint: What Lightning wrote.

    Returns:
        The number of epochs; 0 where the checkpoint does not hold it.
    """
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_progress", {})
    epochs: int = progress.get("current", {}).get("started", 0)
    return epochs
