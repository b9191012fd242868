"""Adapts the variables of SLURM to how a command was started."""

import os

#: Minimum SLURM step id of batch scripts and interactive shells, which run once for all tasks
#: (``SLURM_MAX_NORMAL_STEP_ID`` in slurm.h).
MIN_SPECIAL_STEP = 0xFFFFFFF0


def started_by_srun() -> bool:
    """Return whether srun started this process. Batch scripts set the variables but run once."""
    step = os.environ.get("SLURM_STEP_ID", "")
    tasks = {"SLURM_PROCID", "SLURM_NTASKS"} <= set(os.environ)
    return tasks and step.isdecimal() and int(step) < MIN_SPECIAL_STEP


def prepare_slurm() -> None:
    """Set the variables by which Lightning decides how many processes a run has.

    In a batch script without srun, this process is the only one: Lightning would wait for the other
    tasks. In a step with ``--ntasks``, Lightning requires the number of tasks per node.
    """
    tasks, nodes = (
        int(value) if value.isdecimal() else 0
        for value in (os.environ.get(f"SLURM_{name}", "") for name in ("NTASKS", "NNODES"))
    )
    if "SLURM_NTASKS" in os.environ and not started_by_srun():
        os.environ["SLURM_JOB_NAME"] = "interactive"  # Lightning's name for a single process
    elif tasks and tasks % max(nodes, 1) == 0:
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(tasks // max(nodes, 1)))
