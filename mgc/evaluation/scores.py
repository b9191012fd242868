"""Collects outputs of clips, aggregates them by track, and computes metrics."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional import mean_squared_error, r2_score
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_f1_score,
    multilabel_auroc,
    multilabel_average_precision,
)
from torchmetrics.utilities import dim_zero_cat

from mgc.data.clips import Batch
from mgc.task import Task


class ClipScores(Metric):
    """Collects the outputs for every clip of a split from all devices.

    Distributed samplers repeat clips so that all devices get the same number. Each clip is kept
    only once.
    """

    full_state_update = False
    logits: list[Tensor]
    target: list[Tensor]
    track: list[Tensor]
    clip: list[Tensor]
    start: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for state in ("logits", "target", "track", "clip", "start"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Add logits of shape (batch, classes), except those of unreadable clips (track -1)."""
        track = batch["track"]
        known = track >= 0
        zeros = torch.zeros_like(track)
        self.logits.append(logits.detach().float()[known])
        self.target.append(batch["target"][known])
        self.track.append(track[known])
        self.clip.append(batch.get("clip", zeros)[known])
        self.start.append(batch.get("start", zeros)[known])

    def compute(self) -> dict[str, Tensor]:
        """Return the states with a row per clip, sorted by track and clip, on the CPU."""
        states = ("logits", "target", "track", "clip", "start")
        whole = {name: dim_zero_cat(getattr(self, name)).cpu() for name in states}
        key = whole["track"] * (int(whole["clip"].max()) + 1) + whole["clip"]
        _, inverse = torch.unique(key, sorted=True, return_inverse=True)
        first = torch.full((int(inverse.max()) + 1,), len(key))
        first.scatter_reduce_(0, inverse, torch.arange(len(key)), reduce="amin")
        return {name: values[first] for name, values in whole.items()}


def probabilities(logits: Tensor, task: Task) -> Tensor:
    """Convert logits of shape (clips, classes) to probabilities. Keeps outputs of regression."""
    if task == "multiclass":
        return logits.softmax(dim=-1)
    return logits.sigmoid() if task == "multilabel" else logits


def mean_by_track(values: Tensor, track: Tensor) -> tuple[Tensor, Tensor]:
    """Average values of shape (clips, classes) over the clips of each track.

    Returns:
        The tracks in ascending order, of shape (tracks,), and their means, of shape
        (tracks, classes).
    """
    tracks, inverse, counts = torch.unique(track, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(tracks), values.shape[1], dtype=torch.float64)
    sums.index_add_(0, inverse, values.double())
    return tracks, (sums / counts.unsqueeze(1)).to(values.dtype)


def majority_vote(clip_probabilities: Tensor, track: Tensor) -> Tensor:
    """Return the most frequent class among the clips of each track, in ascending order of tracks.

    Ties are broken by mean probability. Probabilities have shape (clips, classes).
    """
    votes = F.one_hot(clip_probabilities.argmax(dim=1), clip_probabilities.shape[1])
    _, share = mean_by_track(votes.double(), track)
    _, mean = mean_by_track(clip_probabilities.double(), track)
    # Shares of n clips differ by at least 1 / n, so the scaled means only break ties.
    smallest = 1 / max(1, len(track))
    return (share + mean * smallest / 2).argmax(dim=1)


def measure(outputs: Tensor, target: Tensor, task: Task, labels: Sequence[str]) -> dict[str, float]:
    """Compute the metrics of a task.

    Args:
        outputs: Probabilities or predictions of shape (rows, classes).
        target: Class indices of shape (rows,), or values of shape (rows, classes).
        task: Task of the targets.
        labels: Names of the classes, tags or quantities.

    Returns:
        ``accuracy`` and macro ``f1`` (multiclass); ``auroc`` and ``average_precision``, means over
        tags that have both positive and negative rows (multilabel); ``r2``, ``rmse`` and
        ``r2_<label>`` (regression).
    """
    if task == "multiclass":
        classes = len(labels)
        return {
            "accuracy": multiclass_accuracy(outputs, target, classes, average="micro").item(),
            "f1": multiclass_f1_score(outputs, target, classes, average="macro").item(),
        }
    if task == "multilabel":
        positive = target.long()
        count = positive.sum(dim=0)
        # AUROC is undefined for tags that apply to all rows or to none.
        ranked = (count > 0) & (count < len(positive))
        if not ranked.any():
            return {"auroc": float("nan"), "average_precision": float("nan")}
        outputs, positive = outputs[:, ranked], positive[:, ranked]
        tags = int(ranked.sum())
        if tags == 1:
            outputs, positive, tags = outputs.repeat(1, 2), positive.repeat(1, 2), 2
        return {
            "auroc": multilabel_auroc(outputs, positive, tags).item(),
            "average_precision": multilabel_average_precision(outputs, positive, tags).item(),
        }
    result = {"rmse": mean_squared_error(outputs, target, squared=False).item()}
    if len(target) > 1:
        each = r2_score(outputs, target, multioutput="raw_values").reshape(-1)
        result["r2"] = each.mean().item()
        result |= {f"r2_{name}": value.item() for name, value in zip(labels, each, strict=True)}
    return result
