"""Accuracies on validation tracks by learning rate."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: Columns of :func:`read_rates`.
COLUMNS = ("task", "system", "learning rate", "validation accuracy", "checkpoint")


def read_rates(folder: Path, task: str) -> "pd.DataFrame":
    """Read the accuracy on validation tracks of each system, number of epochs and learning rate.

    Returns:
        One row per checkpoint, with :data:`COLUMNS`.
    """
    import pandas as pd

    from mgc import checkpoint
    from mgc.experiments.sweep import RESULT, SweepRun

    rows = []
    for path in sorted(folder.glob(f"{task}/*/run*/{RESULT}")):
        run = SweepRun.read(str(path.parent))
        start = run.settings.get("model.start")
        rate = run.settings["model.lr" if start else "optimizer.lr"]
        for kept in sorted(Path(run.result["checkpoint"]).parent.glob("epoch_*.ckpt")):
            epochs = int(kept.stem.removeprefix("epoch_")) + 1
            states = checkpoint.read(kept)["callbacks"]
            accuracy = next(float(s["current_score"]) for s in states.values() if "monitor" in s)
            system = f"{start}_{epochs}" if start else path.parent.parent.name
            rows.append((task, system, rate, accuracy, str(kept)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def choose_rates(rates: "pd.DataFrame") -> "pd.DataFrame":
    """Return the row with the best accuracy on validation tracks of each task and system.

    Of equal ones, the first in the sweep is chosen, which has the highest learning rate.
    """
    best = rates.groupby(["task", "system"], sort=False)["validation accuracy"].idxmax()
    return rates.loc[best.sort_values()].reset_index(drop=True)
