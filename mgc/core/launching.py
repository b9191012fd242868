"""Runs code on rank 0 only, and converts errors of launched processes."""

import logging
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.distributed import DistError
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from mgc.core.stopping import Stopped, signals
from mgc.core.terminal import show_log
from mgc.errors import MgcError

T = TypeVar("T")

#: End of the path of the torch module that reads batches from workers.
DATALOADER_PATH = ("utils", "data", "dataloader.py")


def compute_on_rank_zero(trainer: Trainer | None, compute: Callable[[], T]) -> T:
    """Compute on rank 0 and return the result on every process.

    All processes of ``trainer`` must call this; None means this process only. The result must be
    picklable.
    """
    if trainer is None or trainer.world_size == 1:
        return compute()
    result = compute() if trainer.is_global_zero else None
    return cast(T, trainer.strategy.broadcast(result))


class PrepareSpawnedProcess(Callback):
    """Sets the log handler and warning filters that the processes of ``ddp_spawn`` lack."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Show mgc's log messages (rank zero only) and hide a warning of torch."""
        hide_warnings()
        if trainer.is_global_zero and not logging.getLogger("mgc").handlers:
            show_log()


def hide_warnings() -> None:
    """Hide the warning about a function that torch 2.12 deprecates and Lightning 2.6 calls."""
    warnings.filterwarnings("ignore", message=r".*LeafSpec.*deprecated")


@contextmanager
def convert_process_errors() -> Iterator[None]:
    """Convert the failure of a launched process to an error of this process.

    Raises:
        MgcError: If the process raised :class:`MgcError` or was killed.
        Stopped: If a signal stopped it.
    """
    try:
        yield
    except ProcessExitedException as error:
        # The process printed the message itself.
        signals.raise_received(reported=True)
        if error.exit_code > 128:
            raise Stopped(error.exit_code - 128, reported=True) from error
        raise MgcError(f"A process of the run ended: {error}") from error
    except ProcessRaisedException as error:
        # Only the traceback's text is available.
        found = re.search(rf"^{MgcError.__module__}\.\w+: (.*)\Z", str(error), re.M | re.S)
        if found is None:
            raise
        raise MgcError(found[1].strip()) from error
    except (RuntimeError, ConnectionError, EOFError) as error:
        if _is_lost_connection(error):
            signals.raise_received(reported=True)
            raise MgcError(
                "The connection to another process of the run was lost. It was killed, often "
                "because memory ran out, or it failed: see its messages. Resume from last.ckpt."
            ) from error
        if not _is_dead_worker(error):
            raise
        signals.raise_received(reported=True)
        raise MgcError(
            f"A data loader worker died, often because memory ran out: {error} Use fewer workers "
            "(--data.num_workers) or smaller batches, and resume from last.ckpt."
        ) from error


def is_global_zero() -> bool:
    """Return whether Lightning has given this process rank 0, or none."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _is_lost_connection(error: Exception) -> bool:
    """Return whether a process that gradients or results are exchanged with has gone."""
    # Gloo's errors have no class of their own.
    return isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and "gloo/transport" in str(error)
    )


def _is_dead_worker(error: Exception) -> bool:
    """Return whether a data loader worker died. torch.utils.data has no class for this error."""
    if isinstance(error, RuntimeError):
        return str(error).startswith("DataLoader worker")
    # The worker died while sending a batch.
    frames = traceback.extract_tb(error.__traceback__)
    return any(Path(frame.filename).parts[-3:] == DATALOADER_PATH for frame in frames)
