"""Rules that combine the outputs of several models for the same clips or tracks.

Sources: Senac et al. (2017), section 4.3, for ``fusion1`` and ``fusion2``; Gwardys and Grzywczak
(2014), section V, for ``weighted`` and ``product``.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from mgc.evaluation.alignment import TRACK_KEY
from mgc.evaluation.results import Results

Method = Literal["fusion1", "fusion2", "weighted", "product"]

#: Methods that combine clips and therefore need the same clips in every run.
CLIP_METHODS = ("fusion1", "fusion2")

#: Lower bound of probabilities before taking the logarithm.
MIN_PROBABILITY = 1e-12


def fuse_clips(results: Sequence[Results], method: Method, source: dict[str, Any]) -> Results:
    """Average aligned results clip by clip.

    ``fusion1`` classifies a track by the mean over its clips, ``fusion2`` by majority vote.
    """
    # Not imported at the top, so that mgc compare does not load torch.
    import torch

    from mgc.evaluation.scores import majority_vote

    first = results[0]
    clips, tracks = first.clips.copy(), drop_scores(first)
    means = np.mean([r.clips[r.outputs].to_numpy(np.float64) for r in results], axis=0)
    key = [column for column in TRACK_KEY if column in tracks]
    track = torch.from_numpy(
        clips.groupby(key, dropna=False, sort=True).ngroup().to_numpy(copy=True)
    )
    clips[first.outputs] = means
    by_track = clips.groupby(track.numpy())[first.outputs].mean().to_numpy()
    tracks[first.outputs] = by_track
    if first.task == "multiclass":
        names = np.array(first.labels)
        clips["decision"] = names[means.argmax(axis=1)]
        tracks["vote"] = names[majority_vote(torch.from_numpy(means), track).numpy()]
        best = names[by_track.argmax(axis=1)]
        tracks["decision"] = tracks["vote"] if method == "fusion2" else best
    return Results(clips, tracks, first.task, first.labels, source)


def drop_scores(results: Results) -> pd.DataFrame:
    """Return the tracks without the log-odds of a single model."""
    return results.tracks.drop(
        columns=[f"score.{label}" for label in results.labels], errors="ignore"
    )


def combine(outputs: np.ndarray, weights: np.ndarray, method: Method, task: str) -> np.ndarray:
    """Combine the outputs of several models for each track.

    ``weighted`` is the weighted mean. ``product`` is the weighted geometric mean, normalised so
    that the probabilities of all classes (or of a tag and its absence) sum to 1.

    Args:
        outputs: Probabilities or predictions of shape (runs, tracks, classes).
        weights: Weights of shape (runs,).
        method: ``weighted`` or ``product``.
        task: Task of the targets.

    Returns:
        Outputs of shape (tracks, classes).
    """
    if method == "weighted":
        return np.einsum("r,rtc->tc", weights, outputs)
    logs = np.einsum("r,rtc->tc", weights, np.log(np.maximum(outputs, MIN_PROBABILITY)))
    if task == "multilabel":
        absent = np.log(np.maximum(1 - outputs, MIN_PROBABILITY))
        return 1 / (1 + np.exp(np.einsum("r,rtc->tc", weights, absent) - logs))
    scaled = np.exp(logs - logs.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


def find_weights(outputs: np.ndarray, target: np.ndarray, method: Method, task: str) -> np.ndarray:
    """Find the weights with the smallest log-loss, or squared error for regression.

    Both losses are convex in the weights, so SLSQP finds the minimum on the simplex from equal
    weights.

    Args:
        outputs: Probabilities or predictions of shape (runs, tracks, classes).
        target: One-hot classes or values, of shape (tracks, classes).
        method: ``weighted`` or ``product``.
        task: Task of the targets.

    Returns:
        Weights of shape (runs,), whose sum is 1.
    """

    def loss(weights: np.ndarray) -> float:
        fused = combine(outputs, weights, method, task)
        if task == "regression":
            return float(((fused - target) ** 2).mean())
        likelihood = target * np.log(np.maximum(fused, MIN_PROBABILITY))
        if task == "multilabel":
            likelihood += (1 - target) * np.log(np.maximum(1 - fused, MIN_PROBABILITY))
        return float(-likelihood.sum(axis=1).mean())

    runs = len(outputs)
    found = minimize(
        loss,
        np.full(runs, 1 / runs),
        method="SLSQP",
        bounds=[(0, 1)] * runs,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
    ).x.clip(0)
    return found / found.sum()
