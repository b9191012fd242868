"""Result files: what a model said of every clip and track.

``mgc validate``, ``test``, ``predict`` and ``crossval`` write them, ``mgc fuse`` and the reports
read them and nothing else, so results of any model can be compared. A folder holds two Parquet
files that pandas reads:

* ``clips.parquet``: ``track``, ``split``, ``fold``, ``clip``, ``start`` (seconds), targets, outputs
* ``tracks.parquet``: ``track``, ``split``, ``fold``, targets, outputs (means over the clips),
  and for multiclass ``decision`` (best mean probability) and ``vote`` (majority of the clips)

In the results of a cross-validation, ``fold`` is the test fold and ``seed`` the seed of the split.

Targets are ``label`` (name of the class) or columns ``target.<label>``; outputs are columns
``probability.<label>``, or ``prediction.<label>`` for regression.
"""

import re
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mgc.core.parquet import read_parquet, write_parquet
from mgc.errors import MgcError
from mgc.task import Task

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Results:
    """What a model said of every clip and track.

    Attributes:
        clips: A row per clip.
        tracks: A row per track.
        task: What the targets are.
        labels: Names of the classes, tags or quantities, in target order.
        source: Where the results come from (model, checkpoint, data set, version of mgc).
    """

    clips: pd.DataFrame
    tracks: pd.DataFrame
    task: Task
    labels: tuple[str, ...]
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def outputs(self) -> list[str]:
        """Names of the columns with the outputs, in target order."""
        kind = "prediction" if self.task == "regression" else "probability"
        return [f"{kind}.{label}" for label in self.labels]

    def _repr_html_(self) -> str:
        """Show the first tracks in a notebook."""
        return (
            f"<p>{type(self).__name__}: {len(self.tracks)} tracks, {len(self.clips)} clips, "
            f"{self.task}, {len(self.labels)} labels</p>{self.tracks.head(10).to_html()}"
        )

    def save(self, folder: str | PathLike[str]) -> None:
        """Write both files.

        Args:
            folder: Folder to write to; it is made.
        """
        meta = {"task": self.task, "labels": self.labels, "source": self.source}
        write_parquet(self.clips, Path(folder, "clips.parquet"), meta)
        write_parquet(self.tracks, Path(folder, "tracks.parquet"), meta)

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> "Results":
        """Read both files.

        Args:
            folder: Folder that ``mgc test`` or ``mgc predict`` wrote.

        Raises:
            MgcError: If a file is missing or cannot be read.
        """
        clips, _ = read_parquet(Path(folder, "clips.parquet"))
        tracks, meta = read_parquet(Path(folder, "tracks.parquet"))
        for rows in (clips, tracks):
            count_from_zero(rows, meta["source"].get("folds"))
        return cls(clips, tracks, meta["task"], tuple(meta["labels"]), meta["source"])


def count_from_zero(rows: pd.DataFrame, folds: object) -> None:
    """Renumber the folds of older results of ``mgc transfer``, which counted its own from 1.

    Args:
        rows: Rows of results; ``fold`` is changed in place.
        folds: How the folds were made, as the results have it. Only those that ``mgc transfer``
            made were counted from 1, and each of them was tested.
    """
    made = isinstance(folds, str) and re.match(r"\d+ (stratified )?folds, ", folds)
    if made and "fold" in rows and rows["fold"].min() == 1:
        rows["fold"] -= 1


def transferred(folder: str | PathLike[str]) -> Results:
    """Read the decisions of a transfer experiment, those of the ``nested`` protocol.

    Args:
        folder: Folder that ``mgc transfer`` wrote, of one combination of layers; or a folder of
            such folders, one for each fold.

    Returns:
        Results whose only clip of a track is the track.

    Raises:
        MgcError: If there are none, it is not about classes, or there are several combinations of
            layers.
    """
    paths = sorted(transfers(folder))
    tables = [read_parquet(path) for path in paths]
    for table, meta in tables:
        count_from_zero(table, meta.get("folds"))
    rows = pd.concat([table for table, _ in tables], ignore_index=True)
    meta = tables[0][1]
    if meta["task"] != "multiclass":
        raise MgcError(f"{folder}: a report of classes cannot show its {meta['task']} task.")
    combinations = [] if rows.empty else rows["layers"].unique().tolist()
    if len(combinations) != 1:
        raise MgcError(
            f"{folder}: holds predictions of {', '.join(combinations) or 'nothing'}. One "
            "combination of layers is needed: run mgc transfer with --layers NAME."
        )
    tracks = rows.drop(columns=["target", "layers"]).assign(vote=rows["decision"])
    clips = tracks.drop(columns="vote").assign(clip=0, start=0.0)
    return Results(clips, tracks, meta["task"], tuple(meta["labels"]), meta["source"])


def transfers(folder: str | PathLike[str]) -> list[Path]:
    """Find what ``mgc transfer`` wrote in a folder, or in the folders within it.

    Args:
        folder: Any folder.

    Returns:
        Tables of predictions; none if there are no such results.
    """
    name = "predictions.parquet"
    path = Path(folder, name)
    return [path] if path.is_file() else list(Path(folder).glob(f"*/{name}"))


def make_results(
    clips: "dict[str, Tensor]",
    tracks: pd.DataFrame,
    task: Task,
    labels: tuple[str, ...],
    sample_rate: int = 0,
    source: dict[str, Any] | None = None,
) -> Results:
    """Make tables from the outputs of a network.

    Args:
        clips: ``logits``, ``target``, ``track``, ``clip`` and ``start``, a row per clip (see
            :meth:`mgc.evaluation.scores.ClipScores.compute`).
        tracks: The data module's ``tracks``, which ``track`` is an index into.
        task: What the targets are.
        labels: Names of the classes, tags or quantities.
        sample_rate: Rate in Hz that ``start`` is counted at.
        source: Where the results come from.

    Returns:
        The tables.
    """
    # Reading results does not need it, and starts sooner.
    import torch

    from mgc.evaluation.scores import majority_vote, mean_by_track, probabilities

    outputs = probabilities(clips["logits"], task)
    index, mean = mean_by_track(outputs, clips["track"])
    first = torch.searchsorted(clips["track"], index)
    by_clip = _describe(clips["track"].numpy(), clips["target"], tracks, task, labels)
    by_clip.insert(1, "clip", clips["clip"].numpy())
    by_clip.insert(2, "start", clips["start"].numpy() / max(1, sample_rate))
    by_track = _describe(index.numpy(), clips["target"][first], tracks, task, labels)
    results = Results(by_clip, by_track, task, labels, source or {})
    results.clips[results.outputs] = outputs.numpy()
    results.tracks[results.outputs] = mean.numpy()
    if task == "multiclass":
        names = np.array(labels)
        results.clips["decision"] = names[outputs.argmax(dim=1).numpy()]
        results.tracks["decision"] = names[mean.argmax(dim=1).numpy()]
        results.tracks["vote"] = names[majority_vote(outputs, clips["track"]).numpy()]
    return results


def _describe(
    index: np.ndarray, target: "Tensor", tracks: pd.DataFrame, task: Task, labels: tuple[str, ...]
) -> pd.DataFrame:
    """Names, splits and targets of rows."""
    known = [name for name in ("track", "split", "fold") if name in tracks]
    rows = tracks[known].iloc[index].reset_index(drop=True)
    if task == "multiclass":
        rows["label"] = np.array(labels)[target.numpy()]
    else:
        rows[[f"target.{label}" for label in labels]] = target.numpy()
    return rows
