"""How good results are, and how sure that is: bootstrap intervals (Efron 1979)."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from mgc.evaluation.results import Results

#: The measure of a task that is reported first.
MEASURE = {"multiclass": "accuracy", "multilabel": "auroc", "regression": "r2"}

RESAMPLES = 10_000
#: Measures other than a mean are computed anew for every sample, which takes longer.
SLOW_RESAMPLES = 200

Interval = tuple[float, float]


def fold_names(tracks: pd.DataFrame) -> pd.Series:
    """Name the fit that each row comes from.

    Args:
        tracks: Rows of results.

    Returns:
        ``seed 0, fold 3`` in cross-validation, which has a seed; nothing in a single run.
    """
    if "seed" not in tracks:
        return pd.Series("", index=tracks.index)
    seed, fold = (tracks[column].astype(int).astype(str) for column in ("seed", "fold"))
    return "seed " + seed + ", fold " + fold


def correct(results: Results, decision: str = "decision") -> pd.Series:
    """Share of right decisions on each track; 0 or 1 unless it was tested several times.

    Args:
        results: Results of a multiclass task.
        decision: Which decision: ``decision`` or ``vote``.

    Returns:
        Shares by track.
    """
    tracks = results.tracks
    return (tracks["label"] == tracks[decision]).groupby(tracks["track"]).mean()


def fold_scores(results: Results, decision: str = "decision") -> pd.Series:
    """Score of each fold: accuracy, mean ROC-AUC of the tags, or mean r² of the quantities.

    Args:
        results: Results of any task.
        decision: For multiclass, which decision.

    Returns:
        Scores by name of the fold.
    """
    groups = results.tracks.groupby(fold_names(results.tracks), sort=False)
    return pd.Series({name: _score(rows, results, decision) for name, rows in groups})


def overall(results: Results, decision: str = "decision") -> float:
    """Score of all tracks: accuracy, or the mean of the folds' scores.

    The outputs of different fits do not share a scale, so rankings are measured within a fold.

    Args:
        results: Results of any task.
        decision: For multiclass, which decision.

    Returns:
        The score.
    """
    if results.task == "multiclass":
        return float(correct(results, decision).mean())
    return float(fold_scores(results).mean())


def interval_of_mean(values: Sequence[float] | np.ndarray | pd.Series) -> Interval:
    """Find the 95 % percentile bootstrap interval of a mean.

    Args:
        values: A value per track, or per fold.

    Returns:
        Lower and upper end; both NaN for less than two values.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        return float("nan"), float("nan")
    found = bootstrap(
        (sample,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // len(sample)),  # values in memory
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def interval(results: Results, decision: str = "decision") -> Interval:
    """Find the 95 % bootstrap interval of :func:`overall`, over tracks.

    Args:
        results: Results of any task.
        decision: For multiclass, which decision.

    Returns:
        Lower and upper end.
    """
    if results.task == "multiclass":
        return interval_of_mean(correct(results, decision))
    return _percentiles(scores[0] for scores in _resample([results]))


def gain(results: Results, other: Results, decision: str = "decision") -> tuple[float, Interval]:
    """Measure what one model has over another on the same tracks.

    Args:
        results: Results of the one.
        other: Results of the other, with the same rows.
        decision: For multiclass, which decision of the other; of the one it is ``decision``.

    Returns:
        Difference of the scores, and its 95 % paired bootstrap interval over tracks.
    """
    if results.task == "multiclass":
        difference = correct(results) - correct(other, decision)
        return float(difference.mean()), interval_of_mean(difference)
    samples = _resample([results, other])
    return overall(results) - overall(other), _percentiles(one - two for one, two in samples)


def _score(tracks: pd.DataFrame, results: Results, decision: str = "decision") -> float:
    if results.task == "multiclass":
        return float((tracks["label"] == tracks[decision]).mean())
    # Accuracies do not need it, and are there sooner.
    import torch

    from mgc.evaluation.scores import measure

    columns = [f"target.{label}" for label in results.labels]
    outputs, target = (
        torch.from_numpy(np.array(tracks[names], np.float32, order="C"))
        for names in (results.outputs, columns)
    )
    measured = measure(outputs, target, results.task, results.labels)
    return measured.get(MEASURE[results.task], float("nan"))


def _resample(results: Sequence[Results]) -> Iterable[list[float]]:
    """Mean scores of all results over the folds, for samples of whole tracks."""
    rng = np.random.default_rng(0)
    rows = results[0].tracks
    _, track = np.unique(rows["track"].to_numpy(), return_inverse=True)
    count = track.max() + 1
    folds = rows.groupby(fold_names(rows), sort=False).indices.values()
    for _ in range(SLOW_RESAMPLES):
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        drawn = [np.repeat(fold, times[track[fold]]) for fold in folds]
        yield [
            float(np.mean([_score(result.tracks.iloc[fold], result) for fold in drawn]))
            for result in results
        ]


def _percentiles(values: Iterable[float]) -> Interval:
    low, high = np.nanpercentile(list(values), [2.5, 97.5])
    return float(low), float(high)
