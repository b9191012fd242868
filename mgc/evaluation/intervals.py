"""Scores of results and their confidence intervals: the only module that computes one.

* Accuracy: the Wilson score interval (Wilson 1927) over tracks, from SciPy. ``docs/statistics.md``
  has the simulation of its coverage (``benchmarks/interval_coverage.py``).
* All other measures, and differences of two systems: the percentile bootstrap over tracks (Efron
  1979), by :func:`scipy.stats.bootstrap`.

A track counts once, however often it was tested. Scores of the folds of a cross-validation have a
spread (:func:`fold_scores`), which is no confidence interval: folds share their training tracks.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, isnan
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import DegenerateDataWarning, binomtest, bootstrap

from mgc.evaluation.results import Results

#: The measure of a task that is reported first.
MEASURE = {"multiclass": "accuracy", "multilabel": "auroc", "regression": "r2"}

LEVEL = 0.95
MAX_RESAMPLES = 10_000
MIN_RESAMPLES = 200
#: Values that all resamples of a bootstrap may visit; larger tests are resampled less often.
MAX_VALUES = 100_000_000
#: Values of a batch of resamples, which fit into a core's cache.
BATCH_VALUES = 100_000

#: Scores of resamples, of shape (resamples,), by how often each of them holds each row, of shape
#: (rows, resamples).
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval; iterates over its two ends.

    Attributes:
        low: Lower end; NaN where the interval is not available.
        high: Upper end.
        method: ``Wilson``, ``bootstrap`` or ``paired bootstrap``.
        tracks: Number of tracks that it is computed from.
        missing: Why it is not available; empty if it is.
    """

    low: float
    high: float
    method: str
    tracks: int
    missing: str = ""

    @property
    def name(self) -> str:
        """What it is: ``95 % Wilson interval over 120 tracks``."""
        return name_intervals([self])

    def columns(self, prefix: str = "") -> dict[str, float | str]:
        """Cells of a CSV file: ``low``, ``high``, ``interval`` (in words), ``method``, ``tracks``.

        Args:
            prefix: Beginning of the names of the columns.
        """
        cells: dict[str, float | str] = {
            "low": self.low,
            "high": self.high,
            "interval": str(self),
            "method": self.method,
            "tracks": self.tracks,
        }
        return {prefix + name: cell for name, cell in cells.items()}

    def scaled(self, factor: float) -> "Interval":
        """Multiply both ends, to print percent."""
        return Interval(
            self.low * factor, self.high * factor, self.method, self.tracks, self.missing
        )

    def __iter__(self) -> Iterator[float]:
        return iter((self.low, self.high))

    def __format__(self, spec: str) -> str:
        """Write the ends in a format for floats, by default ``0.874 to 0.966``."""
        if self.missing or isnan(self.low):
            return f"not available: {self.missing}".rstrip(": ")
        return f"{self.low:{spec or '.3f'}} to {self.high:{spec or '.3f'}}"

    def __str__(self) -> str:
        return format(self)


#: The interval of a score whose tracks are not at hand.
UNKNOWN = Interval(float("nan"), float("nan"), "", 0, "not computed")


class Score(NamedTuple):
    """A score and its interval.

    Attributes:
        value: The score; NaN where it is not defined.
        interval: Its interval.
    """

    value: float
    interval: Interval = UNKNOWN

    @property
    def sentence(self) -> str:
        """The score with its interval, and what that is."""
        return f"{self.value:.3f} ({self.interval.name}: {self.interval})"

    def __str__(self) -> str:
        """The score with the ends of its interval, for tables that name the interval."""
        return f"{self.value:.3f}" + (f" ({self.interval})" if self.interval.method else "")


def name_intervals(intervals: Iterable[Interval]) -> str:
    """Name the intervals of a table, for its head or a line below it.

    Args:
        intervals: Intervals of any methods and numbers of tracks.

    Returns:
        Such as ``95 % Wilson interval over 120 tracks``, or ``… over 20 to 40 tracks``.
    """
    tracks: dict[str, set[int]] = {}
    for interval in intervals:
        if interval.method:
            tracks.setdefault(interval.method, set()).add(interval.tracks)
    return " and ".join(
        f"{100 * LEVEL:.0f} % {method} interval over {_range(numbers)}tracks"
        for method, numbers in tracks.items()
    )


def read_intervals(table: pd.DataFrame, prefix: str = "") -> list[Interval]:
    """Read the intervals of a table with the columns of :meth:`Interval.columns`.

    Args:
        table: A row per interval.
        prefix: Beginning of the names of the columns.
    """
    names = [prefix + name for name in ("low", "high", "method", "tracks")]
    return [Interval(*row) for row in table[names].itertuples(index=False, name=None)]


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    if not high:  # not recorded
        return ""
    return f"{low} " if low == high else f"{low} to {high} "


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
    tracks = results.tracks[results.tracks["label"].notna()]
    return (tracks["label"] == tracks[decision]).groupby(tracks["track"]).mean()


