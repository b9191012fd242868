"""Work that one process does for all, and errors of processes that others started."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

from lightning.pytorch import Trainer
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from mgc.core.stopping import Stopped, signals
from mgc.errors import MgcError

T = TypeVar("T")


def on_rank_zero(trainer: Trainer | None, compute: Callable[[], T]) -> T:
    """Let the first process compute something, and tell the others.

    Args:
        trainer: The trainer whose processes do this, all of them; None for this process alone.
        compute: What to compute; its result can be pickled.

    Returns:
        The result, on every process.
    """
    if trainer is None or trainer.world_size == 1:
        return compute()
    result = compute() if trainer.is_global_zero else None
    return cast(T, trainer.strategy.broadcast(result))


@contextmanager
def errors_of_processes() -> Iterator[None]:
    """Turn the end of another process into an error of this one.

    Raises:
        MgcError: If a process failed by an error of mgc, or was killed.
        Stopped: If it was told to stop.
    """
    try:
        yield
    except ProcessExitedException as error:
        # The process has said what there is to say.
        signals.act(told=True)
        if error.exit_code > 128:
            raise Stopped(error.exit_code - 128, told=True) from error
        raise MgcError(f"A process of the run ended: {error}") from error
    except ProcessRaisedException as error:
        # All that is left of the error is the text of its traceback.
        found = re.search(rf"^{MgcError.__module__}\.\w+: (.*)\Z", str(error), re.M | re.S)
        if found is None:
            raise
        raise MgcError(found[1].strip()) from error
    except RuntimeError as error:
        # The words of torch.utils.data, which has no class for it.
        if not str(error).startswith("DataLoader worker"):
            raise
        signals.act(told=True)
        raise MgcError(
            f"A process that reads clips died, often because memory ran out: {error} Take fewer "
            "(--data.num_workers) or smaller batches, and go on from last.ckpt."
        ) from error
