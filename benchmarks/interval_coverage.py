"""Measure the coverage of 95 % intervals by simulation, for docs/statistics.md. Prints Markdown.

    python benchmarks/interval_coverage.py [--draws 20000] [--only independent measures]

Compares Wilson, Clopper-Pearson and Jeffreys intervals, percentile and BCa bootstrap over tracks,
and Student's t over folds. For independent tracks, the coverage of the first five is exact (a sum
over the binomial distribution); all other results are simulated. Further parts: correlated tracks
of an artist, clips of a track, folds with different classifiers, repeated runs on the same tracks,
the bootstrap of other measures, wrong verdicts of paired tests, and the time of a bootstrap.
"""

import argparse
import time
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pandas as pd
import torch
from scipy.stats import beta, binom, norm, t
from sklearn.metrics import roc_auc_score

from mgc.evaluation import intervals
from mgc.evaluation.intervals import mean_difference, score, wilson
from mgc.evaluation.paired import ALPHA, sign_flip_test
from mgc.evaluation.results import Results
from mgc.evaluation.scores import measure

Z = norm.ppf(0.975)
NUMBERS = (10, 40, 100, 120, 299, 1000)
SHARES = (0.5, 0.7, 0.9, 0.95, 0.99, 1.0)

#: Lower and upper ends, for each number of correct tracks.
Ends = tuple[np.ndarray, np.ndarray]


@cache
def wilson_ends(n: int) -> Ends:
    """Wilson interval, as printed by mgc."""
    low, high = zip(*(wilson(right, n) for right in range(n + 1)), strict=True)
    return np.array(low), np.array(high)


@cache
def clopper_pearson_ends(n: int) -> Ends:
    """Exact interval, from quantiles of beta distributions."""
    right = np.arange(n + 1)
    low, high = beta.ppf(0.025, right, n - right + 1), beta.ppf(0.975, right + 1, n - right)
    return np.nan_to_num(low, nan=0.0), np.nan_to_num(high, nan=1.0)


@cache
def jeffreys_ends(n: int) -> Ends:
    """Equal-tailed Jeffreys interval, with 0 and 1 at the ends (Brown 2001)."""
    right = np.arange(n + 1)
    low, high = beta.ppf([[0.025], [0.975]], right + 0.5, n - right + 0.5)
    low[0], high[-1] = 0.0, 1.0
    return low, high


@cache
def percentile_ends(n: int) -> Ends:
    """Percentile bootstrap over tracks in the limit of infinitely many resamples."""
    shares = np.arange(n + 1) / n
    low, high = (binom.ppf(tail, n, shares) / n for tail in (0.025, 0.975))
    return low, high


@cache
def bca_ends(n: int) -> Ends:
    """BCa bootstrap over tracks in the limit of infinitely many resamples."""
    right = np.arange(n + 1)
    share = right / n
    with np.errstate(all="ignore"):
        below = binom.cdf(right - 1, n, share) + binom.pmf(right, n, share) / 2
        bias = norm.ppf(below)
        skew = (1 - 2 * share) / (6 * np.sqrt(n * share * (1 - share)))
        ends = []
        for z in (-Z, Z):
            tail = norm.cdf(bias + (bias + z) / (1 - skew * (bias + z)))
            ends.append(np.where(share % 1 == 0, share, binom.ppf(tail, n, share) / n))
    return ends[0], ends[1]


METHODS: dict[str, Callable[[int], Ends]] = {
    "Wilson": wilson_ends,
    "Clopper-Pearson": clopper_pearson_ends,
    "Jeffreys": jeffreys_ends,
    "bootstrap, percentile": percentile_ends,
    "bootstrap, BCa": bca_ends,
}


def t_ends(scores: np.ndarray) -> Ends:
    """Student's t interval of scores of shape (draws, folds)."""
    folds = scores.shape[1]
    half = t.ppf(0.975, folds - 1) * scores.std(axis=1, ddof=1) / np.sqrt(folds)
    return scores.mean(axis=1) - half, np.minimum(scores.mean(axis=1) + half, 1)


def coverage(ends: Ends, truth: float | np.ndarray) -> tuple[float, float]:
    """Return the share of intervals that contain the truth, and their mean width."""
    low, high = ends
    inside = (low <= truth + 1e-9) & (truth - 1e-9 <= high)
    return float(inside.mean()), float((high - low).mean())


def cell(found: tuple[float, float]) -> str:
    """Format coverage and width."""
    return f"{found[0]:.3f} ({found[1]:.3f})"


