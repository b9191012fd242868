"""Paired tests of two systems on the same tracks."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log2

import numpy as np
import pandas as pd
from scipy.stats import binomtest, permutation_test

#: Significance level of a claim.
ALPHA = 0.05

#: Fewest discordant tracks that can show a difference: with n of them p is at least 2 ** (1 - n).
MIN_DISCORDANT = 2 + floor(-log2(ALPHA))

RESAMPLES = 9999


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar test of two systems on the same tracks.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12(2), 1947; exact: a two-sided binomial test.

    Attributes:
        only_first: Tracks that only the first system gets right.
        only_second: Tracks that only the second gets right.
        p: Probability of a split at least as uneven if both were equally good.
    """

    only_first: int
    only_second: int
    p: float


def mcnemar(one: pd.Series, two: pd.Series) -> McNemar:
    """Test whether one of two systems is right more often.

    Args:
        one: Whether the first system is right, per track.
        two: The same for the second.

    Returns:
        The test; p is 1 where they never differ.
    """
    first, second = int((one & ~two).sum()), int((two & ~one).sum())
    p = binomtest(first, first + second).pvalue if first + second else 1.0
    return McNemar(first, second, float(p))


def discordant(differences: Sequence[float] | np.ndarray | pd.Series) -> np.ndarray:
    """Keep the differences that are not 0.

    Args:
        differences: What one system scores above another on each track.
    """
    values = np.asarray(differences, dtype=np.float64).round(9)  # 1/3 - 1/3 may leave a rest
    return values[values != 0]


def sign_flip_test(differences: Sequence[float] | np.ndarray | pd.Series) -> float:
    """Test whether paired differences have the mean 0.

    If neither system is better, each difference is as likely with the opposite sign. The test is
    exact up to 13 discordant tracks, and draws 9999 combinations of signs for more. For right and
    wrong decisions it is McNemar's test.

    Args:
        differences: What one system scores above another on each track.

    Returns:
        Two-sided p.
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
    """Adjust the p of several tests, so that the chance of any false alarm stays that of one.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6(2), 1979.

    Args:
        p: One for each test.

    Returns:
        Adjusted p, in the same order: the k-th smallest of n times n - k + 1, at most 1, and not
        less than the one before.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted[order] = np.maximum.accumulate(steps).clip(max=1)
    return adjusted.tolist()
