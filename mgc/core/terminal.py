"""What a command prints of errors, signals and the log."""

import errno
import logging
import os
import sys
from argparse import ArgumentError
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mgc import locks
from mgc.core.stopping import Stopped
from mgc.errors import MgcError
from mgc.libraries import diagnose

#: Why a place that the user names cannot be written to: the disk is full or read-only, the user has
#: no right to, or a file is where a folder should be. Other errors of the system may be ours.
REFUSALS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM,
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
)  # fmt: skip

#: Said of a command that, given again, goes on where it was stopped.
RESUME = "Give the same command again to go on."

#: Set to anything, an error shows where it came from.
TRACEBACK = "MGC_TRACEBACK"


@contextmanager
def report_user_errors(hint: str = "") -> Iterator[None]:
    """Turn errors and signals into a line and an exit code.

    Args:
        hint: What a user can do after a signal.

    Raises:
        SystemExit: As :func:`mgc.cli.main` tells.
    """
    try:
        yield
    except Stopped as stopped:
        if not stopped.told:
            print(f"mgc: stopped by {stopped.name}. {hint}".rstrip(), file=sys.stderr)
        raise
    except Exception as error:
        line = None if os.environ.get(TRACEBACK) else _line_for_user(error)
        if line is None:
            raise
        print(f"mgc: error: {line}", file=sys.stderr)
        raise SystemExit(2) from None


def one_line(error: Exception) -> str:
    """Put an error into one line.

    Args:
        error: An error.

    Returns:
        Its message without line breaks; of an error of the system, the file and the reason.
    """
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    return " ".join(str(error).split())


def _line_for_user(error: Exception) -> str | None:
    """Describe an error that the user can fix; None for an error of the program."""
    if isinstance(error, ModuleNotFoundError) and locks.is_for_serving():
        return f"{error.name} is not installed. {locks.install_hint()}"
    failed_import = diagnose(error)
    if failed_import:
        return str(failed_import)
    fixable = isinstance(error, MgcError | ArgumentError) or (
        isinstance(error, OSError) and error.errno in REFUSALS
    )
    return one_line(error) if fixable else None


class _Terminal(logging.Handler):
    """Prints what is logged, on lines of its own where a progress bar is."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


def show_log() -> None:
    """Print what mgc logs. Lightning prints its own log itself."""
    logger = logging.getLogger("mgc")
    logger.handlers[:] = [_Terminal()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def print_table(rows: Iterable[tuple[str, ...]]) -> None:
    """Print rows of text with aligned columns.

    Args:
        rows: The rows, all of the same length.
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
