import numpy as np
import pandas as pd
import pytest

from mgc.evaluation.intervals import gain, overall
from mgc.evaluation.paired import ALPHA, sign_flip_test
from mgc.evaluation.results import Results
from mgc.papers.claims import Claim, evaluate_claim, published_difference


def results(right, tracks=None, seed=0):
    """Return results of tracks that are classified correctly or not."""
    names = [f"t{i}" for i in range(len(right))] if tracks is None else tracks
    decision = np.where(np.array(right, bool), "a", "b")
    rows = pd.DataFrame({"track": names, "seed": seed, "fold": 0, "label": "a"})
    rows["decision"] = decision
    return Results(rows.assign(clip=0), rows, "multiclass", ("a", "b"), {})


ONE = Claim("x over y", ((("x", "MEL"), ("y", "MEL")),))
TWO = Claim("x over y", ((("x", "MEL"), ("y", "MEL")), (("x", "SFM"), ("y", "SFM"))))


@pytest.mark.parametrize(
    ("x", "y", "verdict"),
    [
        ([1] * 20, [0] * 10 + [1] * 10, "confirmed"),
        ([0] * 10 + [1] * 10, [1] * 20, "contradicted"),
        ([0, 1] * 10, [1, 0] * 10, "open"),
        ([1] * 20, [1] * 20, "open"),
    ],
)
def test_verdicts(x, y, verdict):
    cells = {("x", "MEL"): results(x), ("y", "MEL"): results(y)}
    result = evaluate_claim(ONE, cells)
    assert result.verdict == verdict
    assert result.difference == gain(*cells.values()).value
    assert str(result.interval) == str(gain(*cells.values()).interval)


@pytest.mark.parametrize(
    ("better", "worse", "verdict", "reason"),
    [
        (6, 0, "confirmed", "6 discordant tracks, p = 0.031"),
        (5, 0, "open", "5 discordant tracks; at least 6 needed"),
        (0, 5, "open", "5 discordant tracks; at least 6 needed"),
        (0, 6, "contradicted", "6 discordant tracks, p = 0.031"),
        (
            8,
            2,
            "open",
            "10 discordant tracks, p = 0.11; about 82 tracks would decide this difference",
        ),
        (0, 0, "open", "0 discordant tracks; at least 6 needed"),
    ],
)
def test_a_claim_needs_enough_discordant_tracks(better, worse, verdict, reason):
    """With 5 discordant tracks, p is at least 0.0625."""
    x = [1] * better + [0] * worse + [1] * (40 - better - worse)
    y = [0] * better + [1] * (40 - better)
    result = evaluate_claim(ONE, {("x", "MEL"): results(x), ("y", "MEL"): results(y)})
    assert (result.verdict, result.reason) == (verdict, reason)
    assert result.discordant == better + worse


def test_columns_with_the_same_tracks_do_not_narrow_the_interval():
    x, y = results([1] * 12 + [0] * 8), results([0, 1] * 10)
    one = evaluate_claim(ONE, {("x", "MEL"): x, ("y", "MEL"): y})
    cells = {(row, column): r for row, r in (("x", x), ("y", y)) for column in ("MEL", "SFM")}
    two = evaluate_claim(TWO, cells)
    assert len(two.pairs) == 2
    assert (two.tracks, two.difference, two.interval) == (20, one.difference, one.interval)


def test_uses_common_tracks_only():
    cells = {
        ("x", "MEL"): results([1, 1, 0], ["a", "b", "c"]),
        ("y", "MEL"): results([0, 1, 1], ["b", "c", "d"]),
    }
    result = evaluate_claim(ONE, cells)
    assert (result.tracks, result.difference) == (2, 0.0)


def test_missing_pairs_are_skipped():
    cells = {
        ("x", "MEL"): results([1, 1]),
        ("y", "MEL"): results([0, 1]),
        ("x", "SFM"): results([1]),
    }
    result = evaluate_claim(TWO, cells)
    assert result.pairs == TWO.pairs[:1]
    assert result.difference == 0.5
    nothing = evaluate_claim(TWO, {})
    assert (nothing.tracks, nothing.verdict) == (0, "open")
    alone = evaluate_claim(
        ONE, {("x", "MEL"): results([1], ["a"]), ("y", "MEL"): results([1], ["b"])}
    )
    assert (len(alone.pairs), alone.tracks) == (1, 0)


def test_published_difference_is_a_mean():
    published = {
        ("x", "MEL"): (0.7, None),
        ("y", "MEL"): (0.6, None),
        ("x", "SFM"): (0.5, 0.01),
        ("y", "SFM"): (0.52, 0.01),
    }
    assert published_difference(TWO.pairs, published) == pytest.approx(0.04)
    assert np.isnan(published_difference(TWO.pairs, {}))


def regression(prediction, target):
    rows = pd.DataFrame({"track": [f"t{i}" for i in range(len(target))], "target.arousal": target})
    rows["prediction.arousal"] = prediction
    return Results(rows.assign(clip=0), rows, "regression", ("arousal",), {})


def test_claims_about_regression_compare_r2():
    target = np.random.default_rng(0).normal(size=60)
    x, y = (regression(target + noise, target) for noise in (0.1, 0.5))
    result = evaluate_claim(ONE, {("x", "MEL"): x, ("y", "MEL"): y})
    assert result.difference == pytest.approx(overall(x) - overall(y))
    assert result.verdict == "confirmed"


def test_needed_tracks_find_the_difference_in_most_samples():
    """Draw samples of the given size from tracks with the same share of discordant ones."""
    x, y = [1] * 6 + [0] * 2 + [1] * 32, [0] * 6 + [1] * 34
    result = evaluate_claim(ONE, {("x", "MEL"): results(x), ("y", "MEL"): results(y)})
    assert result.verdict == "open"
    draw = np.random.default_rng(0).integers(0, 40, (200, result.needed_tracks))
    differences = np.subtract(x, y)[draw]
    found = np.mean([sign_flip_test(sample) < ALPHA for sample in differences])
    assert 0.7 < found < 0.9
