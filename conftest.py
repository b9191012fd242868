"""What the tests of mgc and of the plugins share."""

import multiprocessing
from collections.abc import Iterator
from multiprocessing.context import ForkProcess

import pytest


@pytest.fixture(autouse=True)
def kill_forked_processes() -> Iterator[None]:
    """Kill what a test forked and left, such as one that timed out.

    Python waits for these processes before it exits.
    """
    yield
    for child in multiprocessing.active_children():
        if isinstance(child, ForkProcess) and not child.daemon:
            child.kill()