def fold_scores(
    results: Results, decision: str = "decision", measure: str | None = None
) -> pd.Series:
    """Score of each fold.

    Args:
        results: Results of any task.
        decision: For multiclass, which decision.
        measure: See :func:`score`.

    Returns:
        Scores by name of the fold.
    """
    groups = results.tracks.groupby(fold_names(results.tracks), sort=False)
    scores = {}
    for name, rows in groups:
        statistic = _statistic(rows, results, decision, measure or MEASURE[results.task])
        scores[name] = float(statistic(np.ones((len(rows), 1)))[0])
    return pd.Series(scores, dtype=float)


def spread_columns(scores: pd.Series, prefix: str = "") -> dict[str, float]:
    """Cells of a CSV file that say how the scores of folds vary.

    Args:
        scores: Scores of the folds.
        prefix: Beginning of the names of the columns.

    Returns:
        ``mean_of_folds``, ``folds_deviation`` (standard deviation; NaN for one fold),
        ``folds_min``, ``folds_max`` and ``folds``.
    """
    cells = {
        "mean_of_folds": float(scores.mean()),
        "folds_deviation": float(scores.std()),
        "folds_min": float(scores.min()),
        "folds_max": float(scores.max()),
        "folds": len(scores),
    }
    return {prefix + name: cell for name, cell in cells.items()}


def describe_spread(scores: pd.Series, parts: str = "folds") -> str:
    """Write how the scores of folds vary.

    Args:
        scores: Scores of the folds.
        parts: What they are scores of: ``folds``, or ``runs`` on one split.

    Returns:
        The end of a sentence, with a semicolon in front; empty for a single fold.
    """
    if len(scores) < 2:
        return ""
    return (
        f"; mean of {len(scores)} {parts} {scores.mean():.3f} (std over {len(scores)} {parts} "
        f"{scores.std():.3f}, min {scores.min():.3f}, max {scores.max():.3f})"
    )


def score(results: Results, decision: str = "decision", measure: str | None = None) -> Score:
    """Score all tracks, with a 95 % interval.

    Rankings (``auroc`` and ``average_precision``) are measured within each fold, since the outputs
    of different fits do not share a scale, and averaged over the folds. All other measures are of
    all tracks at once.

    Args:
        results: Results of any task.
        decision: For multiclass, which decision: ``decision`` or ``vote``.
        measure: ``accuracy`` or ``f1`` (macro, multiclass); ``auroc`` or ``average_precision``
            (means over the tags, multilabel); ``r2`` or ``rmse`` (means over the quantities,
            regression). By default the first of the task.

    Returns:
        The score with its interval over tracks.
    """
    measure = measure or MEASURE[results.task]
    if measure == "accuracy":
        right = correct(results, decision)
        return Score(float(right.mean()), wilson(right.sum(), len(right)))
    statistic, tracks, cells = _over_tracks(results, decision, measure)
    value = float(statistic(np.ones((tracks, 1)))[0]) if tracks else float("nan")
    return Score(value, _bootstrap(statistic, tracks, cells, "bootstrap"))


def overall(results: Results, decision: str = "decision") -> float:
    """The value of :func:`score` alone."""
    if results.task == "multiclass":
        return float(correct(results, decision).mean())
    statistic, tracks, _ = _over_tracks(results, decision, MEASURE[results.task])
    return float(statistic(np.ones((tracks, 1)))[0]) if tracks else float("nan")


def interval(results: Results, decision: str = "decision") -> Interval:
    """The interval of :func:`score` alone."""
    return score(results, decision).interval


def describe_score(results: Results) -> str:
    """Write the first measure of the task in a line.

    Args:
        results: Results of any task.

    Returns:
        Such as ``track accuracy 0.675 (95 % Wilson interval over 40 tracks: 0.520 to 0.799)``.
    """
    return f"track {MEASURE[results.task]} {score(results).sentence}"


def measures(results: Results) -> dict[str, Score]:
    """Score all tracks by every measure of the task.

    Args:
        results: Results of any task.

    Returns:
        Scores by measure, the one that is reported first in front.
    """
    names = {
        "multiclass": ("accuracy", "f1"),
        "multilabel": ("auroc", "average_precision"),
        "regression": ("r2", "rmse"),
    }
    return {name: score(results, measure=name) for name in names[results.task]}


