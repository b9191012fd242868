"""Computes scores and their confidence intervals. No other module computes intervals.

* Accuracy: Wilson score interval over tracks (Wilson 1927), from SciPy. ``docs/statistics.md``
  shows its simulated coverage (``benchmarks/interval_coverage.py``).
* Other measures, and differences between two systems: percentile bootstrap over tracks (Efron
  1979), from :func:`scipy.stats.bootstrap`.

Each track counts once, even if several runs tested it. The spread of the folds' scores
(:func:`fold_scores`) is not a confidence interval, because folds share their training tracks.
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

#: Main measure of each task.
MEASURE = {"multiclass": "accuracy", "multilabel": "auroc", "regression": "r2"}

LEVEL = 0.95
MAX_RESAMPLES = 10_000
MIN_RESAMPLES = 200
#: Maximum number of values visited by all resamples of a bootstrap. Larger test sets get fewer
#: resamples.
MAX_VALUES = 100_000_000
#: Number of values per batch of resamples, so that a batch fits into a core's cache.
BATCH_VALUES = 100_000

#: Maps how often each row occurs in each resample, of shape (rows, resamples), to the scores of
#: the resamples, of shape (resamples,).
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """95 % confidence interval. Iterating over it yields its two ends.

    ``method`` is ``Wilson``, ``bootstrap`` or ``paired bootstrap``; ``tracks`` is the number of
    tracks. If the interval is not available, its ends are NaN and ``missing`` is the reason.
    """

    low: float
    high: float
    method: str
    tracks: int
    missing: str = ""

    @property
    def name(self) -> str:
        """Method and number of tracks, as in ``95 % Wilson interval over 120 tracks``."""
        return name_intervals([self])

    def columns(self, prefix: str = "") -> dict[str, float | str]:
        """Return the interval as cells of a CSV row, with ``prefix`` before each column name."""
        cells: dict[str, float | str] = {
            "low": self.low,
            "high": self.high,
            "interval": str(self),
            "method": self.method,
            "tracks": self.tracks,
        }
        return {prefix + name: cell for name, cell in cells.items()}

    def scaled(self, factor: float) -> "Interval":
        """Multiply both ends, for example by 100 to print percent."""
        return Interval(
            self.low * factor, self.high * factor, self.method, self.tracks, self.missing
        )

    def __iter__(self) -> Iterator[float]:
        return iter((self.low, self.high))

    def __format__(self, spec: str) -> str:
        """Format both ends as floats, as in ``0.874 to 0.966``."""
        if self.missing or isnan(self.low):
            return f"not available: {self.missing}".rstrip(": ")
        return f"{self.low:{spec or '.3f'}} to {self.high:{spec or '.3f'}}"

    def __str__(self) -> str:
        return format(self)


#: Interval of a score whose tracks are unknown.
NOT_COMPUTED = Interval(float("nan"), float("nan"), "", 0, "not computed")


class Score(NamedTuple):
    """Score (NaN if undefined) and its interval."""

    value: float
    interval: Interval = NOT_COMPUTED

    @property
    def sentence(self) -> str:
        """The score with its interval and the interval's name."""
        return f"{self.value:.3f} ({self.interval.name}: {self.interval})"

    def __str__(self) -> str:
        """Return the score and the ends of its interval."""
        return f"{self.value:.3f}" + (f" ({self.interval})" if self.interval.method else "")


def name_intervals(intervals: Iterable[Interval]) -> str:
    """Describe the intervals of a table, as in ``95 % Wilson interval over 20 to 40 tracks``."""
    tracks: dict[str, set[int]] = {}
    for interval in intervals:
        if interval.method:
            tracks.setdefault(interval.method, set()).add(interval.tracks)
    return " and ".join(
        f"{100 * LEVEL:.0f} % {method} interval over {_range(numbers)}tracks"
        for method, numbers in tracks.items()
    )


def read_intervals(table: pd.DataFrame, prefix: str = "") -> list[Interval]:
    """Read the columns that :meth:`Interval.columns` wrote, one interval per row."""
    names = [prefix + name for name in ("low", "high", "method", "tracks")]
    return [Interval(*row) for row in table[names].itertuples(index=False, name=None)]


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    if not high:  # not recorded
        return ""
    return f"{low} " if low == high else f"{low} to {high} "


