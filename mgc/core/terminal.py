"""Terminal output of a command: errors, signals, log, tables."""

import logging
import os
import select
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from copy import copy

from mgc import locks
from mgc.core.plugins import TRACEBACK, describe_error
from mgc.core.stopping import SIGNALS, Stopped, signals
from mgc.core.text import visible
from mgc.core.writing import WRITE_ERRORS
from mgc.errors import MgcError
from mgc.libraries import diagnose

#: Message after a signal stopped a command that can resume.
RESUME_HINT = "Run the same command again to resume."

#: Exit code of a process ended by SIGPIPE.
SIGPIPE_EXIT = 141


@contextmanager
def report_user_errors(hint: str = "") -> Iterator[None]:
    """Print user errors and signals in one line, and exit with the matching code.

    ``hint`` is appended to the line about a signal.

    Raises:
        SystemExit: With code 2 after an error, 128 + signal after a signal.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except Stopped as stopped:
        if not stopped.reported:
            print_line(f"mgc: stopped by {stopped.name}. {hint}".rstrip(), error=True)
        signals.reported = True
        raise
    # A plugin may call sys.exit.
    except (Exception, SystemExit) as error:
        traceback = os.environ.get(TRACEBACK)
        line = None if traceback else _user_message(error)
        number = signals.received
        if line is None and number in SIGNALS and isinstance(error, Exception) and not traceback:
            # Caused by the end of a child process that received the signal too.
            ended = Stopped(number)
            print_line(f"mgc: stopped by {ended.name}. {hint}".rstrip(), error=True)
            signals.reported = True
            raise ended from None
        if line is None:
            raise
        print_line(f"mgc: error: {line}", error=True)
        raise SystemExit(2) from None


@contextmanager
def exit_on_closed_pipe() -> Iterator[None]:
    """Exit without a traceback if stdout or stderr is closed, as in ``mgc list | head -1``.

    Raises:
        SystemExit: With code 141.
    """
    try:
        yield
    except BrokenPipeError:
        closed = [descriptor for descriptor in (1, 2) if _is_closed(descriptor)]
        if not closed:
            raise  # another pipe
        for descriptor in closed:
            _discard_output(descriptor)
        raise SystemExit(SIGPIPE_EXIT) from None


def _discard_output(descriptor: int) -> None:
    """Discard what was not written yet. Python flushes stdout and stderr when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _is_closed(descriptor: int) -> bool:
    """Check whether the reading end of a pipe is closed."""
    if not hasattr(select, "poll"):  # Windows
        return descriptor == 1
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _user_message(error: Exception | SystemExit) -> str | None:
    """Describe an error that the user can fix; None for a bug."""
    if isinstance(error, ModuleNotFoundError) and locks.is_for_serving():
        return f"{error.name} is not installed. {locks.install_hint()}"
    failed_import = diagnose(error)
    if failed_import:
        return str(failed_import)
    if isinstance(error, OSError) and error.errno in WRITE_ERRORS:
        if error.filename:
            return f"{error.filename}: {error.strerror}."
        return f"{_unnamed_output()} cannot be written: {error.strerror or error}."
    if isinstance(error, BrokenExecutor):
        return (
            "A worker process died, often because memory ran out. Use fewer processes "
            "(--workers or --jobs) and run the command again."
        )
    return " ".join(str(error).split()) if isinstance(error, MgcError) else describe_error(error)


def _unnamed_output() -> str:
    """Return the name of an output whose error has no path."""
    try:
        os.write(1, b"\n")
    except OSError:
        _discard_output(1)
        return "Standard output"
    return "A file"


class _Terminal(logging.Handler):
    """Prints log records without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        # Names are arguments. A message may have several lines, a name may not.
        shown = copy(record)
        if isinstance(record.args, tuple):
            shown.args = tuple(
                visible(value) if isinstance(value, str | os.PathLike | Exception) else value
                for value in record.args
            )
        tqdm.write(visible(self.format(shown), lines=True), file=sys.stdout)
        sys.stdout.flush()


def show_log() -> None:
    """Print mgc's log messages. Lightning prints its own."""
    logger = logging.getLogger("mgc")
    logger.handlers[:] = [_Terminal()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def print_line(text: object = "", error: bool = False) -> None:
    """Print a line, to stderr if ``error``. Line breaks of names do not break it."""
    print(visible(text), file=sys.stderr if error else sys.stdout, flush=True)


def print_text(text: object, end: str = "\n") -> None:
    """Print text of several lines, without the effect of control characters."""
    print(visible(text, lines=True), end=end, flush=True)


def print_table(rows: Iterable[tuple[str, ...]]) -> None:
    """Print rows of equal length with aligned columns."""
    rows = [tuple(map(visible, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print_line("  ".join(cells).rstrip())
