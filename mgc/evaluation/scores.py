"""Collects outputs of clips, aggregates them by track, and computes metrics."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
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
        logits = logits.detach()
        exact = logits if logits.dtype == torch.float64 else logits.float()
        self.logits.append(exact[known])
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
    """Convert logits of shape (clips, classes) to probabilities. Keeps outputs of regression.

    In float32, logits above 17 have the same probability of 1. Metrics and result files use
    float64.
    """
    if task == "multiclass":
        return logits.softmax(dim=-1)
    return logits.sigmoid() if task == "multilabel" else logits


def mean_by_track(values: Tensor, track: Tensor) -> tuple[Tensor, Tensor]:
    """Average values of shape (clips, classes) over the clips of each track.

    Returns:
        The tracks in ascending order, of shape (tracks,), and their means in float64, of shape
        (tracks, classes).
    """
    tracks, inverse, counts = torch.unique(track, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(tracks), values.shape[1], dtype=torch.float64)
    sums.index_add_(0, inverse, values.double())
    return tracks, sums / counts.unsqueeze(1)


def track_log_odds(logits: Tensor, track: Tensor) -> Tensor:
    """Return the log-odds of the mean probability of each tag, in ascending order of tracks.

    They rank tracks like the mean probabilities, but also where these are rounded to 0 or 1.

    Args:
        logits: Log-odds of the tags in each clip, of shape (clips, tags).
        track: Track of each clip, of shape (clips,).

    Returns:
        Values in float64, of shape (tracks, tags).
    """
    present, absent = (
        _log_mean_by_track(F.logsigmoid(x), track) for x in (logits.double(), -logits.double())
    )
    return present - absent


def _log_mean_by_track(logs: Tensor, track: Tensor) -> Tensor:
    """Return the logarithm of the means over the clips of each track, from logarithms."""
    tracks, inverse = torch.unique(track, return_inverse=True)
    _, mean = mean_by_track(logs.exp(), track)
    # Scale by the largest value only where the mean has too few digits, so that tracks with equal
    # means stay equal.
    largest = torch.full((len(tracks), logs.shape[1]), -torch.inf, dtype=logs.dtype)
    largest.scatter_reduce_(0, inverse[:, None].expand_as(logs), logs, reduce="amax")
    _, scaled = mean_by_track((logs - largest[inverse]).exp(), track)
    return torch.where(mean > 1e-290, mean.log(), largest + scaled.log())


def decide(outputs: Tensor) -> Tensor:
    """Return the class with the highest output in each row; -1 if an output is NaN."""
    return torch.where(outputs.isnan().any(dim=1), -1, outputs.argmax(dim=1))


def majority_vote(clip_probabilities: Tensor, track: Tensor) -> Tensor:
    """Return the most frequent class among the clips of each track, in ascending order of tracks.

    Ties are broken by mean probability. Probabilities have shape (clips, classes).
    """
    votes = F.one_hot(clip_probabilities.argmax(dim=1), clip_probabilities.shape[1])
    _, share = mean_by_track(votes, track)
    _, mean = mean_by_track(clip_probabilities, track)
    return mean.masked_fill(share < share.amax(dim=1, keepdim=True), -torch.inf).argmax(dim=1)


def measure(outputs: Tensor, target: Tensor, task: Task, labels: Sequence[str]) -> dict[str, float]:
    """Compute the metrics of a task with scikit-learn, in double precision.

    Args:
        outputs: Probabilities, predictions, or any scores that rank the rows for a tag, of shape
            (rows, classes).
        target: Class indices of shape (rows,), or values of shape (rows, classes).
        task: Task of the targets.
        labels: Names of the classes, tags or quantities.

    Returns:
        ``accuracy`` and macro ``f1`` (multiclass); ``auroc`` and ``average_precision``, means over
        tags that have both positive and negative rows (multilabel); ``r2``, ``rmse`` and
        ``r2_<label>`` (regression). They are NaN if an output is; a class is never NaN.
    """
    # Not imported at the top, because it takes a second.
    from sklearn import metrics

    truth = target.cpu().numpy()
    if task == "multiclass":
        decided = decide(outputs).cpu().numpy()
        present = np.union1d(truth, decided[decided >= 0])
        return {
            "accuracy": float((decided == truth).mean()),
            "f1": float(
                metrics.f1_score(truth, decided, labels=present, average="macro", zero_division=0)
            ),
        }
    values, truth = outputs.double().cpu().numpy(), truth.astype(np.float64)
    known = bool(np.isfinite(values).all())
    nan = float("nan")
    if task == "multilabel":
        count = truth.sum(axis=0)
        # AUROC is undefined for tags that apply to all rows or to none.
        ranked = np.flatnonzero((count > 0) & (count < len(truth)) & known)
        by_tag = [
            [score(truth[:, tag], values[:, tag]) for tag in ranked]
            for score in (metrics.roc_auc_score, metrics.average_precision_score)
        ]
        auroc, precision = (float(np.mean(scores)) if scores else nan for scores in by_tag)
        return {"auroc": auroc, "average_precision": precision}
    if not known:
        return dict.fromkeys(("rmse", "r2", *(f"r2_{name}" for name in labels)), nan)
    result = {"rmse": float(np.sqrt(np.mean((values - truth) ** 2)))}
    if len(truth) > 1:
        each = metrics.r2_score(truth, values, multioutput="raw_values")
        result["r2"] = float(each.mean())
        result |= {f"r2_{name}": float(value) for name, value in zip(labels, each, strict=True)}
    return result