def print_table(title: str, rows: list[dict[str, object]]) -> None:
    """Print a Markdown table."""
    frame = pd.DataFrame(rows)
    print(f"\n### {title}\n\n| {' | '.join(frame.columns)} |")
    print("|" + " --- |" * len(frame.columns))
    for row in frame.itertuples(index=False):
        print(f"| {' | '.join(str(value) for value in row)} |", flush=True)


def fold_sizes(n: int, folds: int) -> np.ndarray:
    """Return the sizes of balanced folds."""
    return np.full(folds, n // folds) + (np.arange(folds) < n % folds)


def independent(draws: int) -> None:
    """Coverage for independent tracks."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for n in NUMBERS:
        for share in SHARES:
            row: dict[str, object] = {"tracks": n, "accuracy": share}
            weights = binom.pmf(np.arange(n + 1), n, share)
            for name, method in METHODS.items():
                low, high = method(n)
                inside = (low <= share + 1e-9) & (share - 1e-9 <= high)
                row[name] = cell((float(weights @ inside), float(weights @ (high - low))))
            for folds in (3, 10):
                sizes = fold_sizes(n, folds)
                scores = rng.binomial(sizes, share, (draws, folds)) / sizes
                row[f"t over {folds} folds"] = cell(coverage(t_ends(scores), share))
            rows.append(row)
    print_table("Independent tracks: coverage (mean width)", rows)
    grid = np.arange(0.5, 0.996, 0.005)
    rows = []
    for n in NUMBERS:
        row = {"tracks": n}
        for name, method in METHODS.items():
            low, high = method(n)
            found = [
                binom.pmf(np.arange(n + 1), n, p) @ ((low <= p + 1e-9) & (p - 1e-9 <= high))
                for p in grid
            ]
            row[name] = f"{np.mean(found):.3f} / {np.min(found):.3f}"
        rows.append(row)
    print_table("Mean and smallest coverage for accuracies of 0.500, 0.505 … 0.995", rows)


def artists(draws: int) -> None:
    """Coverage for five correlated tracks per artist."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    of_one = 5
    for correlation in (0.1, 0.3):
        for n in (40, 120, 300, 1000):
            for share in (0.7, 0.9):
                groups = n // of_one
                skill = _beta(rng, share, correlation, (draws, groups))
                right = rng.binomial(of_one, skill)
                total = right.sum(axis=1)
                row: dict[str, object] = {
                    "correlation": correlation, "tracks": n, "accuracy": share,
                }  # fmt: skip
                for name in ("Wilson", "bootstrap, percentile"):
                    low, high = METHODS[name](n)
                    row[f"{name}, tracks"] = cell(coverage((low[total], high[total]), share))
                mean = np.array([_bootstrap(rng, x) for x in right[:500] / of_one])
                row["bootstrap over artists"] = cell(coverage((mean[:, 0], mean[:, 1]), share))
                if groups % 10 == 0:
                    scores = right.reshape(draws, 10, -1).mean(axis=2) / of_one
                    row["t over 10 folds by artist"] = cell(coverage(t_ends(scores), share))
                else:
                    row["t over 10 folds by artist"] = ""
                rows.append(row)
    print_table("Five tracks of each artist, correlated: coverage (mean width)", rows)


def clips(draws: int) -> None:
    """Coverage for the accuracy of clips, ten per track."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for n in (40, 120, 299):
        for share in (0.7, 0.9):
            right = rng.binomial(10, _beta(rng, share, 0.5, (draws, n))).sum(axis=1)
            row: dict[str, object] = {"tracks": n, "accuracy of clips": share}
            low, high = wilson_ends(10 * n)
            row["Wilson over clips"] = cell(coverage((low[right], high[right]), share))
            row["Wilson over tracks, by their shares"] = cell(
                coverage(_fractional_wilson(right / 10, n), share)
            )
            rows.append(row)
    print_table("Ten clips of each track, correlation 0.5: coverage (mean width)", rows)


def classifiers(draws: int) -> None:
    """Coverage for ten folds with different classifiers."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for deviation in (0.02, 0.05):
        for n in (40, 120, 299, 1000):
            for share in (0.7, 0.9):
                correlation = deviation**2 / (share * (1 - share))
                skill = _beta(rng, share, correlation, (draws, 10))
                sizes = fold_sizes(n, 10)
                right = rng.binomial(sizes, skill)
                total = right.sum(axis=1)
                of_these = skill @ sizes / n
                row: dict[str, object] = {
                    "std of classifiers": deviation, "tracks": n, "accuracy": share,
                }  # fmt: skip
                ends = {name: METHODS[name](n) for name in ("Wilson", "bootstrap, percentile")}
                found = {name: (low[total], high[total]) for name, (low, high) in ends.items()}
                found["t over folds"] = t_ends(right / sizes)
                for name, between in found.items():
                    row[f"{name}: these ten"] = cell(coverage(between, of_these))
                    row[f"{name}: any ten"] = f"{coverage(between, share)[0]:.3f}"
                rows.append(row)
    print_table("Ten folds with classifiers that differ: coverage (mean width)", rows)


def repeats(draws: int) -> None:
    """Coverage for several runs on the same tracks, correlation 0.5."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for runs in (3, 10):
        for n in (40, 120, 299):
            for share in (0.7, 0.9, 0.98):
                right = rng.binomial(runs, _beta(rng, share, 0.5, (draws, n)))
                total = right.sum(axis=1)
                row: dict[str, object] = {"runs": runs, "tracks": n, "accuracy": share}
                row["Wilson over tracks"] = cell(
                    coverage(_fractional_wilson(total / runs, n), share)
                )
                mean = np.array([_bootstrap(rng, x) for x in right[:500] / runs])
                row["bootstrap over tracks"] = cell(coverage((mean[:, 0], mean[:, 1]), share))
                low, high = wilson_ends(n * runs)
                row["Wilson over all tests"] = cell(coverage((low[total], high[total]), share))
                rows.append(row)
    print_table("Several runs on the same tracks: coverage (mean width)", rows)


def measures(draws: int) -> None:
    """Coverage of the bootstrap for other measures."""
    rng = np.random.default_rng(0)
    intervals.MAX_RESAMPLES = 1000
    rows: list[dict[str, object]] = []
    kinds = [
        *(("auroc", "multilabel", area) for area in (0.75, 0.9, 0.98)),
        *(("average_precision", "multilabel", area) for area in (0.75, 0.9)),
        *(("f1", "multiclass", share) for share in (0.7, 0.9, 0.98)),
        *(("r2", "regression", share) for share in (0.3, 0.7)),
    ]
    for name, task, truth in kinds:
        for n in (40, 120, 299):
            for folds in (1, 10) if name == "auroc" else (1,):
                target = truth
                if name == "average_precision":
                    target = score(_make_results(rng, task, 400_000, truth, 1), measure=name).value
                ends, missing = [], 0
                for _ in range(draws // 50):
                    found = score(_make_results(rng, task, n, truth, folds), measure=name).interval
                    missing += bool(found.missing)
                    if not found.missing:
                        ends.append(tuple(found))
                low, high = np.array(ends).T
                row = {"measure": name, "truth": f"{target:.3f}", "tracks": n, "folds": folds}
                row["coverage (mean width)"] = cell(coverage((low, high), target))
                row["not available"] = f"{missing / (draws // 50):.3f}"
                rows.append(row)
    print_table("Percentile bootstrap over tracks, other measures", rows)


def verdicts(draws: int) -> None:
    """Rate of significant differences between two equally good systems."""
    rng = np.random.default_rng(0)
    intervals.MAX_RESAMPLES = 2000

    @cache
    def decided(first: int, second: int, n: int) -> tuple[bool, bool]:
        differences = np.repeat([1, -1, 0], [first, second, n - first - second])
        low, high = mean_difference(differences).interval
        return low > 0 or high < 0, sign_flip_test(differences) < ALPHA

    rows: list[dict[str, object]] = []
    for n in (40, 120, 299):
        for rate in (0.05, 0.1, 0.2):
            one = rng.binomial(n, rate, draws)
            two = rng.binomial(one, 0.5)
            found = np.mean([decided(b, a - b, n) for a, b in zip(one, two, strict=True)], axis=0)
            row: dict[str, object] = {"tracks": n, "discordant": rate}
            row["interval without 0"] = f"{found[0]:.3f}"
            row["exact test, p < 0.05"] = f"{found[1]:.3f}"
            few = [decided(b, a - b, n)[0] for a, b in zip(one, two, strict=True) if a < 6]
            row["interval without 0, fewer than 6 discordant"] = (
                f"{np.mean(few):.3f}" if few else "-"
            )
            rows.append(row)
    print_table("Verdicts on two systems that are equally good", rows)


def timing(draws: int) -> None:
    """CPU time of an interval of the mean ROC-AUC and of one resample."""
    rng = np.random.default_rng(0)
    intervals.MAX_RESAMPLES = 10_000
    rows: list[dict[str, object]] = []
    for n, tags in ((120, 10), (1000, 50), (28540, 50)):
        results = _make_results(rng, "multilabel", n, 0.8, 1, tags)
        start = time.process_time()
        score(results)
        whole = time.process_time() - start
        values = intervals.MAX_VALUES // (n * tags)
        number = int(np.clip(values, intervals.MIN_RESAMPLES, intervals.MAX_RESAMPLES))
        target = results.tracks[[f"target.{label}" for label in results.labels]].to_numpy(
            np.float32
        )
        output = results.tracks[results.outputs].to_numpy(np.float32)
        row: dict[str, object] = {"tracks": n, "tags": tags, "resamples": number}
        row["interval, s"] = f"{whole:.2f}"
        row["mgc, ms per resample"] = f"{1e3 * whole / number:.3g}"
        ways: dict[str, Callable[[np.ndarray], object]] = {
            "torchmetrics": partial(_torchmetrics, target, output, results),
            "scikit-learn": partial(_sklearn, target, output),
        }
        for name, way in ways.items():
            start = time.process_time()
            for _ in range(3):
                way(rng.integers(n, size=n))
            row[f"{name}, ms per resample"] = f"{1e3 * (time.process_time() - start) / 3:.3g}"
        rows.append(row)
    print_table("CPU time", rows)


def _torchmetrics(
    target: np.ndarray, output: np.ndarray, results: Results, rows: np.ndarray
) -> None:
    measure(
        torch.from_numpy(output[rows]), torch.from_numpy(target[rows]), "multilabel", results.labels
    )


def _sklearn(target: np.ndarray, output: np.ndarray, rows: np.ndarray) -> None:
    for tag in range(target.shape[1]):
        roc_auc_score(target[rows, tag], output[rows, tag])


def _beta(
    rng: np.random.Generator, mean: float, correlation: float, shape: tuple[int, ...]
) -> np.ndarray:
    """Draw probabilities so that decisions with the same probability have this correlation."""
    size = (1 - correlation) / correlation
    return rng.beta(mean * size, (1 - mean) * size, shape)


def _fractional_wilson(right: np.ndarray, n: int) -> Ends:
    """Wilson intervals for fractional numbers of correct tracks."""
    found = {number: wilson(number, n) for number in np.unique(right)}
    low, high = zip(*(found[number] for number in right), strict=True)
    return np.array(low), np.array(high)


def _bootstrap(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Return the percentile bootstrap interval of a mean."""
    n = len(values)
    counts = rng.multinomial(n, np.full(n, 1 / n), 1000)
    return np.percentile(counts @ values / n, [2.5, 97.5])


def _make_results(
    rng: np.random.Generator, task: str, n: int, truth: float, folds: int, tags: int = 1
) -> Results:
    """Generate results with a known ROC-AUC, F1 of ten classes, or r²."""
    tracks = pd.DataFrame({"track": np.arange(n)})
    if folds > 1:
        tracks = tracks.assign(seed=0, fold=np.arange(n) % folds)
    if task == "multiclass":
        labels = tuple("abcdefghij")
        label = rng.integers(10, size=n)
        wrong = (label + rng.integers(1, 10, size=n)) % 10
        decided = np.where(rng.random(n) < truth, label, wrong)
        names = np.array(labels)
        tracks = tracks.assign(label=names[label], decision=names[decided])
        return Results(tracks, tracks, "multiclass", labels)
    labels = tuple(f"tag{i}" for i in range(tags))
    columns = {}
    for label in labels:
        if task == "multilabel":
            target = (rng.random(n) < 0.3).astype(float)
            output = target * np.sqrt(2) * norm.ppf(truth) + rng.normal(size=n)
            columns |= {f"target.{label}": target, f"probability.{label}": norm.cdf(output)}
        else:
            output = rng.normal(size=n) * np.sqrt(truth)
            target = output + rng.normal(size=n) * np.sqrt(1 - truth)
            columns |= {f"target.{label}": target, f"prediction.{label}": output}
    frame = pd.concat([tracks, pd.DataFrame(columns)], axis=1)
    return Results(frame, frame, "multilabel" if task == "multilabel" else "regression", labels)


PARTS = (independent, artists, clips, classifiers, repeats, measures, verdicts, timing)


def main() -> None:
    """Run the simulations."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--only", nargs="+", choices=[part.__name__ for part in PARTS])
    options = parser.parse_args()
    for part in PARTS:
        if options.only is None or part.__name__ in options.only:
            part(options.draws)


if __name__ == "__main__":
    main()
