"""Fits that stop when they are told to, and go on later as if nothing had been."""

import logging
import signal
from enum import Enum, auto
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, distributed

from mgc.core.lightning_internals import (
    batches_of_epoch,
    discard_epoch,
    discard_validation,
    forget_restart,
)
from mgc.core.stopping import REQUEUE, Stopped, signals
from mgc.data.loading import ResumableLoader
from mgc.runs.folder import CONFIG, run_folder

log = logging.getLogger(__name__)

#: Name of the checkpoint that an interrupted run goes on from.
LAST = "last.ckpt"


class _Place(Enum):
    """Where in a fit a checkpoint is written."""

    BATCH = auto()
    VALIDATION = auto()
    EPOCH = auto()


class KeepLast(Checkpoint):
    """Writes ``last.ckpt`` after every epoch, and when the process is told to stop.

    A run that goes on from it ends like an unbroken one. After an epoch it is written when all of
    the epoch is over, schedulers too; Lightning's own ``save_last`` writes before schedulers step,
    and in 2.6 only after epochs that were the best so far. In mid-epoch the next batch is the one
    that an unbroken run would take (see :class:`mgc.data.loading.ResumableLoader`); told to stop
    while validating, a run validates again. One device's signal (see :mod:`mgc.core.stopping`)
    stops all of them, after the same batch.

    It is a checkpoint to Lightning so that it runs after those that choose the best epoch, and
    keeps what they know.

    Attributes:
        path: Where the checkpoint goes; by default beside the others.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Initialize.

        Args:
            path: Where the checkpoint goes; by default beside the others.
        """
        self.path = path
        self._agreement: _Agreement | None = None
        self._place = _Place.BATCH
        self._resumed = False
        self._written = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """From here on note signals instead of stopping at once."""
        if stage == "fit" and not getattr(trainer, "fast_dev_run", False):
            signals.deferred = True
            signals.install(*REQUEUE)
            self._agreement = _Agreement(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """After the fit, stop at once when told to; also if that was too late for a checkpoint.

        Raises:
            Stopped: If a signal came after the last batch.
        """
        if stage == "fit":
            signals.deferred = False
            self._agreement = None
            signals.raise_received()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Keep what was learnt, if the error came between batches; stop at once from here on.

        So it is when a process that reads clips dies. Other devices are elsewhere by then, so that
        this is for one device alone.
        """
        # Torch's handler would raise what it knows of dead workers again, in the middle of this.
        if hasattr(signal, "SIGCHLD"):  # Windows has no such signal
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        begun, completed = batches_of_epoch(trainer)
        if (
            self._agreement is not None
            and isinstance(exception, Exception)
            and trainer.world_size == 1
            and trainer.training
            and begun == completed
            and self._splits(trainer, completed)
        ):
            self._save(trainer)
            log.warning("%s", self._go_on(trainer))
        signals.deferred = False
        self._agreement = None

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back from Lightning, whose handler broadcasts within the handler."""
        if self._agreement:
            signals.install(*REQUEUE)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back from Lightning."""
        if self._agreement:
            signals.install(*REQUEUE)
        self._resumed = trainer.fit_loop.restarting
        self._written = trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint of the epoch before, and stop if told to."""
        if self._agreement is None or not trainer.global_step:
            return
        self._place = _Place.EPOCH
        if self._written != trainer.global_step:
            self._save(trainer)
        if self._told():
            self._stop(trainer, f"after epoch {trainer.current_epoch - 1}")
        self._place = _Place.BATCH

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint of the last epoch."""
        if self._agreement and self._written != trainer.global_step:
            self._save(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop, unless gradients are being accumulated or a validation follows."""
        self._forget_restart(trainer)
        if self._told() and self._splits(trainer, batch_idx + 1):
            self._stop(trainer, f"in epoch {trainer.current_epoch}, after batch {batch_idx + 1}")

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop while validating."""
        if self._agreement is None:
            return
        if trainer.sanity_checking:
            if trainer.world_size == 1:
                signals.raise_received()
            return
        # Loaders of other packages may give devices unequal numbers of batches.
        loaders = trainer.val_dataloaders
        even = trainer.world_size == 1 or isinstance(loaders, ResumableLoader)
        if (even or batch_idx == 0) and self._told():
            self._place = _Place.VALIDATION
            self._stop(trainer, f"while validating epoch {trainer.current_epoch}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the first step after a restart is done."""
        if not trainer.sanity_checking:
            self._forget_restart(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Correct the counts by which Lightning knows where a run was."""
        if self._place is _Place.VALIDATION:
            discard_validation(checkpoint)
        elif self._place is _Place.EPOCH:
            discard_epoch(checkpoint)

    def _forget_restart(self, trainer: Trainer) -> None:
        if self._resumed:
            self._resumed = False
            forget_restart(trainer)

    def _splits(self, trainer: Trainer, done: int) -> bool:
        """Whether an epoch can be split after some batches, and exactly continued."""
        every = trainer.val_check_batch
        if trainer.check_val_every_n_epoch is None:
            number = trainer.fit_loop.total_batch_idx + 1
        else:
            number = done
        return (
            done > 0
            and done % trainer.accumulate_grad_batches == 0
            and not trainer.is_last_batch
            and (every is None or number % every != 0)
        )

    def _told(self) -> bool:
        return self._agreement is not None and self._agreement.reached()

    def _stop(self, trainer: Trainer, when: str) -> None:
        agreement = self._agreement
        if agreement is None or agreement.signum is None:
            raise RuntimeError("nobody asked to stop")
        if trainer.global_step and self._written != trainer.global_step:
            self._save(trainer)
        stopped = Stopped(agreement.signum, reported=True, code=_exit_code(trainer))
        if trainer.is_global_zero:
            log.warning("Stopped by %s %s. %s", stopped.name, when, self._go_on(trainer))
        raise stopped

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.file(trainer), weights_only=False)
        self._written = trainer.global_step

    def file(self, trainer: Trainer) -> Path:
        """Tell where the checkpoint goes.

        Args:
            trainer: The trainer of the run.

        Returns:
            Path of the file.
        """
        folder = getattr(trainer.checkpoint_callback, "dirpath", None)
        return self.path or Path(folder or run_folder(trainer) / "checkpoints") / LAST

    def _go_on(self, trainer: Trainer) -> str:
        """How to go on."""
        path = self.file(trainer)
        if not trainer.global_step:
            return "Nothing was learnt yet: give the same command again."
        config = run_folder(trainer) / CONFIG
        if self.path or not config.is_file():
            return f"Checkpoint: {path}. Give the same command again to go on."
        return f"Go on with: mgc fit --config {config} --ckpt_path {path}"


class _Agreement:
    """Lets devices agree after which batch they stop.

    What each has received is exchanged behind the next batch, on the CPU: waiting for it at every
    batch would hold up the devices.

    Attributes:
        signum: The signal that was agreed on.
    """

    def __init__(self, trainer: Trainer) -> None:
        """Initialize; all devices do so at once."""
        self.signum: int | None = None
        self._exchange: tuple[Tensor, Any] | None = None
        self._group: Any = None
        self._trainer = trainer
        if trainer.world_size > 1 and distributed.is_initialized():
            self._group = distributed.new_group(backend="gloo")

    def reached(self) -> bool:
        """Whether to stop now; all devices ask equally often, and get the same answer."""
        if self._trainer.world_size == 1:
            self.signum = signals.received
        elif self._group is None:  # TPUs and the like
            told = self._trainer.strategy.reduce_boolean_decision(bool(signals.received), all=False)
            self.signum = (signals.received or signal.SIGTERM) if told else None
        else:
            if self._exchange:
                flag, work = self._exchange
                work.wait()
                self.signum = int(flag) or None
            flag = torch.tensor(signals.received or 0)
            work = distributed.all_reduce(
                flag, distributed.ReduceOp.MAX, group=self._group, async_op=True
            )
            self._exchange = flag, work
        return self.signum is not None


def _exit_code(trainer: Trainer) -> int | None:
    """Exit code of this process, None for the usual one.

    Lightning kills its first process as soon as another one that it started ends with an error;
    W&B would not come to its end.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return 0 if isinstance(environment, LightningEnvironment) and trainer.local_rank else None
