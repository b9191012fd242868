"""Reads and writes result files: a model's outputs for every clip and track.

``mgc validate``, ``test``, ``predict``, ``crossval`` and ``fuse`` write them; ``mgc fuse``,
``compare`` and the reports read them. A folder contains two Parquet files:

* ``clips.parquet``: ``track``, ``split``, ``fold``, ``clip``, ``start`` (seconds), targets, outputs
* ``tracks.parquet``: ``track``, ``split``, ``fold``, targets, outputs (means over the clips),
  and for multiclass ``decision`` (best mean probability) and ``vote`` (majority of the clips)

In the results of a cross-validation, ``fold`` is the test fold and ``seed`` the seed of the split.

Targets are ``label`` (name of the class) or columns ``target.<label>``; outputs are columns
``probability.<label>``, or ``prediction.<label>`` for regression, in float64. For tags, tracks also
have ``score.<label>``, the log-odds of the probability, which rank tracks whose probabilities are
rounded to 1.
"""

import re
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mgc.core.parquet import read_metadata, read_parquet, write_parquet
from mgc.errors import MgcError
from mgc.task import Task

if TYPE_CHECKING:
    from torch import Tensor


#: Files in a folder of results.
RESULT_FILES = ("clips.parquet", "tracks.parquet")


@dataclass
class Results:
    """A model's outputs, as tables with a row per clip and a row per track.

    ``labels`` are the names of the classes, tags or quantities in target order; ``source`` names
    model, checkpoint, dataset and version of mgc.
    """

    clips: pd.DataFrame
    tracks: pd.DataFrame
    task: Task
    labels: tuple[str, ...]
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def outputs(self) -> list[str]:
        """Names of the output columns, in target order."""
        kind = "prediction" if self.task == "regression" else "probability"
        return [f"{kind}.{label}" for label in self.labels]

    @property
    def scores(self) -> list[str]:
        """Names of the columns that rank the tracks for each tag."""
        names = [f"score.{label}" for label in self.labels]
        return names if set(names) <= set(self.tracks) else self.outputs

    @property
    def checkpoints(self) -> dict[str, str]:
        """SHA-256 of each tested checkpoint, by path; empty for results of earlier versions."""
        source = self.source
        if "sha256" not in source or "model" not in source:
            return {}
        if "checkpoints" in source:
            names = source["checkpoints"]
            return {names[fold]: digest for fold, digest in source["sha256"].items() if digest}
        return {source["checkpoint"]: source["sha256"]} if source.get("checkpoint") else {}

    def with_votes(self) -> "Results":
        """Return the results with the majority votes of the clips as decisions."""
        return replace(self, tracks=self.tracks.assign(decision=self.tracks["vote"]))

    def of_class(self, label: str) -> "Results":
        """Return the results of the tracks of one class."""
        clips, tracks = (rows[rows["label"] == label] for rows in (self.clips, self.tracks))
        return replace(self, clips=clips, tracks=tracks)

    def _repr_html_(self) -> str:
        """Show the first tracks in a notebook."""
        return (
            f"<p>{type(self).__name__}: {len(self.tracks)} tracks, {len(self.clips)} clips, "
            f"{self.task}, {len(self.labels)} labels</p>{self.tracks.head(10).to_html()}"
        )

    def save(self, folder: str | PathLike[str]) -> None:
        """Write both files; create the folder if needed."""
        meta = {"task": self.task, "labels": self.labels, "source": self.source}
        for name, rows in zip(RESULT_FILES, (self.clips, self.tracks), strict=True):
            write_parquet(rows, Path(folder, name), meta)

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> "Results":
        """Read both files; raise an MgcError if one is missing or unreadable."""
        clips, _ = read_parquet(Path(folder, "clips.parquet"))
        tracks, meta = read_parquet(Path(folder, "tracks.parquet"))
        for rows in (clips, tracks):
            count_from_zero(rows, meta["source"].get("folds"))
        return cls(clips, tracks, meta["task"], tuple(meta["labels"]), meta["source"])

    @classmethod
    def from_tracks(
        cls, tracks: pd.DataFrame, task: Task, labels: tuple[str, ...], source: dict[str, Any]
    ) -> "Results":
        """Create results of whole tracks. Each has a single clip, whose decision is the vote."""
        if "decision" in tracks:
            tracks = tracks.assign(vote=tracks["decision"])
        clips = tracks.drop(columns="vote", errors="ignore")
        clips.insert(1, "clip", 0)
        clips.insert(2, "start", 0.0)
        return cls(clips, tracks, task, labels, source)


def count_from_zero(rows: pd.DataFrame, folds: object) -> None:
    """Renumber folds in place if an old version of ``mgc transfer`` counted them from 1.

    ``folds`` describes how the folds were made: only those made by ``mgc transfer`` itself started
    at 1.
    """
    made = isinstance(folds, str) and re.match(r"\d+ (stratified )?folds, ", folds)
    if made and "fold" in rows and rows["fold"].min() == 1:
        rows["fold"] -= 1


