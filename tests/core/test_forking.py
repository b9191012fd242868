"""A forked process can use several threads, even if its parent has used them."""

import multiprocessing

import pytest
import torch

import mgc.data.base  # noqa: F401 # installs the hook, as every fit does


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def add_up():
    """Run an operation that PyTorch distributes over threads."""
    return torch.ones(1_000_000).mul(2).sum()


@pytest.mark.parametrize("fork", range(2))  # the second follows an operation after a fork
def test_forked_process_computes_with_several_threads(two_threads, fork):
    add_up()
    child = multiprocessing.get_context("fork").Process(target=add_up)
    child.start()
    child.join(20)
    child.kill()
    child.join()
    assert child.exitcode == 0
    assert add_up() == 2_000_000
