"""Holds the lock of an output as another process would."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mgc.core.locking import locked


@contextmanager
def locked_elsewhere(output: Path) -> Iterator[None]:
    """Hold the lock of an output in another thread."""
    acquired, finished = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(output):
            acquired.set()
            finished.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    assert acquired.wait(10)
    try:
        yield
    finally:
        finished.set()
        thread.join()
