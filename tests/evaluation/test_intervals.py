"""Scores of results and their bootstrap intervals."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from mgc.evaluation.intervals import fold_scores, gain, interval, interval_of_mean, overall
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


def test_the_interval_of_a_share_is_the_binomial_one() -> None:
    low, high = interval_of_mean(np.arange(200) < 150)
    exact = binom.ppf([0.025, 0.975], 200, 0.75) / 200
    assert (low, high) == pytest.approx(tuple(exact), abs=0.0051)


def test_a_single_value_has_no_interval() -> None:
    assert all(math.isnan(end) for end in interval_of_mean([0.5]))
    assert interval_of_mean([0.5, 0.5]) == (0.5, 0.5)


def test_testing_tracks_again_does_not_narrow_the_interval() -> None:
    right = [True] * 30 + [False] * 10
    once, twice = multiclass(right), multiclass(right, (0, 1))
    assert overall(twice) == overall(once) == 0.75
    assert interval(twice) == interval(once)
    assert len(fold_scores(twice)) == 4


def test_gains_are_paired() -> None:
    """Two runs that fail on nearly the same tracks differ by little, whatever their accuracy."""
    one = multiclass([True] * 21 + [False] * 19)
    two = multiclass([True] * 20 + [False] * 20)
    difference, (low, high) = gain(one, two)
    assert difference == pytest.approx(1 / 40)
    assert low == 0
    assert high == pytest.approx(3 / 40)
    alone = interval(one)
    assert high - low < (alone[1] - alone[0]) / 2


def tagged(noise: float, tracks: int = 400, tags: int = 3) -> Results:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, (tracks, tags))
    labels = tuple(f"tag{i}" for i in range(tags))
    table = pd.DataFrame({"track": [str(i) for i in range(tracks)], "seed": 0})
    table["fold"] = np.arange(tracks) % 4
    table[[f"target.{label}" for label in labels]] = target
    # Every fold on a scale of its own.
    scale = 1 / (1 + table["fold"].to_numpy()[:, None])
    outputs = (0.3 + 0.4 * target + noise * rng.normal(size=target.shape)).clip(0, 1) * scale
    table[[f"probability.{label}" for label in labels]] = outputs
    return Results(table, table, "multilabel", labels, {})


def test_rankings_are_measured_within_a_fold() -> None:
    results = tagged(0.2)
    assert overall(results) == pytest.approx(fold_scores(results).mean())
    # Normal scores 2 standard deviations apart: Φ(2 / √2) = 0.921
    assert overall(results) == pytest.approx(0.921, abs=0.02)
    low, high = interval(results)
    assert low < overall(results) < high
    assert high - low < 0.05
    difference, (worst, _) = gain(results, tagged(0.4))
    assert difference > worst > 0.05