def gain(results: Results, other: Results, decision: str = "decision") -> Score:
    """Measure what one system has over another on the same tracks.

    Args:
        results: Results of the one.
        other: Results of the other, with the same rows.
        decision: For multiclass, which decision of the other; of the one it is ``decision``.

    Returns:
        Difference of the scores, with its 95 % paired bootstrap interval over tracks.
    """
    if results.task == "multiclass":
        return mean_difference(correct(results) - correct(other, decision))
    measure = MEASURE[results.task]
    one, tracks, cells = _over_tracks(results, "decision", measure)
    two, _, _ = _over_tracks(other, decision, measure)
    found = _bootstrap(
        lambda counts: one(counts) - two(counts), tracks, 2 * cells, "paired bootstrap"
    )
    return Score(overall(results) - overall(other), found)


def mean_difference(differences: Sequence[float] | np.ndarray | pd.Series) -> Score:
    """Mean of paired differences.

    Args:
        differences: What one system scores above another on each track.

    Returns:
        The mean, with its 95 % paired bootstrap interval over tracks.
    """
    values = np.asarray(differences, dtype=np.float64)
    mean = float(values.mean()) if len(values) else float("nan")
    found = _bootstrap(
        lambda counts: values @ counts / len(values), len(values), len(values), "paired bootstrap"
    )
    return Score(mean, found)


def wilson(right: float, tracks: int) -> Interval:
    """Find the 95 % Wilson score interval of a share of tracks.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", Journal
    of the American Statistical Association 22, 1927.

    Args:
        right: Number of tracks that were decided on rightly. A track that several runs tested
            counts by its share of right decisions; fractions are rounded outwards.
        tracks: Number of tracks.

    Returns:
        The interval; not available without tracks.
    """
    nan = float("nan")
    if not tracks or isnan(right):
        return Interval(nan, nan, "Wilson", tracks, "no tracks" if not tracks else "no score")
    right = round(float(right), 6)
    low, high = (
        binomtest(whole, tracks).proportion_ci(LEVEL, "wilson")
        for whole in (floor(right), ceil(right))
    )
    return Interval(float(low.low), float(high.high), "Wilson", tracks)


