"""Loaders that go on in the middle of an epoch."""

import functools
import os
import signal
from collections.abc import Iterator
from multiprocessing import active_children
from multiprocessing.util import Finalize

from torch.utils.data import DataLoader

from mgc.core.stopping import SIGNALS
from mgc.data.clips import Batch, EpochSampler
from mgc.errors import MgcError


class ResumableLoader(DataLoader[Batch]):
    """Loader that leaves out what a broken-off epoch has had already, without reading it.

    Lightning keeps its state in checkpoints, and restores it before the epoch begins. The state is
    the same on every device, so that of one serves all.

    It is the sampler that skips. With worker processes this is exact, as batches count when they
    are given out, not when a worker reads them ahead.
    """

    _given = 0
    _restored: dict[str, int] | None = None

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override] # a generator, on purpose
        """Give the batches of the sampler's epoch.

        Nothing happens before the first batch is asked for: Lightning makes the iterator of a
        resumed run before it tells the sampler the epoch.

        Raises:
            MgcError: If the epoch was broken off with other settings.
        """
        if self.num_workers:
            end_readers_at_exit(os.getpid())
        restored, self._restored = self._restored, None
        self._given = 0
        if not isinstance(self.sampler, EpochSampler):  # Lightning replaces it to overfit batches
            yield from super().__iter__()
            return
        if restored and restored["epoch"] == self.sampler.epoch:
            self._check(restored, self.sampler)
            self._given = restored["batches"]
        self.sampler.skip = self._given * (self.batch_size or 1)
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Tell what of which epoch was given out, and by what settings."""
        if not isinstance(self.sampler, EpochSampler):
            return {}
        place = {"epoch": self.sampler.epoch, "batches": self._given}
        return place | self._settings(self.sampler)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where another loader was.

        Args:
            state: What its :meth:`state_dict` told.
        """
        self._restored = state or None

    def _settings(self, sampler: EpochSampler) -> dict[str, int]:
        return {
            "batch_size": self.batch_size or 1,
            "devices": sampler.num_replicas,
            "clips": sampler.length,
            "seed": sampler.seed,
        }

    def _check(self, restored: dict[str, int], sampler: EpochSampler) -> None:
        """Refuse settings by which the rest of the epoch would be another."""
        for name, now in self._settings(sampler).items():
            if restored[name] != now and 0 < restored["batches"] < len(self):
                raise MgcError(
                    f"The checkpoint was written in the middle of an epoch with {name}="
                    f"{restored[name]}, but now {name}={now}, so the rest of the epoch would not "
                    "be what is left. Go on with the same settings, or from best.ckpt."
                )


def leave_signals_to_parent() -> None:
    """Let a process that reads clips live on when a signal to stop is sent to all processes.

    Terminals and schedulers do so. The main process needs its workers up to the end of a batch, and
    ends them itself.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@functools.cache  # once in each process: a fork has the cache, but none of the finalizers
def end_readers_at_exit(process: int) -> None:
    """See to it that processes that read clips end with this one.

    A run that is stopped may leave some, and they do not hear the SIGTERM with which Python would
    end them, and then wait for them for ever.

    Args:
        process: Number of this process.
    """
    Finalize(None, _end_readers, exitpriority=0)


def _end_readers() -> None:
    for child in active_children():
        if child.daemon:
            child.kill()