def load_nested_results(folder: str | PathLike[str]) -> Results:
    """Read the decisions of the ``nested`` protocol from the output of ``mgc transfer``.

    ``folder`` may also contain one such folder per fold. See :func:`nested_results` for errors.
    """
    tables = [read_parquet(path) for path in sorted(find_predictions(folder))]
    for table, meta in tables:
        count_from_zero(table, meta.get("folds"))
    rows = pd.concat([table for table, _ in tables], ignore_index=True)
    return nested_results(rows, tables[0][1], str(folder))


def nested_results(predictions: pd.DataFrame, meta: dict[str, Any], name: str) -> Results:
    """Convert the predictions of a transfer experiment to results.

    Raises:
        MgcError: If the task is not multiclass, or there is not exactly one combination of layers.
            The message starts with ``name``.
    """
    if meta["task"] != "multiclass":
        raise MgcError(f"{name}: expected a multiclass task, not {meta['task']}.")
    combinations = [] if predictions.empty else predictions["layers"].unique().tolist()
    if len(combinations) != 1:
        raise MgcError(
            f"{name}: expected predictions of one combination of layers, found "
            f"{', '.join(combinations) or 'none'}. Run mgc transfer with --layers NAME."
        )
    tracks = predictions.drop(columns=["target", "layers"])
    return Results.from_tracks(tracks, meta["task"], tuple(meta["labels"]), meta["source"])


def find_predictions(folder: str | PathLike[str]) -> list[Path]:
    """List the prediction files of ``mgc transfer`` in a folder or its direct subfolders."""
    name = "predictions.parquet"
    path = Path(folder, name)
    return [path] if path.is_file() else list(Path(folder).glob(f"*/{name}"))


def is_current(folder: str | PathLike[str], stage: str) -> bool:
    """Return whether the results of a stage belong to the experiment in its folder.

    They do not if the folder has predictions of a later ``mgc transfer`` without probabilities.
    """
    path = Path(folder, "predictions.parquet")
    if not path.is_file():
        return True
    meta = read_metadata(path)
    if "stages" not in meta:  # results of earlier versions
        return True
    return stage in meta["stages"] and has_fingerprint(Path(folder, stage), meta.get("fingerprint"))


def has_fingerprint(folder: Path, fingerprint: str | None) -> bool:
    """Return whether a folder has undamaged results with a fingerprint in their source."""
    try:
        metas = [read_metadata(folder / name, verify=True) for name in RESULT_FILES]
    except MgcError:
        return False
    return all(meta["source"].get("fingerprint") == fingerprint for meta in metas)


def make_results(
    clips: "dict[str, Tensor]",
    tracks: pd.DataFrame,
    task: Task,
    labels: tuple[str, ...],
    sample_rate: int = 0,
    source: dict[str, Any] | None = None,
) -> Results:
    """Create result tables from the outputs of a network.

    Args:
        clips: Output of :meth:`mgc.evaluation.scores.ClipScores.compute`.
        tracks: The data module's ``tracks``, indexed by ``clips["track"]``.
        task: Task of the targets.
        labels: Names of the classes, tags or quantities.
        sample_rate: Sample rate of ``clips["start"]`` in Hz.
        source: Model, checkpoint, dataset and so on.
    """
    # Not imported at the top, because reading results does not need torch.
    import torch

    from mgc.evaluation.scores import (
        majority_vote,
        mean_by_track,
        probabilities,
        track_log_odds,
    )

    logits = clips["logits"].double()
    outputs = probabilities(logits, task)
    index, mean = mean_by_track(outputs, clips["track"])
    first = torch.searchsorted(clips["track"], index)
    by_clip = _describe(clips["track"].numpy(), clips["target"], tracks, task, labels)
    by_clip.insert(1, "clip", clips["clip"].numpy())
    by_clip.insert(2, "start", clips["start"].numpy() / max(1, sample_rate))
    by_track = _describe(index.numpy(), clips["target"][first], tracks, task, labels)
    results = Results(by_clip, by_track, task, labels, source or {})
    results.clips[results.outputs] = outputs.numpy()
    results.tracks[results.outputs] = mean.numpy()
    if task == "multilabel":
        scores = track_log_odds(logits, clips["track"])
        results.tracks[[f"score.{label}" for label in labels]] = scores.numpy()
    if task == "multiclass":
        names = np.array(labels)
        results.clips["decision"] = names[outputs.argmax(dim=1).numpy()]
        results.tracks["decision"] = names[mean.argmax(dim=1).numpy()]
        results.tracks["vote"] = names[majority_vote(outputs, clips["track"]).numpy()]
    return results


def _describe(
    index: np.ndarray, target: "Tensor", tracks: pd.DataFrame, task: Task, labels: tuple[str, ...]
) -> pd.DataFrame:
    """Return names, splits and targets of the tracks with these indices."""
    known = [name for name in ("track", "split", "fold") if name in tracks]
    rows = tracks[known].iloc[index].reset_index(drop=True)
    if task == "multiclass":
        rows["label"] = np.array(labels)[target.numpy()]
    else:
        rows[[f"target.{label}" for label in labels]] = target.numpy()
    return rows
