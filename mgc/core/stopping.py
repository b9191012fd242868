"""What signals do: SIGTERM, Ctrl-C, and the one by which SLURM announces the end of a job.

A command that is told to stop ends with the exit code 128 + signal, as shells report it, says so in
one line and leaves nothing half-written. A fit first writes a checkpoint (see
:mod:`mgc.training.interruption`), so there the signal is only noted until the fit gets to it.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mgc.core.lightning_internals import launched_processes

#: What asks a command to stop.
SIGNALS = (signal.SIGTERM, signal.SIGINT)

#: What SLURM is told to send before a job's time is over (``sbatch --signal=SIGUSR1@120``). Windows
#: does not have it, nor SLURM.
REQUEUE = (signal.SIGUSR1,) if hasattr(signal, "SIGUSR1") else ()

#: Seconds after which a second Ctrl-C is impatience, not the same one sent to a group of processes.
IMPATIENCE = 2.0


class Stopped(SystemExit):
    """The process was told to stop.

    Attributes:
        signum: Number of the signal.
        told: Whether the user has been told.
    """

    def __init__(self, signum: int, told: bool = False, code: int | None = None) -> None:
        """Initialize.

        Args:
            signum: Number of the signal.
            told: Whether the user has been told.
            code: Exit code of the process; by default 128 + ``signum``.
        """
        super().__init__(128 + signum if code is None else code)
        self.signum = signum
        self.told = told

    @property
    def name(self) -> str:
        """Name of the signal."""
        return signal.Signals(self.signum).name


class Signals:
    """Handles signals for the process.

    Attributes:
        received: The signal that was received and not acted on yet.
        deferred: Whether signals are noted, for something that will act on them.
    """

    def __init__(self) -> None:
        """Initialize with nothing received."""
        self.received: int | None = None
        self.deferred = False
        self._since = 0.0
        self._launcher: Any = None
        self._pid = 0

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle signals while a command runs; afterwards as before.

        Raises:
            Stopped: In place of what a signal interrupts.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may
            return
        before = {number: signal.getsignal(number) for number in (*SIGNALS, *REQUEUE)}
        # Another command may have run in this process.
        self.received, self.deferred, self._launcher = None, False, None
        self.install()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def install(self, *others: int) -> None:
        """Handle signals from now on, whoever did before.

        Args:
            *others: Signals besides SIGTERM and SIGINT.
        """
        for number in (*SIGNALS, *others):
            signal.signal(number, self)

    def watch(self, trainer: Any) -> None:
        """Pass signals on to the processes that a trainer of Lightning starts.

        Args:
            trainer: The trainer.
        """
        self._launcher = trainer.strategy.launcher
        self._pid = os.getpid()

    def act(self, told: bool = False) -> None:
        """Stop now, if a signal was received.

        Args:
            told: Whether the user has been told.

        Raises:
            Stopped: If so.
        """
        if self.received is not None:
            raise Stopped(self.received, told)

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        waiting = self._pass_on(signum)
        impatient = self.received is not None and time.monotonic() - self._since > IMPATIENCE
        if self.received is None:
            self.received, self._since = signum, time.monotonic()
        if not (self.deferred or waiting) or (signum == signal.SIGINT and impatient):
            raise Stopped(signum)

    def _pass_on(self, signum: int) -> bool:
        """Send a signal to the launched processes; tell whether this one only waits for them."""
        if os.getpid() != self._pid:  # this is one of them
            return False
        running = [p for p in launched_processes(self._launcher) if _runs(p)]
        for process in running:
            os.kill(process.pid, signum)
        return any(hasattr(process, "is_alive") for process in running)


def _runs(process: Any) -> bool:
    """Whether a process of ``multiprocessing`` or ``subprocess`` runs."""
    alive: bool = process.is_alive() if hasattr(process, "is_alive") else process.poll() is None
    return alive


#: Signals of this process.
signals = Signals()
