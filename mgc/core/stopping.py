"""Handles SIGTERM, Ctrl-C and the signal that SLURM sends before a job's time limit.

A stopped command exits with code 128 + signal, prints one line and leaves no partial files. ``fit``
writes a checkpoint first (:mod:`mgc.training.interruption`), so it defers signals.
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

#: Signals that stop a command.
SIGNALS = (signal.SIGTERM, signal.SIGINT)

#: Signal that ``sbatch --signal=SIGUSR1@120`` requests before the time limit. Empty on Windows.
REQUEUE = (signal.SIGUSR1,) if hasattr(signal, "SIGUSR1") else ()

#: Seconds within which a second Ctrl-C counts as the first one, which may arrive twice.
SAME_SIGNAL_SECONDS = 2.0


class Stopped(SystemExit):
    """Raised when a signal stops the process.

    Args:
        signum: Number of the signal.
        reported: Whether a message about it was already printed.
        code: Exit code, by default 128 + ``signum``.
    """

    def __init__(self, signum: int, reported: bool = False, code: int | None = None) -> None:
        super().__init__(128 + signum if code is None else code)
        self.signum = signum
        self.reported = reported

    @property
    def name(self) -> str:
        """Name of the signal."""
        return signal.Signals(self.signum).name


class Signals:
    """Signal handler of the process.

    Attributes:
        received: First signal received.
        deferred: Whether to record a signal instead of raising; the code that sets it must call
            :meth:`raise_received`.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferred = False
        self._since = 0.0
        self._launcher: Any = None
        self._pid = 0

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle signals while a command runs, then restore the previous handlers.

        Raises:
            Stopped: When a signal arrives.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        before = {number: signal.getsignal(number) for number in (*SIGNALS, *REQUEUE)}
        # Reset: another command may have run in this process.
        self.received, self.deferred, self._launcher = None, False, None
        self.install()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def install(self, *others: int) -> None:
        """Handle SIGTERM, SIGINT and ``others``, replacing any other handler."""
        for number in (*SIGNALS, *others):
            signal.signal(number, self)

    def watch(self, trainer: Any) -> None:
        """Forward signals to the processes that a Lightning trainer launches."""
        self._launcher = trainer.strategy.launcher
        self._pid = os.getpid()

    def raise_received(self, reported: bool = False) -> None:
        """Raise :class:`Stopped` if a signal was received."""
        if self.received is not None:
            raise Stopped(self.received, reported)

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        waiting = self._forward(signum)
        repeated = self.received is not None and (
            time.monotonic() - self._since > SAME_SIGNAL_SECONDS
        )
        if self.received is None:
            self.received, self._since = signum, time.monotonic()
        if not (self.deferred or waiting) or (signum == signal.SIGINT and repeated):
            raise Stopped(signum)

    def _forward(self, signum: int) -> bool:
        """Send a signal to the launched processes; return whether this one only waits for them."""
        if os.getpid() != self._pid:  # this is a launched process
            return False
        running = [p for p in launched_processes(self._launcher) if _is_running(p)]
        for process in running:
            os.kill(process.pid, signum)
        return any(hasattr(process, "is_alive") for process in running)


def _is_running(process: Any) -> bool:
    """Check a process of ``multiprocessing`` or ``subprocess``."""
    alive: bool = process.is_alive() if hasattr(process, "is_alive") else process.poll() is None
    return alive


#: Handler of this process.
signals = Signals()
