import pytest
from torch.distributed import DistNetworkError
from torch.utils.data import DataLoader

from mgc.core.launching import convert_process_errors
from mgc.errors import MgcError


def reset() -> None:
    raise ConnectionResetError(104, "Connection reset by peer")


class PassedByDyingWorker:
    """A batch that cannot be received, as its worker has gone."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return reset, ()


def test_a_worker_that_dies_while_it_passes_a_batch() -> None:
    loader = DataLoader([0], num_workers=1, collate_fn=lambda batch: PassedByDyingWorker())
    expected = pytest.raises(MgcError, match=r"data loader worker died.*Use fewer workers")
    with expected, convert_process_errors():
        list(loader)


def test_other_lost_connections_are_no_dead_workers() -> None:
    with pytest.raises(ConnectionResetError), convert_process_errors():
        reset()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[/pytorch/gloo/transport/tcp/pair.cc:545] Read error: Connection reset"),
        DistNetworkError("The client socket has timed out"),
    ],
)
def test_a_lost_process_of_the_run(error: RuntimeError) -> None:
    expected = pytest.raises(MgcError, match="another process of the run was lost")
    with expected, convert_process_errors():
        raise error
