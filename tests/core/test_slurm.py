"""Lightning starts the processes that the variables of SLURM mean."""

import os

import pytest
from lightning.pytorch.plugins.environments import SLURMEnvironment

from mgc.core.slurm import prepare_slurm

#: Variables of a batch script, as sbatch sets them.
BATCH = {
    "JOB_ID": "7",
    "JOB_NAME": "train",
    "JOB_NUM_NODES": "1",
    "NNODES": "1",
    "NTASKS": "4",
    "PROCID": "0",
    "LOCALID": "0",
    "NODEID": "0",
}


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Environment of a batch script."""
    for name in list(os.environ):
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)
    # Recorded, so that values that prepare_slurm sets are removed after the test.
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "")
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    for name, value in BATCH.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    return monkeypatch


@pytest.mark.parametrize("step", ["", "4294967291", "4294967290"])
def test_a_batch_script_without_srun_is_one_process(slurm: pytest.MonkeyPatch, step: str) -> None:
    if step:
        slurm.setenv("SLURM_STEP_ID", step)
    prepare_slurm()
    assert not SLURMEnvironment.detect()


@pytest.mark.parametrize(("nodes", "per_node"), [("1", "4"), ("2", "2")])
def test_a_step_of_srun_has_its_tasks(slurm: pytest.MonkeyPatch, nodes: str, per_node: str) -> None:
    slurm.setenv("SLURM_STEP_ID", "0")
    slurm.setenv("SLURM_NNODES", nodes)
    prepare_slurm()
    assert SLURMEnvironment.detect()
    assert SLURMEnvironment().world_size() == 4  # raises an error without the tasks per node
    assert os.environ["SLURM_NTASKS_PER_NODE"] == per_node


def test_other_machines_are_left_alone(slurm: pytest.MonkeyPatch) -> None:
    for name in BATCH:
        slurm.delenv(f"SLURM_{name}")
    before = dict(os.environ)
    prepare_slurm()
    assert dict(os.environ) == before
