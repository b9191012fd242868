"""Scores of results, their intervals and their spread."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import average_precision_score, f1_score, r2_score, roc_auc_score

from mgc.evaluation.intervals import (
    Interval,
    Score,
    describe_score,
    describe_spread,
    fold_scores,
    gain,
    mean_difference,
    measures,
    name_intervals,
    overall,
    score,
    wilson,
)
from mgc.evaluation.results import Results


def multiclass(right: list[bool], seeds: tuple[int, ...] = (0,)) -> Results:
    tables = []
    for seed in seeds:
        tracks = pd.DataFrame({"track": [str(i) for i in range(len(right))], "seed": seed})
        tracks["fold"] = [i % 2 for i in range(len(right))]
        tracks["label"] = "a"
        tracks["decision"] = np.where(right, "a", "b")
        tables.append(tracks)
    whole = pd.concat(tables, ignore_index=True)
    return Results(whole, whole, "multiclass", ("a", "b"), {})


def tagged(noise: float, tracks: int = 400, tags: int = 3, places: int | None = None) -> Results:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, (tracks, tags))
    labels = tuple(f"tag{i}" for i in range(tags))
    table = pd.DataFrame({"track": [str(i) for i in range(tracks)], "seed": 0})
    table["fold"] = np.arange(tracks) % 4
    table[[f"target.{label}" for label in labels]] = target
    # Each fold has its own scale.
    scale = 1 / (1 + table["fold"].to_numpy()[:, None])
    outputs = (0.3 + 0.4 * target + noise * rng.normal(size=target.shape)).clip(0, 1) * scale
    table[[f"probability.{label}" for label in labels]] = outputs
    if places is not None:
        table = table.round({f"probability.{label}": places for label in labels})
    return Results(table, table, "multilabel", labels, {})


def rated(noise: float, tracks: int = 100) -> Results:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"track": [str(i) for i in range(tracks)]})
    for name in ("valence", "arousal"):
        table[f"target.{name}"] = 1000 + rng.normal(size=tracks)
        table[f"prediction.{name}"] = table[f"target.{name}"] + noise * rng.normal(size=tracks)
    return Results(table, table, "regression", ("valence", "arousal"), {})


@pytest.mark.parametrize(("right", "tracks"), [(30, 40), (112, 120), (40, 40), (0, 40), (1, 1)])
def test_accuracy_has_a_wilson_interval(right: int, tracks: int) -> None:
    reference = binomtest(right, tracks).proportion_ci(0.95, "wilson")
    found = score(multiclass([True] * right + [False] * (tracks - right)))
    assert found.value == pytest.approx(right / tracks)
    assert tuple(found.interval) == pytest.approx((reference.low, reference.high))
    assert found.interval.low < found.interval.high
    assert found.interval.name == f"95 % Wilson interval over {tracks} tracks"


def test_wilson_interval_without_errors() -> None:
    """The lower end for 40 of 40 is n / (n + z²), with the normal quantile z."""
    assert tuple(wilson(40, 40)) == pytest.approx((40 / (40 + 1.959964**2), 1.0))
    assert tuple(wilson(0, 40)) == pytest.approx((0.0, 1.959964**2 / (40 + 1.959964**2)))


def test_no_interval_without_tracks() -> None:
    none = wilson(0, 0)
    assert (math.isnan(none.low), str(none)) == (True, "not available: no tracks")
    empty = score(multiclass([]))
    assert math.isnan(empty.value)
    assert empty.interval.missing == "no tracks"
    for other in (tagged(0.2, 0), rated(0.2, 0)):
        assert math.isnan(score(other).value)
        assert score(other).interval.missing == "fewer than 2 tracks"


@pytest.mark.parametrize(("tracks", "accuracy"), [(10, 0.9), (40, 0.5), (120, 0.95), (120, 0.7)])
def test_wilson_intervals_have_the_nominal_coverage(tracks: int, accuracy: float) -> None:
    right = np.random.default_rng(0).binomial(tracks, accuracy, 2000)
    ends = {number: tuple(wilson(number, tracks)) for number in np.unique(right)}
    held = np.mean([ends[number][0] <= accuracy <= ends[number][1] for number in right])
    assert 0.92 < held < 0.985


def test_testing_tracks_again_does_not_narrow_the_interval() -> None:
    right = [True] * 30 + [False] * 10
    once, twice = multiclass(right), multiclass(right, (0, 1))
    assert overall(twice) == overall(once) == 0.75
    assert score(twice).interval == score(once).interval
    assert len(fold_scores(twice)) == 4
    # If one of two runs is right, the track counts half.
    twice.tracks.loc[0, "decision"] = "b"
    assert overall(twice) == pytest.approx(29.5 / 40)
    assert tuple(score(twice).interval) == (wilson(29, 40).low, wilson(30, 40).high)


def test_tracks_without_a_label_are_ignored() -> None:
    results = multiclass([True] * 30 + [False] * 12)
    results.tracks.loc[40:, "label"] = np.nan
    assert overall(results) == pytest.approx(30 / 40)
    assert score(results).interval == wilson(30, 40)
    assert fold_scores(results).mean() == pytest.approx(30 / 40)


@pytest.mark.parametrize("places", [None, 1])  # few places: many tracks with equal outputs
def test_multilabel_measures_equal_scikit_learn(places: int | None) -> None:
    results = tagged(0.3, places=places)
    results.tracks.loc[0, "target.tag0"] = np.nan
    results.tracks.loc[:3, "target.tag1"] = 1.0
    found = measures(results)
    for name, function in (
        ("auroc", roc_auc_score),
        ("average_precision", average_precision_score),
    ):
        expected = []
        for _, rows in results.tracks.groupby("fold"):
            columns = []
            for label in results.labels:
                known = rows[rows[f"target.{label}"].notna()]
                columns.append(function(known[f"target.{label}"], known[f"probability.{label}"]))
            expected.append(np.mean(columns))
        assert found[name].value == pytest.approx(np.mean(expected), abs=1e-12)
        assert found[name].interval.low < found[name].value < found[name].interval.high


def test_a_tag_that_all_or_no_tracks_have_is_ignored() -> None:
    results = tagged(0.3, tags=2)
    results.tracks["target.tag1"] = 1
    alone = tagged(0.3, tags=2)
    alone.labels = ("tag0",)
    for name in ("auroc", "average_precision"):
        assert score(results, measure=name) == score(alone, measure=name)


def test_regression_measures_equal_scikit_learn() -> None:
    """Targets are far from zero, where sums of squares lose precision."""
    results = rated(0.5)
    tracks = results.tracks
    expected = np.mean(
        [
            r2_score(tracks[f"target.{name}"], tracks[f"prediction.{name}"])
            for name in results.labels
        ]
    )
    found = measures(results)
    assert found["r2"].value == pytest.approx(expected, abs=1e-9)
    assert found["r2"].interval.low < expected < found["r2"].interval.high
    error = tracks[["prediction.valence", "prediction.arousal"]].to_numpy()
    error = error - tracks[["target.valence", "target.arousal"]].to_numpy()
    assert found["rmse"].value == pytest.approx(np.sqrt((error**2).mean()))
    tracks.loc[0, "target.valence"] = np.nan
    known = tracks.iloc[1:]
    expected = r2_score(known["target.valence"], known["prediction.valence"])
    results.labels = ("valence",)
    assert score(results).value == pytest.approx(expected, abs=1e-9)


def test_f1_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(list("abcd"))
    tracks = pd.DataFrame({"track": np.arange(60), "label": labels[rng.integers(3, size=60)]})
    tracks["decision"] = np.where(rng.random(60) < 0.7, tracks["label"], labels[rng.integers(3)])
    results = Results(tracks, tracks, "multiclass", tuple("abcd"), {})
    found = measures(results)
    assert list(found) == ["accuracy", "f1"]
    # Class d is neither a label nor a decision, so it is ignored.
    expected = f1_score(tracks["label"], tracks["decision"], average="macro", labels=list("abc"))
    assert found["f1"].value == pytest.approx(expected)
    assert found["f1"].interval.name == "95 % bootstrap interval over 60 tracks"


def test_the_bootstrap_equals_scipy() -> None:
    results = rated(0.5)
    results.labels = ("valence",)
    target, output = (results.tracks[f"{k}.valence"].to_numpy() for k in ("target", "prediction"))
    reference = bootstrap(
        (target, output),
        lambda y, x, axis=-1: np.sqrt(np.mean((y - x) ** 2, axis=axis)),
        paired=True,
        method="percentile",
        random_state=np.random.default_rng(1),
    ).confidence_interval
    assert tuple(score(results, measure="rmse").interval) == pytest.approx(reference, abs=0.005)


def test_perfect_predictions_have_no_bootstrap_interval() -> None:
    """Every resample of perfect predictions has the same score."""
    perfect = {
        "auroc": tagged(0.0, 40),
        "average_precision": tagged(0.0, 40),
        "f1": multiclass([True] * 40),
        "r2": rated(0.0, 40),
        "rmse": rated(0.0, 40),
    }
    for name, results in perfect.items():
        value, found = score(results, measure=name)
        assert value == (0 if name == "rmse" else 1)
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert str(found) == f"not available: every resample of 40 tracks gives {value:.3f}"
    nothing = mean_difference([0.0] * 20)
    assert (nothing.value, nothing.interval.missing) == (
        0,
        "every resample of 20 tracks gives 0.000",
    )


def test_a_single_track_has_no_bootstrap_interval() -> None:
    value, found = mean_difference([0.5])
    assert (value, found.missing) == (0.5, "fewer than 2 tracks")
    assert math.isnan(score(tagged(0.2, 1)).value)


def test_gain_is_paired() -> None:
    """Runs with nearly the same errors have a narrow interval of their difference."""
    one = multiclass([True] * 21 + [False] * 19)
    two = multiclass([True] * 20 + [False] * 20)
    difference, (low, high) = gain(one, two)
    assert difference == pytest.approx(1 / 40)
    assert low == 0
    assert high == pytest.approx(3 / 40)
    alone = score(one).interval
    assert high - low < (alone.high - alone.low) / 2


def test_regression_is_scored_over_all_folds_at_once() -> None:
    """r² within small folds is biased downwards."""
    whole = rated(0.5)
    divided = rated(0.5)
    divided.tracks["seed"], divided.tracks["fold"] = 0, np.arange(100) % 10
    assert score(divided) == score(whole)
    assert fold_scores(divided).mean() < overall(whole)
    assert len(fold_scores(divided)) == 10


def test_auroc_is_computed_within_each_fold() -> None:
    results = tagged(0.2)
    assert overall(results) == pytest.approx(fold_scores(results).mean())
    # Normal scores 2 standard deviations apart: Φ(2 / √2) = 0.921
    assert overall(results) == pytest.approx(0.921, abs=0.02)
    low, high = score(results).interval
    assert low < overall(results) < high
    assert high - low < 0.05
    difference, between = gain(results, tagged(0.4))
    assert difference > between.low > 0.05
    assert between.name == "95 % paired bootstrap interval over 400 tracks"


def test_formatting_of_intervals() -> None:
    results = multiclass([True] * 112 + [False] * 8)
    line = "track accuracy 0.933 (95 % Wilson interval over 120 tracks: 0.874 to 0.966)"
    assert describe_score(results) == line
    found = score(results).interval
    assert f"{found.scaled(100):.1f}" == "87.4 to 96.6"
    assert str(Score(0.5)) == "0.500"
    assert str(score(results)) == "0.933 (0.874 to 0.966)"
    several = [found, wilson(1, 20), Interval(0.1, 0.2, "bootstrap", 20), Score(0.5).interval]
    assert name_intervals(several) == (
        "95 % Wilson interval over 20 to 120 tracks and 95 % bootstrap interval over 20 tracks"
    )


def test_formatting_of_the_spread_over_folds() -> None:
    scores = pd.Series([0.5, 0.7, 0.9])
    assert describe_spread(scores) == (
        "; mean of 3 folds 0.700 (std over 3 folds 0.200, min 0.500, max 0.900)"
    )
    assert describe_spread(scores[:1]) == ""
