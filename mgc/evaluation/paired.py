"""Paired tests of two systems on the same tracks."""

from collections.abc import Sequence
from math import floor, log2
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest, permutation_test

from mgc.evaluation.results import Results

#: Significance level of a claim.
ALPHA = 0.05

#: Smallest number of discordant tracks that can be significant: n of them have p >= 2 ** (1 - n).
MIN_DISCORDANT = 2 + floor(-log2(ALPHA))

#: Number of random combinations of signs in :func:`sign_flip_test`.
RESAMPLES = 9999


class McNemar(NamedTuple):
    """Result of an exact McNemar test.

    ``only_first`` and ``only_second`` count the tracks that only one of the systems gets right.
    """

    only_first: int
    only_second: int
    p: float


def correct_once(results: Results, decision: str = "decision") -> pd.Series:
    """Return whether each track is classified correctly.

    If there are several seeds, only the first is used, so that no track counts twice in a test.
    Results must be aligned (:func:`mgc.evaluation.alignment.align`).
    """
    tracks = results.tracks
    if "seed" in tracks:
        tracks = tracks[tracks["seed"] == tracks["seed"].iloc[0]]
    return tracks["label"] == tracks[decision]


def mcnemar(one: pd.Series, two: pd.Series) -> McNemar:
    """Run McNemar's exact two-sided test, given whether each system is right on each track.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12(2), 1947.
    """
    first, second = int((one & ~two).sum()), int((two & ~one).sum())
    p = binomtest(first, first + second).pvalue if first + second else 1.0
    return McNemar(first, second, float(p))


def discordant(differences: Sequence[float] | np.ndarray | pd.Series) -> np.ndarray:
    """Return the differences that are not 0, up to rounding errors."""
    values = np.asarray(differences, dtype=np.float64).round(9)
    return values[values != 0]


def sign_flip_test(differences: Sequence[float] | np.ndarray | pd.Series) -> float:
    """Return the two-sided p-value of the hypothesis that paired differences have mean 0.

    There is one difference per track, whose sign is random under the null hypothesis. The test is
    exact up to 13 discordant tracks, and draws 9999 random combinations of signs for more. For
    differences of 1, 0 and -1 it equals McNemar's test.
    """
    values = discordant(differences)
    if not len(values):
        return 1.0
    if len(np.unique(np.abs(values))) == 1:
        return float(binomtest(int((values > 0).sum()), len(values)).pvalue)
    test = permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // len(values)),  # values in memory
        random_state=np.random.default_rng(0),
    )
    return float(test.pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values to control the family-wise error rate.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6(2), 1979.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted[order] = np.maximum.accumulate(steps).clip(max=1)
    return adjusted.tolist()
