import pytest
from lightning.pytorch import Trainer
from torch import distributed
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
    ("variables", "message"),
    [
        # sbatch --ntasks=2 without srun
        ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "fit", "SLURM_PROCID": "0"}, "--ntasks-per-node"),
        ({"SLURM_NTASKS": "1"}, "'SLURM_.*' is not set"),
        ({"SLURM_NTASKS": "two"}, "two"),
        # torchrun
        ({"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "GROUP_RANK": "0"}, "is not set"),
    ],
)
def test_variables_of_launchers(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MgcError, match=message) as caught, convert_process_errors():
        Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False)
    assert "Environment variables of the launcher" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed"
        ),
        distributed.DistBackendError("NCCL communicator was aborted"),
    ],
)
def test_a_lost_process(error: Exception) -> None:
    with pytest.raises(MgcError, match="A process of the run ended"), convert_process_errors():
        raise error
