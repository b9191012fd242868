"""``mgc sweep``: search hyperparameters without W&B's server."""

from pathlib import Path
from typing import Annotated

from mgc.core.csv import write_csv
from mgc.core.ranges import Processes, Range, Seed
from mgc.core.terminal import print_line, print_text


def sweep(
    file: str,
    *overrides: str,
    count: Annotated[int, Range(1, 10**5)] | None = None,
    jobs: Processes | None = None,
    out: str | None = None,
    seed: Seed = 0,
) -> None:
    """Search hyperparameters: train with every setting of a sweep, and print the best.

    The file has W&B's format and also works with `wandb sweep` and `wandb agent`. This command
    needs no network; it supports the methods grid and random, not bayes. Each run is a
    separate process, logged to W&B in one group with job type `sweep`. Runs are ranked by the
    sweep's metric at their best epoch. To resume an interrupted sweep and retry failed runs, run
    the same command again. Writes to OUT: runs.csv, best run first, and a folder per run.

    Arguments after `--` are options of `mgc fit` that override the configuration.

    Example: mgc sweep vgg_gtzan --jobs 2 -- --data.root PATH

    Args:
        file: YAML file of a sweep with the command `mgc fit`, or the name of a shipped sweep (see
            `mgc configs`).
        overrides: Options of `mgc fit`, given after `--`.
        count: Number of runs: required for random search unless the file has run_cap; for grid
            search, the first COUNT points.
        jobs: Number of runs in parallel; by default the number of GPUs, or 1. With more than one,
            each run uses one GPU.
        out: Folder for the results; by default runs/sweep/NAME-OF-FILE.
        seed: Seed of random search.

    Raises:
        MgcError: If the file or a setting is wrong, OUT contains another sweep, or all runs fail.
    """
    from mgc.core.writing import output_folder, replacing
    from mgc.experiments.sweep import SweepPlan, run_sweep, tabulate_runs

    folder = Path(out or Path("runs", "sweep", Path(file).stem))
    with output_folder(folder):
        plan = SweepPlan.prepare(folder, file, overrides, count, seed)
        run_sweep(plan, jobs)
        table = tabulate_runs(plan)
        with replacing(folder / "runs.csv") as partial:
            write_csv(table, partial, index=False)
    shown = table.drop(columns="checkpoint")
    print_text(shown.to_string(index=False, na_rep="failed"))
    best = table.iloc[0]
    print_line(f"Best: run {best['run']}, {plan.sweep.metric} {best[plan.sweep.metric]:.4g}")
    print_line(f"Best checkpoint: {best['checkpoint']}")
    print_line(f"Written to {folder}")