def fold_names(tracks: pd.DataFrame) -> pd.Series:
    """Return the fold of each row, as in ``seed 0, fold 3``; an empty string in a single run."""
    if "seed" not in tracks:
        return pd.Series("", index=tracks.index)
    seed, fold = (tracks[column].astype(int).astype(str) for column in ("seed", "fold"))
    return "seed " + seed + ", fold " + fold


def correct(results: Results, decision: str = "decision") -> pd.Series:
    """Return the share of correct decisions for each track, a fraction if it was tested repeatedly.

    ``decision`` is the column to score: ``decision`` or ``vote``.
    """
    tracks = results.tracks[results.tracks["label"].notna()]
    return (tracks["label"] == tracks[decision]).groupby(tracks["track"]).mean()


def track_gains(results: Results, other: Results) -> pd.Series:
    """Return each track's share in how much higher ``results`` score than ``other``.

    The mean over the tracks that both tested is the difference of accuracies, or of r2, averaged
    over the quantities. Other tracks are NaN.

    Args:
        results: Results of a multiclass or regression task.
        other: Results of the same task.
    """
    if results.task == "multiclass":
        return correct(results) - correct(other)
    errors = [_scaled_errors(side) for side in (results, other)]
    return errors[1] - errors[0]


def _scaled_errors(results: Results) -> pd.Series:
    """Return each track's squared error over the variance of the target, averaged over targets."""
    tracks = results.tracks
    shares = []
    for label, output in zip(results.labels, results.outputs, strict=True):
        target = tracks[f"target.{label}"].astype(float)
        variance = target.groupby(tracks["track"]).first().var(ddof=0)
        shares.append((target - tracks[output]) ** 2 / variance)
    return pd.concat(shares, axis=1).mean(axis=1).groupby(tracks["track"]).mean()


def fold_scores(
    results: Results, decision: str = "decision", measure: str | None = None
) -> pd.Series:
    """Return the score of each fold, indexed by :func:`fold_names` (see :func:`score`)."""
    groups = results.tracks.groupby(fold_names(results.tracks), sort=False)
    scores = {}
    for name, rows in groups:
        statistic = _statistic(rows, results, decision, measure or MEASURE[results.task])
        scores[name] = float(statistic(np.ones((len(rows), 1)))[0])
    return pd.Series(scores, dtype=float)


def spread_columns(scores: pd.Series, prefix: str = "") -> dict[str, float]:
    """Return mean, standard deviation (NaN for one fold) and range of the folds' scores.

    The keys are columns of CSV files, with ``prefix`` before each name. Folds without a score are
    not counted.
    """
    cells = {
        "mean_of_folds": float(scores.mean()),
        "folds_deviation": float(scores.std()),
        "folds_min": float(scores.min()),
        "folds_max": float(scores.max()),
        "folds": int(scores.count()),
    }
    return {prefix + name: cell for name, cell in cells.items()}


def describe_spread(scores: pd.Series, parts: str = "folds") -> str:
    """Format the spread of the folds' scores, with a leading semicolon; empty for one fold.

    ``parts`` is ``folds``, or ``runs`` for repeated runs on one split.
    """
    if len(scores) < 2:
        return ""
    count = scores.count()
    if not count:
        return f"; no score is defined in any of {len(scores)} {parts}"
    undefined = "" if count == len(scores) else f", not defined in {len(scores) - count}"
    return (
        f"; mean of {count} {parts} {scores.mean():.3f} (std over {count} {parts} "
        f"{scores.std():.3f}, min {scores.min():.3f}, max {scores.max():.3f}{undefined})"
    )


def score(results: Results, decision: str = "decision", measure: str | None = None) -> Score:
    """Score all tracks, with a 95 % interval over tracks.

    ``auroc`` and ``average_precision`` are computed within each fold and averaged, because the
    outputs of different models do not share a scale. Other measures use all tracks at once.

    Args:
        results: Results of any task.
        decision: Column to score for multiclass: ``decision`` or ``vote``.
        measure: ``accuracy`` or ``f1`` (macro, multiclass); ``auroc`` or ``average_precision``
            (means over the tags, multilabel); ``r2`` or ``rmse`` (means over the quantities,
            regression). Default: main measure of the task.
    """
    measure = measure or MEASURE[results.task]
    if measure == "accuracy":
        right = correct(results, decision)
        return Score(float(right.mean()), wilson(right.sum(), len(right)))
    statistic, tracks, cells = _over_tracks(results, decision, measure)
    value = float(statistic(np.ones((tracks, 1)))[0]) if tracks else float("nan")
    return Score(value, _bootstrap(statistic, tracks, cells, "bootstrap"))


