"""``mgc compare``: runs side by side."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mgc.reports.comparison import Compared


def compare(runs: list[str], out: str | None = None) -> None:
    """Set runs side by side: settings that differ, scores with 95 % intervals, paired tests.

    Runs of different models are comparable if they have the same data and split; differences of
    these are told. Where runs were tested on the same tracks, the best one is tested against every
    other (difference with a paired bootstrap interval; for classes McNemar's exact test, adjusted
    to the number of tests). Of runs in W&B the settings and scores are known, so there are no
    paired tests.

    Example: mgc compare runs/mgc/a1b2c3d4 runs/crossval/stft runs/sweep/vgg_gtzan --out comparison

    Args:
        runs: Folders of runs (runs/mgc/ID), cross-validations, fusions, transfer experiments and
            sweeps; or ENTITY/PROJECT for all runs of a project in W&B.
        out: Folder for compare.md, compare.html and compare.csv; by default nothing is written.

    Raises:
        MgcError: If there are not two runs to compare, or W&B does not give them.
    """
    from mgc.reports.comparison import compare as put_together
    from mgc.reports.comparison import load_runs_to_compare

    found: list[Compared] = []
    for place in runs:
        if not Path(place).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", place):
            found += _from_wandb(place)
        else:
            found += load_runs_to_compare(place)
    names = [run.name for run in found]
    for number, run in enumerate(found, 1):
        if names.count(run.name) > 1:
            run.name = f"{run.name} ({number})"
    comparison = put_together(found)
    if out is not None:
        comparison.save(out)
    print(comparison.text)
    if out is not None:
        print(f"Written to {out}")


def _from_wandb(project: str) -> "list[Compared]":
    import wandb

    from mgc.errors import MgcError
    from mgc.reports.comparison import from_wandb
    from mgc.runs.tracking import wandb_status

    where = f"{project}: no such folder, and as a project of W&B: "
    if not wandb_status().logged_in:
        raise MgcError(f"{where}not logged in. Run 'wandb login', or give folders.")
    try:
        return from_wandb(wandb.Api(timeout=20).runs(project))
    # W&B's client lets errors of the network through as they are.
    except (wandb.Error, ValueError, OSError) as error:
        raise MgcError(f"{where}{error}") from error
