"""Data loaders that resume in the middle of an epoch."""

import functools
import os
import signal
from collections.abc import Iterator
from multiprocessing import active_children
from multiprocessing.util import Finalize
from typing import Annotated, Any, TypeVar

from torch.utils.data import DataLoader

from mgc.core.child_processes import uninterrupted_children
from mgc.core.ranges import Range, check_value
from mgc.core.stopping import SIGNALS
from mgc.data.clips import Batch, EpochSampler
from mgc.errors import MgcError

T = TypeVar("T")


class WorkerLoader(DataLoader[T]):
    """Data loader whose workers end with the main process.

    Set ``worker_init_fn`` to :func:`ignore_stop_signals` or a function that calls it.
    """

    def __iter__(self) -> Any:
        """Start the workers."""
        if self.num_workers:
            kill_workers_at_exit(os.getpid())
        with uninterrupted_children():
            return super().__iter__()


class ResumableLoader(WorkerLoader[Batch]):
    """Data loader that skips the batches of an interrupted epoch without reading them.

    Lightning saves its state in checkpoints and restores it before the epoch starts. All devices
    share the same state.

    The sampler skips the batches. This is exact with worker processes too, because a batch counts
    when it is yielded, not when a worker prefetches it.
    """

    _yielded = 0
    _restored: dict[str, int] | None = None

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override] # a generator, on purpose
        """Yield the batches of the sampler's epoch.

        It is a generator because Lightning creates the iterator of a resumed run before it sets the
        sampler's epoch.

        Raises:
            MgcError: If the epoch was interrupted under different settings.
        """
        restored, self._restored = self._restored, None
        self._yielded = 0
        if not isinstance(self.sampler, EpochSampler):  # Lightning replaces it to overfit batches
            yield from super().__iter__()
            return
        if restored and restored["epoch"] == self.sampler.epoch:
            self._check_settings(restored, self.sampler)
            self._yielded = restored["batches"]
        self.sampler.skip = self._yielded * (self.batch_size or 1)
        for batch in super().__iter__():
            self._yielded += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, the number of batches yielded, and the settings that they depend on."""
        if not isinstance(self.sampler, EpochSampler):
            return {}
        position = {"epoch": self.sampler.epoch, "batches": self._yielded}
        return position | self._settings(self.sampler)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume from the state of another loader.

        Raises:
            MgcError: If it is invalid.
        """
        check_value("position in the training data in the checkpoint", dict, state)
        for name in ("epoch", "batches", "batch_size", "devices", "clips", "seed") if state else ():
            check_value(f"{name} in the checkpoint", Annotated[int, Range(0)], state.get(name))
        self._restored = state or None

    def _settings(self, sampler: EpochSampler) -> dict[str, int]:
        return {
            "batch_size": self.batch_size or 1,
            "devices": sampler.num_replicas,
            "clips": sampler.length,
            "seed": sampler.seed,
        }

    def _check_settings(self, restored: dict[str, int], sampler: EpochSampler) -> None:
        """Raise an error if the remaining batches would differ under the current settings."""
        for name, now in self._settings(sampler).items():
            if restored[name] != now and 0 < restored["batches"] < len(self):
                raise MgcError(
                    f"The checkpoint was written in the middle of an epoch with {name}="
                    f"{restored[name]}, but now {name}={now}. Resume with the same settings, or "
                    "from best.ckpt."
                )


def ignore_stop_signals(worker: int = 0) -> None:
    """Ignore signals to stop in a worker process of any number.

    Terminals and schedulers send them to all processes. The main process needs its workers until
    the end of a batch, and then stops them itself.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@functools.cache  # once per process: a fork inherits the cache, but not the finalizers
def kill_workers_at_exit(process: int) -> None:
    """Kill worker processes when this process exits.

    An interrupted run may leave workers behind. As they ignore SIGTERM, Python would wait for them
    forever. ``process``, the id of this process, is only the key of the cache.
    """
    Finalize(None, _kill_workers, exitpriority=0)


def _kill_workers() -> None:
    for child in active_children():
        if child.daemon:
            child.kill()