def overall(results: Results, decision: str = "decision") -> float:
    """Return the value of :func:`score`, without computing the interval."""
    if results.task == "multiclass":
        return float(correct(results, decision).mean())
    statistic, tracks, _ = _over_tracks(results, decision, MEASURE[results.task])
    return float(statistic(np.ones((tracks, 1)))[0]) if tracks else float("nan")


def describe_score(results: Results) -> str:
    """Format the main measure in a line.

    Example: ``track accuracy 0.675 (95 % Wilson interval over 40 tracks: 0.520 to 0.799)``.
    """
    return f"track {MEASURE[results.task]} {score(results).sentence}"


def measures(results: Results) -> dict[str, Score]:
    """Score all tracks by every measure of the task, the main measure first."""
    names = {
        "multiclass": ("accuracy", "f1"),
        "multilabel": ("auroc", "average_precision"),
        "regression": ("r2", "rmse"),
    }
    return {name: score(results, measure=name) for name in names[results.task]}


def gain(results: Results, other: Results, decision: str = "decision") -> Score:
    """Return how much higher ``results`` score than ``other`` on the same rows.

    The interval is a 95 % paired bootstrap over tracks. ``decision`` is the column of ``other`` to
    score for multiclass.
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
    """Return the mean of the differences (one per track), with a 95 % paired bootstrap interval."""
    values = np.asarray(differences, dtype=np.float64)
    mean = float(values.mean()) if len(values) else float("nan")
    found = _bootstrap(
        lambda counts: values @ counts / len(values), len(values), len(values), "paired bootstrap"
    )
    return Score(mean, found)


def wilson(right: float, tracks: int) -> Interval:
    """Compute the 95 % Wilson score interval of a proportion of tracks.

    ``right``, the number of correctly classified tracks, may be fractional if several runs tested a
    track. Its fraction is rounded down for the lower and up for the upper end.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", Journal
    of the American Statistical Association 22, 1927.
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


