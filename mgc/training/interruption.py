"""Stops fits on a signal, with a checkpoint from which they resume exactly."""

import logging
import shlex
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
    clear_restart_flags,
    discard_epoch,
    discard_validation,
)
from mgc.core.stopping import REQUEUE, Stopped, signals
from mgc.data.loading import ResumableLoader
from mgc.runs.folder import CONFIG, LAST_CHECKPOINT, run_folder

log = logging.getLogger(__name__)


class _Phase(Enum):
    """Part of a fit in which a checkpoint is written."""

    BATCH = auto()
    VALIDATION = auto()
    EPOCH = auto()


class KeepLast(Checkpoint):
    """Writes ``last.ckpt`` after every epoch, and when the process receives a signal to stop.

    A run that resumes from it ends with the same weights as an uninterrupted one. The checkpoint of
    an epoch is written after schedulers have stepped; Lightning's ``save_last`` writes it before
    that, and in 2.6 only after a new best epoch. A run stopped in mid-epoch resumes with the next
    batch (see :class:`mgc.data.loading.ResumableLoader`). A run stopped during validation repeats
    the validation. A signal to one device (see :mod:`mgc.core.stopping`) stops all devices after
    the same batch.

    Lightning runs ``Checkpoint`` callbacks last, so this one saves the state of those that choose
    the best epoch.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Initialize with the path of the checkpoint; by default the folder of checkpoints."""
        self.path = path
        self._agreement: _Agreement | None = None
        self._phase = _Phase.BATCH
        self._resumed = False
        self._written = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Defer signals until a checkpoint can be written."""
        if stage == "fit" and not getattr(trainer, "fast_dev_run", False):
            signals.deferred = True
            signals.install(*REQUEUE)
            self._agreement = _Agreement(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop deferring signals.

        Raises:
            Stopped: If a signal arrived after the last batch.
        """
        if stage == "fit":
            signals.deferred = False
            self._agreement = None
            signals.raise_received()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save a checkpoint if the error occurred between batches; stop deferring signals.

        A dead worker of a data loader raises such an error. With several devices, nothing is saved,
        because they may be at different batches.
        """
        # torch's handler would raise the error of a dead worker again.
        if hasattr(signal, "SIGCHLD"):  # not on Windows
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        started, completed = batches_of_epoch(trainer)
        if (
            self._agreement is not None
            and isinstance(exception, Exception)
            and trainer.world_size == 1
            and trainer.training
            and started == completed
            and self._can_resume_after(trainer, completed)
        ):
            self._save(trainer)
            log.warning("%s", self._resume_hint(trainer))
        signals.deferred = False
        self._agreement = None

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's signal handlers, which broadcast inside the handler."""
        if self._agreement:
            signals.install(*REQUEUE)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's signal handlers."""
        if self._agreement:
            signals.install(*REQUEUE)
        self._resumed = trainer.fit_loop.restarting
        self._written = trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a checkpoint of the previous epoch; stop on a signal."""
        if self._agreement is None or not trainer.global_step:
            return
        self._phase = _Phase.EPOCH
        if self._written != trainer.global_step:
            self._save(trainer)
        if self._should_stop():
            self._stop(trainer, f"after epoch {trainer.current_epoch - 1}")
        self._phase = _Phase.BATCH

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a checkpoint of the last epoch."""
        if self._agreement and self._written != trainer.global_step:
            self._save(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop on a signal, unless gradients are being accumulated or validation follows."""
        self._clear_restart_flags(trainer)
        if self._should_stop() and self._can_resume_after(trainer, batch_idx + 1):
            self._stop(trainer, f"in epoch {trainer.current_epoch}, after batch {batch_idx + 1}")

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop on a signal during validation."""
        if self._agreement is None:
            return
        if trainer.sanity_checking:
            if trainer.world_size == 1:
                signals.raise_received()
            return
        # With other loaders, devices may get unequal numbers of batches.
        loaders = trainer.val_dataloaders
        even = trainer.world_size == 1 or isinstance(loaders, ResumableLoader)
        if (even or batch_idx == 0) and self._should_stop():
            self._phase = _Phase.VALIDATION
            self._stop(trainer, f"while validating epoch {trainer.current_epoch}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Clear Lightning's restart flags after the first validation."""
        if not trainer.sanity_checking:
            self._clear_restart_flags(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Correct Lightning's progress counters."""
        if self._phase is _Phase.VALIDATION:
            discard_validation(checkpoint)
        elif self._phase is _Phase.EPOCH:
            discard_epoch(checkpoint)

    def _clear_restart_flags(self, trainer: Trainer) -> None:
        if self._resumed:
            self._resumed = False
            clear_restart_flags(trainer)

    def _can_resume_after(self, trainer: Trainer, batches: int) -> bool:
        """Return whether a run can resume exactly after this many batches of an epoch."""
        every = trainer.val_check_batch
        if trainer.check_val_every_n_epoch is None:
            number = trainer.fit_loop.total_batch_idx + 1
        else:
            number = batches
        return (
            batches > 0
            and batches % trainer.accumulate_grad_batches == 0
            and not trainer.is_last_batch
            and (every is None or number % every != 0)
        )

    def _should_stop(self) -> bool:
        return self._agreement is not None and self._agreement.reached()

    def _stop(self, trainer: Trainer, when: str) -> None:
        agreement = self._agreement
        if agreement is None or agreement.signum is None:
            raise RuntimeError("no signal was received")
        if trainer.global_step and self._written != trainer.global_step:
            self._save(trainer)
        stopped = Stopped(agreement.signum, reported=True, code=_exit_code(trainer))
        if trainer.is_global_zero:
            log.warning("Stopped by %s %s. %s", stopped.name, when, self._resume_hint(trainer))
        raise stopped

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.file(trainer), weights_only=False)
        self._written = trainer.global_step

    def file(self, trainer: Trainer) -> Path:
        """Return the path of the checkpoint."""
        folder = getattr(trainer.checkpoint_callback, "dirpath", None)
        return self.path or Path(folder or run_folder(trainer) / "checkpoints") / LAST_CHECKPOINT

    def _resume_hint(self, trainer: Trainer) -> str:
        """Return the command that resumes the run."""
        path = self.file(trainer)
        if not trainer.global_step:
            return "No checkpoint yet: run the same command again."
        config = run_folder(trainer) / CONFIG
        if self.path or not config.is_file():
            return f"Checkpoint: {path}. Run the same command again to resume."
        command = ["mgc", "fit", "--config", str(config), "--ckpt_path", str(path)]
        return f"Resume with: {shlex.join(command)}"


class _Agreement:
    """Lets all devices stop after the same batch.

    Received signals are exchanged on the CPU while the next batch runs, so devices do not wait.

    Attributes:
        signum: Signal that one of the devices received.
    """

    def __init__(self, trainer: Trainer) -> None:
        """Initialize. All devices must call this."""
        self.signum: int | None = None
        self._exchange: tuple[Tensor, Any] | None = None
        self._group: Any = None
        self._trainer = trainer
        if trainer.world_size > 1 and distributed.is_initialized():
            self._group = distributed.new_group(backend="gloo")

    def reached(self) -> bool:
        """Return whether to stop. All devices must call this, and get the same result."""
        if self._trainer.world_size == 1:
            self.signum = signals.received
        elif self._group is None:  # TPUs and others
            received = bool(signals.received)
            any_received = self._trainer.strategy.reduce_boolean_decision(received, all=False)
            self.signum = (signals.received or signal.SIGTERM) if any_received else None
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
    """Return the exit code of this process, None for the default.

    When a process that Lightning started exits with an error, Lightning kills the first process,
    which then cannot finish its W&B run.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return 0 if isinstance(environment, LightningEnvironment) and trainer.local_rank else None
