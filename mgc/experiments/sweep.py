"""Sweeps without W&B's server: a fit for each setting, in one W&B group, and which was best."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mgc.configurations import read_configuration
from mgc.core.writing import replacing
from mgc.errors import MgcError
from mgc.experiments.overrides import logs_to_wandb
from mgc.experiments.plan_file import load_or_create_plan
from mgc.experiments.processes import LOG, read_error, run_jobs, start_module
from mgc.experiments.sweep_space import Settings, Sweep, config_names
from mgc.runs.tracking import add_offline_runs, set_wandb_mode, wandb_session

#: What a run came to, in its folder.
RESULT = "result.json"

#: Options that a run of a sweep sets itself.
FORBIDDEN_OVERRIDES = ("ckpt_path", "trainer.default_root_dir")

#: So many failures before any success mean that the fault is not in the settings.
MAX_FAILURES = 3


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep.

    Attributes:
        folder: Where its log, its last checkpoint and its result go.
        number: Its number in the sweep, from 0.
        settings: Values of the swept parameters, by name.
        words: Options of ``mgc fit``.
        group: W&B group.
        metric: Name of the metric that runs are compared by.
    """

    folder: str
    number: int
    settings: Settings
    words: tuple[str, ...]
    group: str
    metric: str

    @property
    def name(self) -> str:
        """What to call the run."""
        return f"run {self.number}"

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return Path(self.folder, RESULT).is_file()

    @cached_property
    def result(self) -> dict[str, Any]:
        """``value`` of the metric, ``epoch``, all ``metrics``, ``run_folder``, ``checkpoint``."""
        found: dict[str, Any] = json.loads(Path(self.folder, RESULT).read_text(encoding="utf-8"))
        return found

    def write(self) -> None:
        """Write down what to do, for :meth:`read`."""
        with replacing(Path(self.folder, "sweep_run.json")) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: str) -> "SweepRun":
        """Read what :meth:`write` wrote."""
        said = json.loads(Path(folder, "sweep_run.json").read_text(encoding="utf-8"))
        return cls(**said | {"words": tuple(said["words"])})


@dataclass(frozen=True)
class SweepPlan:
    """All runs of a sweep.

    Attributes:
        folder: Where everything goes.
        sweep: The sweep.
        runs: Its runs.
    """

    folder: Path
    sweep: Sweep
    runs: tuple[SweepRun, ...]

    @classmethod
    def prepare(
        cls, folder: Path, path: str, overrides: Sequence[str], count: int | None, seed: int
    ) -> "SweepPlan":
        """Plan a sweep, or find the one that the folder holds.

        Args:
            folder: Where everything goes; it is made.
            path: File with the sweep, or the name of a shipped one.
            overrides: Options of ``mgc fit`` that follow those of the sweep.
            count: Number of runs, see :meth:`mgc.experiments.sweep_space.Sweep.settings`.
            seed: Seed of random settings.

        Raises:
            MgcError: If a setting is wrong, or the folder holds another sweep.
        """
        text = read_configuration(path, sweep=True)
        sweep = Sweep.parse(text, path)
        for word in overrides:
            name = word.partition("=")[0].removeprefix("--")
            if name in FORBIDDEN_OVERRIDES or name in sweep.varied:
                raise MgcError(f"--{name}: mgc sweep sets it itself. Leave it out.")
        settings = sweep.settings(count, seed)
        said: dict[str, Any] = {
            "sweep": text,
            "configurations": {
                name: read_configuration(name) for name in config_names(sweep.command)
            },
            "overrides": list(overrides),
            "seed": seed,
        }
        begun = any(next(folder.glob(f"run*/{name}"), None) for name in ("*.ckpt", RESULT))
        said = load_or_create_plan(folder / "sweep.json", said, "sweep", begun)
        runs = (
            SweepRun(
                str((folder / f"run{number}").absolute()),
                number,
                chosen,
                (*sweep.words(chosen), *overrides),
                said["group"],
                sweep.metric,
            )
            for number, chosen in enumerate(settings)
        )
        return cls(folder, sweep, tuple(runs))


@wandb_session()
def run_sweep(plan: SweepPlan, jobs: int | None = None) -> None:
    """Run what is not finished, each run in a process of its own.

    A run that fails, as one whose loss diverges, does not stop the others.

    Args:
        plan: The sweep.
        jobs: Runs at a time; by default one per GPU, and one where there is none.

    Raises:
        MgcError: If none succeeds, or another process is at the sweep.
    """
    done = sum(run.finished for run in plan.runs)
    if done:
        print(f"{done} of {len(plan.runs)} runs are finished already.")
    failed: list[SweepRun] = []

    def ended(run: SweepRun) -> bool:
        if run.finished:
            print(f"{run.name}: {run.metric} {run.result['value']:.4g}", flush=True)
            return True
        failed.append(run)
        print(f"{run.name} failed: {read_error(run)}", flush=True)
        return len(failed) < MAX_FAILURES or any(run.finished for run in plan.runs)

    if done < len(plan.runs) and logs_to_wandb(plan.runs[0].words):
        # Once for all runs, which inherit the environment.
        set_wandb_mode()
    run_jobs(plan.runs, plan.folder, jobs, start, ended)
    add_offline_runs((run.result for run in plan.runs if run.finished), plan.runs[0].group)
    if not any(run.finished for run in plan.runs):
        raise MgcError(
            f"{failed[0].name} failed, and so did all others: {read_error(failed[0])} (log: "
            f"{failed[0].folder}/{LOG})."
        )


def start(
    run: SweepRun, environment: dict[str, str], lock: tuple[int, ...]
) -> "subprocess.Popen[bytes]":
    """Start the process of a run.

    Args:
        run: The run.
        environment: Environment variables of the process.
        lock: File descriptors that the process keeps open while it lives.

    Returns:
        The process.
    """
    run.write()
    return start_module("mgc.experiments.sweep_run", run.folder, environment, lock)


def table_of(plan: SweepPlan) -> pd.DataFrame:
    """Compare the runs of a sweep.

    Args:
        plan: A sweep with finished runs.

    Returns:
        A row per run, the best first and failed ones last: ``run``, the parameters that vary,
        the metric, ``epoch``, and the ``checkpoint``.
    """
    rows = []
    for run in plan.runs:
        row: dict[str, Any] = {"run": run.number} | run.settings
        if run.finished:
            row |= {run.metric: run.result["value"], "epoch": run.result["epoch"]}
            row["checkpoint"] = run.result["checkpoint"]
        rows.append(row)
    table = pd.DataFrame(rows)
    same = [name for name in plan.sweep.parameters if name not in plan.sweep.varied]
    table = table.drop(columns=same).astype({"epoch": "Int64"})
    return table.sort_values(
        plan.sweep.metric, ascending=not plan.sweep.maximize, kind="stable", ignore_index=True
    )