def _bootstrap(statistic: Statistic, tracks: int, cells: int, method: str) -> Interval:
    """Find the percentile bootstrap interval of a statistic of counts of tracks.

    Args:
        statistic: Scores of resamples.
        tracks: Number of tracks.
        cells: Number of values that the statistic visits for a resample.
        method: Name of the method.
    """
    nan = float("nan")
    if tracks < 2:
        return Interval(nan, nan, method, tracks, "fewer than 2 tracks")

    def counted(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        drawn = np.atleast_2d(drawn)
        places = drawn * len(drawn) + np.arange(len(drawn))[:, None]
        counts = np.bincount(places.ravel(), minlength=tracks * len(drawn))
        return statistic(counts.reshape(tracks, -1).astype(np.float64))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # reported below
        found = bootstrap(
            (np.arange(tracks),),
            counted,
            n_resamples=int(np.clip(MAX_VALUES // cells, MIN_RESAMPLES, MAX_RESAMPLES)),
            batch=max(32, BATCH_VALUES // tracks),
            vectorized=True,
            method="percentile",
            random_state=np.random.default_rng(0),
        ).bootstrap_distribution
    known = found[~np.isnan(found)]
    if not len(known):
        return Interval(nan, nan, method, tracks, f"no resample of {tracks} tracks has a score")
    if np.ptp(known) < 1e-12:
        reason = f"every resample of {tracks} tracks gives {known[0]:.3f}"
        return Interval(nan, nan, method, tracks, reason)
    low, high = np.percentile(known, [50 - 50 * LEVEL, 50 + 50 * LEVEL])
    return Interval(float(low), float(high), method, tracks)


def _over_tracks(results: Results, decision: str, measure: str) -> tuple[Statistic, int, int]:
    """Score by how often each track counts.

    Returns:
        The statistic, the number of tracks, and the number of values that it visits.
    """
    rows = results.tracks
    names, track = np.unique(rows["track"].to_numpy(), return_inverse=True)
    ranking = measure in ("auroc", "average_precision")
    fits = fold_names(rows) if ranking else pd.Series("", rows.index)
    folds = [
        (track[fold], _statistic(rows.iloc[fold], results, decision, measure))
        for fold in rows.groupby(fits, sort=False).indices.values()
    ]

    def mean(counts: np.ndarray) -> np.ndarray:
        return _mean_of_known([statistic(counts[members]) for members, statistic in folds])

    return mean, len(names), max(1, len(rows) * len(results.labels))


def _statistic(rows: pd.DataFrame, results: Results, decision: str, measure: str) -> Statistic:
    """A measure of the rows of one fit, by how often each row counts."""
    labels = list(results.labels)
    if results.task == "multiclass":
        truth, decided = (
            (rows[column].to_numpy()[:, None] == np.array(labels, object)).astype(float)
            for column in ("label", decision)
        )
        return (_accuracy if measure == "accuracy" else _f1)(truth, decided)
    columns = [f"target.{label}" for label in labels]
    target, output = (rows[names].to_numpy(np.float64) for names in (columns, results.outputs))
    if measure == "rmse":
        return _rmse(target, output)
    by_label = {"auroc": _auroc, "average_precision": _average_precision, "r2": _r2}[measure]
    parts = [by_label(target[:, i], output[:, i]) for i in range(len(labels))]
    return lambda counts: _mean_of_known([part(counts) for part in parts])


def _mean_of_known(values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Mean over the first axis without NaN; NaN where all are."""
    stack = np.asarray(values)
    known = ~np.isnan(stack)
    return _divide(np.where(known, stack, 0).sum(axis=0), known.sum(axis=0))


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """A ratio; NaN for 0 / 0."""
    return np.divide(
        numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0
    )


def _accuracy(truth: np.ndarray, decided: np.ndarray) -> Statistic:
    right, known = (truth * decided).sum(axis=1), truth.sum(axis=1)
    return lambda counts: _divide(right @ counts, known @ counts)


def _f1(truth: np.ndarray, decided: np.ndarray) -> Statistic:
    """Mean F1 of the classes that are present or decided on."""
    both, either = (truth * decided).T, (truth + decided).T
    return lambda counts: _mean_of_known(_divide(2 * both @ counts, either @ counts))


class _Ranking:
    """Rows with and without a tag, and where those with it stand among both.

    Attributes:
        present: Rows with the tag, by ascending output.
        absent: Rows without.
        first: For each row with the tag, the number of rows of each kind with a smaller output.
        last: The same, with a smaller or equal output.
    """

    def __init__(self, target: np.ndarray, output: np.ndarray) -> None:
        order = np.argsort(output, kind="stable")
        self.present, self.absent = order[target[order] == 1], order[target[order] == 0]
        own = output[self.present]
        kinds = own, output[self.absent]
        self.first = [np.searchsorted(kind, own, "left") for kind in kinds]
        self.last = [np.searchsorted(kind, own, "right") for kind in kinds]

    def cumulate(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows with and without the tag among the first few, from none to all of them."""
        with_tag = np.zeros((len(self.present) + 1, counts.shape[1]))
        without = np.zeros((len(self.absent) + 1, counts.shape[1]))
        np.cumsum(counts[self.present], axis=0, out=with_tag[1:])
        np.cumsum(counts[self.absent], axis=0, out=without[1:])
        return with_tag, without


def _auroc(target: np.ndarray, output: np.ndarray) -> Statistic:
    """Area under the ROC curve: the share of pairs in the right order."""
    ranking = _Ranking(target, output)

    def auroc(counts: np.ndarray) -> np.ndarray:
        with_tag, without = ranking.cumulate(counts)
        below = (without[ranking.first[1]] + without[ranking.last[1]]) / 2
        area = np.einsum("ij,ij->j", counts[ranking.present], below)
        return _divide(area, with_tag[-1] * without[-1])

    return auroc


def _average_precision(target: np.ndarray, output: np.ndarray) -> Statistic:
    """Mean precision at the rows with the tag, as scikit-learn's; NaN if all rows have the tag."""
    ranking = _Ranking(target, output)

    def average_precision(counts: np.ndarray) -> np.ndarray:
        with_tag, without = ranking.cumulate(counts)
        found = with_tag[-1] - with_tag[ranking.first[0]]
        wrong = without[-1] - without[ranking.first[1]]
        # A row that is not in the resample counts 0 times, whatever its precision.
        precision = found / np.maximum(found + wrong, 1)
        total = np.einsum("ij,ij->j", counts[ranking.present], precision)
        return _divide(total, np.where(without[-1] > 0, with_tag[-1], 0))

    return average_precision


def _r2(target: np.ndarray, output: np.ndarray) -> Statistic:
    """Coefficient of determination; NaN for constant targets."""
    known = ~(np.isnan(target) | np.isnan(output))
    centred = np.where(known, target - (target[known].mean() if known.any() else 0), 0)
    error = np.where(known, target - output, 0) ** 2
    smallest = 1e-12 * (centred**2).sum()

    def r2(counts: np.ndarray) -> np.ndarray:
        rows = np.maximum(known @ counts, 1)
        total = centred**2 @ counts - (centred @ counts) ** 2 / rows
        return 1 - _divide(error @ counts, np.where(total > smallest, total, 0))

    return r2


def _rmse(target: np.ndarray, output: np.ndarray) -> Statistic:
    """Root of the mean squared error over rows and quantities."""
    error = (target - output) ** 2
    known = ~np.isnan(error)
    squares, values = np.where(known, error, 0).sum(axis=1), known.sum(axis=1).astype(float)
    return lambda counts: np.sqrt(_divide(squares @ counts, values @ counts))
