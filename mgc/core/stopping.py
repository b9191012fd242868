"""Handles SIGTERM, Ctrl-C and the signal that SLURM sends before a job's time limit.

A stopped command exits with code 128 + signal, prints one line and leaves no partial files. ``fit``
writes a checkpoint first (:mod:`mgc.training.interruption`), so it defers signals.

Python runs a signal handler between two of its instructions, not within a long call of native code,
and ignores its exceptions in some places. So a thread watches too: it ends the process and its
child processes if they are still running some seconds later.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from mgc.core.child_processes import kill_descendants
from mgc.core.lightning_internals import launched_processes

#: Signals that stop a command.
SIGNALS = (signal.SIGTERM, signal.SIGINT)

#: Signal that ``sbatch --signal=SIGUSR1@120`` requests before the time limit. Empty on Windows.
REQUEUE = (signal.SIGUSR1,) if hasattr(signal, "SIGUSR1") else ()

#: Seconds within which a second Ctrl-C counts as the first one, which may arrive twice.
SAME_SIGNAL_SECONDS = 2.0


#: Seconds after a signal within which a command must end.
GRACE_SECONDS = 2.0

#: The same for a fit, which finishes a batch and writes a checkpoint. SLURM kills after 30 seconds.
FIT_GRACE_SECONDS = 25.0


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
        reported: Whether a message about the signal was printed.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferred = False
        self.reported = False
        self._since = 0.0
        self._launcher: Any = None
        self._pid = 0
        self._finished = False
        self._fits = 0

    @contextmanager
    def handled(self, hint: str = "", exits: bool = False) -> Iterator[None]:
        """Handle signals while a command runs.

        Args:
            hint: What to do after a signal, for the message if the command does not end by itself.
            exits: Whether the process exits afterwards. It and its child processes are then killed
                if it does not end in time. Otherwise the previous handlers are restored.

        Raises:
            Stopped: When a signal arrives.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        before = {number: signal.getsignal(number) for number in (*SIGNALS, *REQUEUE)}
        # Reset: another command may have run in this process.
        self.received, self.deferred, self._launcher = None, False, None
        self.reported = self._finished = False
        if exits:
            self._watch_for_signals(hint)
        self.install()
        try:
            yield
        finally:
            if exits:
                self._finished = True
            else:
                for number, handler in before.items():
                    signal.signal(number, handler)

    @contextmanager
    def running_fits(self) -> Iterator[None]:
        """Allow child processes as much time to end as a fit."""
        self._fits += 1
        try:
            yield
        finally:
            self._fits -= 1

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
        if self._finished:
            return  # the process is exiting
        waiting = self._forward(signum)
        repeated = self.received is not None and (
            time.monotonic() - self._since > SAME_SIGNAL_SECONDS
        )
        if self.received is None:
            self.received, self._since = signum, time.monotonic()
        if _is_importing(frame):
            _send_later(signum)  # C++ code that PyTorch runs on import aborts if this raises
            return
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

    def _watch_for_signals(self, hint: str) -> None:
        """Start the thread that ends the process if a signal does not."""
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        if hasattr(os, "register_at_fork"):
            # A forked process would report its signals to this one.
            os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
        sys.unraisablehook = self._raise_again
        threading.Thread(
            target=self._end_in_time, args=(reader, writer, hint), daemon=True, name="mgc-signals"
        ).start()

    def _end_in_time(self, reader: socket.socket, writer: socket.socket, hint: str) -> None:
        """Wait for a signal, then end the process if it does not end by itself.

        Args:
            reader: Receives the numbers of signals.
            writer: Its other end, kept open.
            hint: What to do after the signal.
        """
        number, since, fits, deadline = 0, 0.0, False, float("inf")
        while time.monotonic() < deadline:
            waits = None if not number else 0.1
            for received in reader.recv(64) if select.select([reader], [], [], waits)[0] else b"":
                now = time.monotonic()
                if received in SIGNALS and not number:
                    number, since = received, now
                elif received == signal.SIGINT and now - since > SAME_SIGNAL_SECONDS:
                    since, fits = now - GRACE_SECONDS / 2, False
            if number:
                fits = fits or self.deferred or self._fits > 0
                deadline = since + (FIT_GRACE_SECONDS if fits else GRACE_SECONDS)
        if not self.reported:
            line = f"mgc: stopped by {signal.Signals(number).name}. {hint}".rstrip()
            with suppress(OSError):
                os.write(2, f"{line}\n".encode())
        kill_descendants()
        os._exit(128 + number)

    def _raise_again(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Raise the exception of a signal handler that Python had to ignore, as in a destructor.

        Exceptions of this function are ignored as well, so it sends another signal.
        """
        error = unraisable.exc_value
        if isinstance(error, Stopped):
            _send_later(error.signum)
        elif isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
            # PyTorch raises this once. Without it, reading from a dead worker may never end.
            _raise_later(error)
        elif self.received is None:
            sys.__unraisablehook__(unraisable)


def _send_later(signum: int) -> None:
    """Send a signal to this process again, soon."""
    threading.Timer(0.05, os.kill, (os.getpid(), signum)).start()


def _raise_later(error: Exception) -> None:
    """Raise an error of the SIGCHLD handler in the main thread, soon."""
    before = signal.getsignal(signal.SIGCHLD)

    def raise_error(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGCHLD, before)
        raise error

    signal.signal(signal.SIGCHLD, raise_error)
    _send_later(signal.SIGCHLD)


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a module is being imported."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _is_running(process: Any) -> bool:
    """Check a process of ``multiprocessing`` or ``subprocess``."""
    alive: bool = process.is_alive() if hasattr(process, "is_alive") else process.poll() is None
    return alive


#: Handler of this process.
signals = Signals()
