"""Runs hyperparameter sweeps without W&B's server: one fit per setting, in one W&B group."""

import json
import logging
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from mgc.configurations import read_configuration
from mgc.core.text_files import read_json_object
from mgc.core.writing import replacing
from mgc.errors import MgcError
from mgc.experiments.plan_file import load_or_create_plan
from mgc.experiments.processes import LOG, read_error, run_jobs, start_module
from mgc.experiments.sweep_space import ARGUMENTS, Settings, Sweep
from mgc.runs.record import read_record
from mgc.runs.tracking import add_offline_runs, set_wandb_mode, wandb_session
from mgc.training.options import (
    CONFIG_OPTIONS,
    check_reserved_options,
    logs_to_wandb,
    option_name,
    option_values,
)

log = logging.getLogger(__name__)

#: File with the result of a run, in its folder.
RESULT = "result.json"

#: Options that a sweep sets for every run.
FORBIDDEN_OVERRIDES = ("ckpt_path", "trainer.default_root_dir")

#: A sweep stops after this many failures without a success.
MAX_FAILURES = 3


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep.

    Attributes:
        folder: Folder for its log, last checkpoint and result.
        number: Number in the sweep, from 0.
        settings: Values of the swept parameters by name.
        options: Options of ``mgc fit``.
        group: W&B group.
        metric: Metric to compare runs by.
    """

    folder: str
    number: int
    settings: Settings
    options: tuple[str, ...]
    group: str
    metric: str

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"run {self.number}"

    @property
    def finished(self) -> bool:
        """Whether the result exists."""
        return Path(self.folder, RESULT).is_file()

    @cached_property
    def result(self) -> dict[str, Any]:
        """``value`` of the metric, ``epoch``, all ``metrics``, ``run_folder``, ``checkpoint``."""
        return read_json_object(Path(self.folder, RESULT))

    def write(self) -> None:
        """Write ``sweep_run.json``."""
        with replacing(Path(self.folder, "sweep_run.json")) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: str) -> "SweepRun":
        """Read ``sweep_run.json``."""
        saved = read_json_object(Path(folder, "sweep_run.json"))
        return cls(**saved | {"options": tuple(saved["options"])})


@dataclass(frozen=True)
class SweepPlan:
    """A sweep, its output folder and its runs."""

    folder: Path
    sweep: Sweep
    runs: tuple[SweepRun, ...]

    @classmethod
    def prepare(
        cls, folder: Path, path: str, overrides: Sequence[str], count: int | None, seed: int
    ) -> "SweepPlan":
        """Plan a sweep, or load its plan from the output folder.

        Args:
            folder: Output folder. Created if missing.
            path: YAML file with the sweep, or name of a shipped one.
            overrides: Options of ``mgc fit``, added after those of the sweep.
            count: See :meth:`mgc.experiments.sweep_space.Sweep.choose_settings`.
            seed: Seed of random settings.

        Raises:
            MgcError: If a setting is wrong, or the folder contains another sweep.
        """
        text = read_configuration(path, sweep=True)
        sweep = Sweep.parse(text, path)
        fixed = sweep.command[sweep.command.index(ARGUMENTS) + 1 :]
        varied = map(option_name, sweep.varied)
        check_reserved_options([*fixed, *overrides], (*FORBIDDEN_OVERRIDES, *varied), "sweep")
        chosen = sweep.choose_settings(count, seed)
        plan: dict[str, Any] = {
            "sweep": text,
            "configurations": {
                name: read_configuration(name)
                for name in option_values(sweep.command, *CONFIG_OPTIONS)
            },
            "overrides": list(overrides),
            "seed": seed,
        }
        has_results = any(next(folder.glob(f"run*/{name}"), None) for name in ("*.ckpt", RESULT))
        configs = (("--config", name) for name in plan["configurations"])
        options = [*chain.from_iterable(configs), *fixed, *overrides]
        plan = load_or_create_plan(folder / "sweep.json", plan, "sweep", has_results, options)
        runs = (
            SweepRun(
                str((folder / f"run{number}").absolute()),
                number,
                settings,
                (*sweep.build_options(settings), *overrides),
                plan["group"],
                sweep.metric,
            )
            for number, settings in enumerate(chosen)
        )
        return cls(folder, sweep, tuple(runs))


@wandb_session()
def run_sweep(plan: SweepPlan, jobs: int | None = None) -> None:
    """Run the unfinished runs of a sweep, each in its own process.

    A failed run, such as one that diverges, does not stop the others.

    Args:
        plan: The sweep.
        jobs: Number of runs in parallel; by default the number of GPUs, or 1.

    Raises:
        MgcError: If every run fails, the record of a finished run is damaged, or another process
            uses the folder.
    """
    finished = sum(run.finished for run in plan.runs)
    for run in plan.runs:
        # The sweep may have been moved: without a logger, a run's record is in its own folder.
        for folder in (
            {run.folder, run.result.get("run_folder", run.folder)} if run.finished else ()
        ):
            read_record(Path(folder))  # raises an error if it is damaged
    if finished:
        log.info("%d of %d runs are finished already.", finished, len(plan.runs))
    failed: list[SweepRun] = []

    def log_exit(run: SweepRun) -> bool:
        if run.finished:
            log.info("%s: %s %.4g", run.name, run.metric, run.result["value"])
            return True
        failed.append(run)
        log.info("%s failed: %s", run.name, read_error(run))
        return len(failed) < MAX_FAILURES or any(run.finished for run in plan.runs)

    if finished < len(plan.runs) and logs_to_wandb(plan.runs[0].options):
        # Decide once: the processes of the runs inherit the environment.
        set_wandb_mode()
    run_jobs(plan.runs, plan.folder, jobs, start_run, log_exit)
    add_offline_runs((run.result for run in plan.runs if run.finished), plan.runs[0].group)
    if not any(run.finished for run in plan.runs):
        raise MgcError(
            f"No run succeeded. {failed[0].name} failed: {read_error(failed[0])} (log: "
            f"{failed[0].folder}/{LOG})."
        )


def start_run(
    run: SweepRun, environment: dict[str, str], lock: tuple[int, ...]
) -> "subprocess.Popen[bytes]":
    """Start the process of a run (see :func:`mgc.experiments.processes.start_module`)."""
    run.write()
    return start_module("mgc.experiments.sweep_run", run.folder, environment, lock)


def tabulate_runs(plan: SweepPlan) -> pd.DataFrame:
    """Tabulate the runs of a sweep.

    Returns:
        One row per run, sorted from best to worst with failed runs last. Columns: ``run``, the
        parameters that vary, the metric, ``epoch`` and ``checkpoint``.
    """
    rows = []
    for run in plan.runs:
        row: dict[str, Any] = {"run": run.number} | run.settings
        if run.finished:
            row |= {run.metric: run.result["value"], "epoch": run.result["epoch"]}
            row["checkpoint"] = run.result["checkpoint"]
        rows.append(row)
    table = pd.DataFrame(rows)
    constant = [name for name in plan.sweep.parameters if name not in plan.sweep.varied]
    table = table.drop(columns=constant).astype({"epoch": "Int64"})
    return table.sort_values(
        plan.sweep.metric, ascending=not plan.sweep.maximize, kind="stable", ignore_index=True
    )
