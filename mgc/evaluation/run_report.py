"""Callback that writes a report of each test: tables, plots, audio of the worst mistakes."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from mgc.core.csv import write_csv
from mgc.core.writing import all_or_nothing
from mgc.errors import MgcError
from mgc.evaluation.callback import TrackEvaluation
from mgc.evaluation.intervals import describe_score
from mgc.evaluation.per_class import confusion_matrix, per_class, plot_confusion, worst_mistakes
from mgc.evaluation.results import Results
from mgc.runs.folder import run_folder, writes_files


class TestReport(Callback):
    """Writes tables and plots of a test to the run's folder, and logs them to W&B.

    The files are ``per_class.csv`` and, for multiclass, ``confusion_matrix.csv``,
    ``confusion_matrix.png`` and ``worst_mistakes.csv``. The audio of the mistakes is logged to W&B.

    Args:
        mistakes: Number of worst mistakes to report.
        seconds: Seconds of audio to log, from the middle of each track.
    """

    __test__ = False  # not a pytest class

    def __init__(self, mistakes: int = 10, seconds: float = 10.0) -> None:
        self.mistakes = mistakes
        self.seconds = seconds

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the report on rank 0."""
        evaluation = next((c for c in trainer.callbacks if isinstance(c, TrackEvaluation)), None)  # type: ignore[attr-defined]
        results = evaluation.results if evaluation else None
        if results is None or not writes_files(trainer):
            return
        folder = run_folder(trainer) / "test"
        tables = {"per_class": per_class(results).reset_index()}
        if results.task == "multiclass":
            counts = confusion_matrix(results)
            tables["worst_mistakes"] = worst_mistakes(results, self.mistakes)
        with all_or_nothing(folder) as partial:
            if results.task == "multiclass":
                write_csv(counts, partial / "confusion_matrix.csv", index_label="true class")
                plot_confusion(counts, describe_score(results), partial / "confusion_matrix.png")
            for name, table in tables.items():
                write_csv(table, partial / f"{name}.csv", index=False)
        data = getattr(trainer, "datamodule", None)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                self._log(logger, results, tables, folder, data)

    def _log(
        self,
        logger: WandbLogger,
        results: Results,
        tables: dict[str, pd.DataFrame],
        folder: Path,
        data: Any,
    ) -> None:
        import wandb

        logged: dict[str, Any] = {}
        for name, table in tables.items():
            columns = [*table.columns]
            rows: list[Any] = table.to_numpy().tolist()
            if name == "worst_mistakes" and hasattr(data, "reader"):
                columns.append("audio")
                for row in rows:
                    row.append(self._load_audio(data, row[0]))
            logged[f"test/{name}"] = wandb.Table(columns=columns, data=rows)
        if results.task == "multiclass":
            logged["test/confusion_matrix"] = wandb.Image(str(folder / "confusion_matrix.png"))
        logger.experiment.log(logged)

    def _load_audio(self, data: Any, track: str) -> Any:
        """Return the middle of a track as W&B audio, or None if it is unreadable."""
        import wandb

        index = int(np.flatnonzero(data.tracks["track"] == track)[0])
        clip = np.zeros(round(self.seconds * data.sample_rate), np.float32)
        reader = data.reader()
        start = max(0, (int(reader.lengths[index]) - len(clip)) // 2)
        try:
            samples = reader.read(index, start, clip)
        except MgcError:
            return None
        return wandb.Audio(clip[:samples], sample_rate=data.sample_rate, caption=track)
