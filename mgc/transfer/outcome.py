"""Results of a transfer experiment: scores, predictions and their files."""

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mgc.core.csv import read_csv, write_csv
from mgc.core.parquet import read_metadata, read_parquet, write_parquet
from mgc.core.writing import replacing
from mgc.errors import MgcError
from mgc.evaluation.intervals import (
    fold_scores,
    name_intervals,
    read_intervals,
    score,
    spread_columns,
)
from mgc.evaluation.results import (
    RESULT_FILES,
    Results,
    count_from_zero,
    has_fingerprint,
    is_current,
    nested_results,
)
from mgc.task import Task


@dataclass
class Transfer:
    """Results of a transfer experiment.

    Attributes:
        scores: A row per protocol, target, combination, setting and test fold. ``inner_score`` is
            the mean score by which the ``nested`` protocol chooses settings.
        summary: A row per target and combination.
        predictions: Predictions of the ``nested`` protocol, a row per target, combination and
            track.
        meta: Task, labels, metric, classifier and description of the folds.
        test: Probabilities for the test tracks, if requested.
        validation: Probabilities for the validation tracks, if requested.
        folder: Output folder; None if nothing was written.
    """

    scores: pd.DataFrame
    summary: pd.DataFrame
    predictions: pd.DataFrame
    meta: dict[str, Any]
    test: Results | None = None
    validation: Results | None = None
    folder: Path | None = None

    @property
    def results(self) -> Results:
        """Results on the test tracks: :attr:`test`, or else the nested protocol's decisions.

        Raises:
            MgcError: If there is no single combination of layers with decisions.
        """
        if self.test is not None:
            return self.test
        return nested_results(self.predictions, self.meta, str(self.folder or "transfer"))

    def select(self, target: str, layers: Sequence[str]) -> Results:
        """Return the nested protocol's predictions of a target.

        Args:
            target: Name of the target.
            layers: Combinations of layers. Of several, each test fold takes the one with the best
                score within the training fold.

        Raises:
            MgcError: If there are no predictions of these combinations.
        """
        rows = self.predictions
        if len(rows):
            rows = rows[(rows["target"] == target) & rows["layers"].isin(list(layers))]
        if rows.empty:
            place = self.folder or "transfer"
            raise MgcError(f"{place}: no nested predictions of {target}, layers {layers[0]}.")
        if rows["layers"].nunique() > 1:
            scores = self.scores
            scores = scores[
                (scores["protocol"] == "nested")
                & (scores["target"] == target)
                & scores["layers"].isin(rows["layers"])
            ]
            best = scores.groupby(["fold", "layers"], sort=False)["inner_score"].max()
            chosen = set(best.groupby("fold").idxmax())
            folds = rows["fold"].fillna(0).astype(int)
            keys = zip(folds, rows["layers"], strict=True)
            rows = rows[[key in chosen for key in keys]]
        labels = [target] if self.meta["task"] == "regression" else self.meta["labels"]
        return _to_results(rows, self.meta["task"], labels)

    @property
    def ranking(self) -> pd.DataFrame:
        """Scores of each combination of layers, best first."""
        ranked = self.summary.sort_values(["target", "paper"], ascending=[True, False])
        return ranked.drop(columns=["metric", "paper_setting", "full_grid_setting"])

    @property
    def text(self) -> str:
        """The ranking as plain text."""
        rows, intervals = format_summary(self.ranking)
        scores = rows.to_string(index=False, float_format="{:.3f}".format)
        return f"{self._title()}\n{self.meta['metric']} by layers:\n{scores}\n{intervals}".rstrip()

    def _repr_html_(self) -> str:
        """Show the ranking in a notebook."""
        rows, intervals = format_summary(self.ranking)
        scores = rows.to_html(index=False, float_format="{:.3f}".format)
        title = f"{self._title()}, {self.meta['metric']} by layers:"
        return f"<p>{html.escape(title)}</p>{scores}<p>{html.escape(intervals)}</p>"

    def _title(self) -> str:
        tracks = self.meta.get("tracks")  # missing in results of earlier versions
        return f"{tracks} tracks, {self.meta['folds']}" if tracks else str(self.meta["folds"])

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``scores.parquet``, ``predictions.parquet`` and ``summary.csv``.

        Results with probabilities go to the subfolders ``test`` and ``validate``. Those of other
        features, folds, layers or classifiers are removed.

        Raises:
            MgcError: If the folder has results that :func:`mgc.transfer` did not write.
        """
        self.folder = Path(folder)
        check_output_folder(self.folder)
        stages = {"test": self.test, "validate": self.validation}
        known = {stage: results for stage, results in stages.items() if results is not None}
        mark = self.meta.get("fingerprint")
        kept = [s for s in stages if s in known or has_fingerprint(self.folder / s, mark)]
        for stage in stages.keys() - set(kept):
            for name in RESULT_FILES:
                (self.folder / stage / name).unlink(missing_ok=True)
        meta = self.meta | {"stages": kept}
        write_parquet(self.scores, self.folder / "scores.parquet", meta)
        write_parquet(self.predictions, self.folder / "predictions.parquet", meta)
        with replacing(self.folder / "summary.csv") as partial:
            write_csv(self.summary, partial, index=False)
        for stage, results in known.items():
            results.save(self.folder / stage)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Transfer":
        """Read the output folder of ``mgc transfer``.

        Results with probabilities are ignored if they are from an earlier experiment.

        Raises:
            MgcError: If a file is missing or unreadable.
        """
        path = Path(folder)
        scores, meta = read_parquet(path / "scores.parquet")
        predictions, _ = read_parquet(path / "predictions.parquet")
        for rows in (scores, predictions):
            count_from_zero(rows, meta["folds"])
        if not (path / "summary.csv").is_file():
            raise MgcError(f"{path}/summary.csv does not exist. Run mgc transfer --out {path}.")
        summary = read_csv(path / "summary.csv", text=("target", "layers"))
        names = ["target", "layers", "paper"]
        known = scores[names[:2]].drop_duplicates()
        if not set(names) <= set(summary) or len(summary[names].dropna()) != len(known):
            raise MgcError(f"{path}/summary.csv is damaged. Run mgc transfer --out {path} again.")
        if len(predictions) and "nested_method" not in summary:
            # Written by a version whose intervals were Student's t over folds.
            summary = summary.drop(columns=["nested", "nested_low", "nested_high"]).merge(
                score_nested(predictions, meta["task"], meta["labels"]), on=["target", "layers"]
            )
        meta["labels"] = tuple(meta["labels"])
        meta.pop("stages", None)
        test, validation = (
            Results.load(path / stage)
            if (path / stage / "tracks.parquet").is_file() and is_current(path, stage)
            else None
            for stage in ("test", "validate")
        )
        return cls(scores, summary, predictions, meta, test, validation, path)


def check_output_folder(folder: Path) -> None:
    """Raise an MgcError if a folder has results that :func:`mgc.transfer` did not write."""
    for stage in ("test", "validate"):
        path = folder / stage / RESULT_FILES[-1]
        if path.exists() and "classifier" not in read_metadata(path).get("source", {}):
            raise MgcError(f"{path} was not written by mgc transfer. Choose another --out.")
    if (folder / "summary.csv").exists() and not (folder / "scores.parquet").exists():
        raise MgcError(
            f"{folder}/summary.csv was not written by mgc transfer. Choose another --out."
        )


def score_nested(predictions: pd.DataFrame, task: Task, labels: Sequence[str]) -> pd.DataFrame:
    """Score the predictions of the nested protocol for each target and combination.

    Returns:
        Scores with the columns of their intervals and of their spread over folds.
    """
    rows = []
    for (target, layers), tracks in predictions.groupby(["target", "layers"], sort=False):
        results = _to_results(tracks, task, [str(target)] if task == "regression" else labels)
        value, interval = score(results)
        rows.append(
            {
                "target": target,
                "layers": layers,
                "nested": value,
                **interval.columns("nested_"),
                **spread_columns(fold_scores(results), "nested_"),
            }
        )
    return pd.DataFrame(rows)


def _to_results(tracks: pd.DataFrame, task: Task, labels: Sequence[str]) -> Results:
    if tracks["fold"].notna().all():
        tracks = tracks.assign(seed=0)
    if task == "regression":
        names = {"true": f"target.{labels[0]}", "prediction": f"prediction.{labels[0]}"}
    else:
        names = {f"score.{label}": f"probability.{label}" for label in labels}
    tracks = tracks.rename(columns=names)
    return Results(tracks, tracks, task, tuple(labels))


def format_summary(summary: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Select the columns of :attr:`Transfer.summary` to print, and explain the nested ones."""
    if "nested" not in summary:
        return summary, ""
    spread = ["nested_mean_of_folds", "nested_folds_min", "nested_folds_max", "nested_folds"]
    hidden = ["nested_low", "nested_high", "nested_method", "nested_tracks", *spread]
    table = summary.drop(columns=hidden)
    names = f"nested_interval: {name_intervals(read_intervals(summary, 'nested_'))}"
    folds = int(summary["nested_folds"].max())
    if folds < 2:
        return table.drop(columns="nested_folds_deviation"), f"{names}."
    return table, f"{names}; nested_folds_deviation: std over {folds} folds."