def bootstrap_score(statistic: Statistic, tracks: int, resamples: int) -> Score:
    """Return a statistic of the tracks, with a 95 % bootstrap interval.

    Args:
        statistic: Maps how often each track occurs in each resample to the scores.
        tracks: Number of tracks.
        resamples: Number of resamples, at least :data:`MIN_RESAMPLES`.
    """
    value = float(statistic(np.ones((tracks, 1)))[0])
    return Score(value, _bootstrap(statistic, tracks, MAX_VALUES // resamples, "bootstrap"))


def _bootstrap(statistic: Statistic, tracks: int, cells: int, method: str) -> Interval:
    """Compute a percentile bootstrap interval.

    ``cells`` is the number of values that the statistic visits per resample.
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
        warnings.simplefilter("ignore", DegenerateDataWarning)  # see Interval.missing
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
    """Return a statistic of track counts, the number of tracks, and the values that it visits."""
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
    """Return a measure of rows from one fold as a statistic of row counts."""
    labels = list(results.labels)
    if results.task == "multiclass":
        truth, decided = (
            (rows[column].to_numpy()[:, None] == np.array(labels, object)).astype(float)
            for column in ("label", decision)
        )
        return (_accuracy if measure == "accuracy" else _f1)(truth, decided)
    columns = [f"target.{label}" for label in labels]
    ranking = measure in ("auroc", "average_precision")
    outputs = results.scores if ranking else results.outputs
    target, output = (rows[names].to_numpy(np.float64) for names in (columns, outputs))
    if measure == "rmse":
        return _rmse(target, output)
    by_label = {"auroc": _auroc, "average_precision": _average_precision, "r2": _r2}[measure]
    parts = [by_label(target[:, i], output[:, i]) for i in range(len(labels))]
    return lambda counts: _mean_of_known([part(counts) for part in parts])


def _mean_of_known(values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Average over the first axis, ignoring NaN."""
    stack = np.asarray(values)
    known = ~np.isnan(stack)
    return _divide(np.where(known, stack, 0).sum(axis=0), known.sum(axis=0))


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; 0 / 0 is NaN."""
    return np.divide(
        numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0
    )


def _accuracy(truth: np.ndarray, decided: np.ndarray) -> Statistic:
    right, known = (truth * decided).sum(axis=1), truth.sum(axis=1)
    return lambda counts: _divide(right @ counts, known @ counts)


def _f1(truth: np.ndarray, decided: np.ndarray) -> Statistic:
    """Return macro F1 over the classes that occur as label or decision."""
    both, either = (truth * decided).T, (truth + decided).T
    return lambda counts: _mean_of_known(_divide(2 * both @ counts, either @ counts))


class _Ranking:
    """Ranks of rows with a tag among the rows with (``present``) and without it (``absent``).

    Both are sorted by output. For each row with the tag, ``first`` counts the present and the
    absent rows with a smaller output, ``last`` those with a smaller or equal output.
    """

    def __init__(self, target: np.ndarray, output: np.ndarray) -> None:
        order = np.argsort(output, kind="stable")
        self.present, self.absent = order[target[order] == 1], order[target[order] == 0]
        own = output[self.present]
        kinds = own, output[self.absent]
        self.first = [np.searchsorted(kind, own, "left") for kind in kinds]
        self.last = [np.searchsorted(kind, own, "right") for kind in kinds]

    def cumulate(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return cumulative counts of the present and the absent rows, starting with 0."""
        with_tag = np.zeros((len(self.present) + 1, counts.shape[1]))
        without = np.zeros((len(self.absent) + 1, counts.shape[1]))
        np.cumsum(counts[self.present], axis=0, out=with_tag[1:])
        np.cumsum(counts[self.absent], axis=0, out=without[1:])
        return with_tag, without


def _auroc(target: np.ndarray, output: np.ndarray) -> Statistic:
    """Return the area under the ROC curve: the share of pairs in the right order."""
    ranking = _Ranking(target, output)

    def auroc(counts: np.ndarray) -> np.ndarray:
        with_tag, without = ranking.cumulate(counts)
        below = (without[ranking.first[1]] + without[ranking.last[1]]) / 2
        area = np.einsum("ij,ij->j", counts[ranking.present], below)
        return _divide(area, with_tag[-1] * without[-1])

    return auroc


def _average_precision(target: np.ndarray, output: np.ndarray) -> Statistic:
    """Return average precision as in scikit-learn; NaN if all rows have the tag."""
    ranking = _Ranking(target, output)

    def average_precision(counts: np.ndarray) -> np.ndarray:
        with_tag, without = ranking.cumulate(counts)
        found = with_tag[-1] - with_tag[ranking.first[0]]
        wrong = without[-1] - without[ranking.first[1]]
        # Rows that are not in the resample have count 0, so their precision has no effect.
        precision = found / np.maximum(found + wrong, 1)
        total = np.einsum("ij,ij->j", counts[ranking.present], precision)
        return _divide(total, np.where(without[-1] > 0, with_tag[-1], 0))

    return average_precision


def _r2(target: np.ndarray, output: np.ndarray) -> Statistic:
    """Return the coefficient of determination as in scikit-learn; NaN for constant resamples."""
    known = ~(np.isnan(target) | np.isnan(output))
    centred = np.where(known, target - (target[known].mean() if known.any() else 0), 0)
    error = np.where(known, target - output, 0) ** 2
    smallest = 1e-12 * (centred**2).sum()
    if known.sum() > 1 and np.ptp(target[known]) == 0:
        value = 0.0 if error.any() else 1.0
        return lambda counts: np.full(counts.shape[1], value)

    def r2(counts: np.ndarray) -> np.ndarray:
        rows = np.maximum(known @ counts, 1)
        total = centred**2 @ counts - (centred @ counts) ** 2 / rows
        return 1 - _divide(error @ counts, np.where(total > smallest, total, 0))

    return r2


def _rmse(target: np.ndarray, output: np.ndarray) -> Statistic:
    """Return the root mean squared error over rows and quantities."""
    error = (target - output) ** 2
    known = ~np.isnan(error)
    squares, values = np.where(known, error, 0).sum(axis=1), known.sum(axis=1).astype(float)
    return lambda counts: np.sqrt(_divide(squares @ counts, values @ counts))
