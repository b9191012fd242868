"""Fixtures for the tests of mgc and of the plugins."""

import multiprocessing
from collections.abc import Iterator
from multiprocessing.context import ForkProcess

import pytest


@pytest.fixture(autouse=True)
def kill_forked_processes() -> Iterator[None]:
    """Kill forked processes that a test left behind; Python would wait for them at exit."""
    yield
    for child in multiprocessing.active_children():
        if isinstance(child, ForkProcess) and not child.daemon:
            child.kill()
