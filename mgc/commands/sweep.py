"""``mgc sweep``: train with many settings, without W&B's server."""

from pathlib import Path


def sweep(
    file: str,
    *overrides: str,
    count: int | None = None,
    jobs: int | None = None,
    out: str | None = None,
    seed: int = 0,
) -> None:
    """Train with every setting of a sweep, and tell which was best.

    The file is in W&B's own format and also runs with `wandb sweep` and `wandb agent`. Here no
    network is needed; grid and random are known, bayes is not. Each run is a process and a run of
    one W&B group, of the job type `sweep`. Runs are compared by the sweep's metric at their best
    epoch. An interrupted sweep goes on where it stopped when the same command is given again;
    failed runs are tried again then. Written to OUT: runs.csv, the best run first, and a folder per
    run.

    Words after `--` are options of `mgc fit` and change the configuration.

    Example: mgc sweep vgg_gtzan --jobs 2 -- --data.root PATH

    Args:
        file: YAML file with the sweep, whose command is `mgc fit`; or the name of a shipped one
            (`mgc configs` lists them).
        overrides: Options of `mgc fit`, given after `--`.
        count: Number of runs. Needed for random settings, where the file has no run_cap; of a grid
            it is the first so many points.
        jobs: Runs at the same time; by default one per GPU, without a GPU one. With more than one,
            each run has one GPU to itself.
        out: Folder for the results; by default runs/sweep/NAME-OF-FILE.
        seed: Seed of random settings.

    Raises:
        MgcError: If the file or a setting is wrong, the folder holds another sweep, or all runs
            fail.
    """
    from mgc.core.writing import replacing
    from mgc.errors import MgcError
    from mgc.experiments.sweep import SweepPlan, run_sweep, tabulate_runs

    if count is not None and count < 1:
        raise MgcError(f"--count {count}: at least 1 is needed.")
    folder = Path(out or Path("runs", "sweep", Path(file).stem))
    plan = SweepPlan.prepare(folder, file, overrides, count, seed)
    run_sweep(plan, jobs)
    table = tabulate_runs(plan)
    with replacing(folder / "runs.csv") as partial:
        table.to_csv(partial, index=False)
    shown = table.drop(columns="checkpoint")
    print(shown.to_string(index=False, na_rep="failed"))
    best = table.iloc[0]
    print(f"Best: run {best['run']}, {plan.sweep.metric} {best[plan.sweep.metric]:.4g}")
    print(f"Its checkpoint: {best['checkpoint']}")
    print(f"Written to {folder}")
