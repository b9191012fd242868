"""Paired tests."""

import pandas as pd
import pytest
from scipy.stats import binomtest

from mgc.evaluation.paired import ALPHA, MIN_DISCORDANT, holm, mcnemar, sign_flip_test


def test_mcnemar_is_a_binomial_test_of_discordant_tracks() -> None:
    one = pd.Series([True] * 10 + [False] * 2 + [True] * 5)
    two = pd.Series([False] * 10 + [True] * 2 + [True] * 5)
    test = mcnemar(one, two)
    assert (test.only_first, test.only_second) == (10, 2)
    assert test.p == binomtest(2, 12).pvalue
    assert mcnemar(one, one).p == 1


@pytest.mark.parametrize(("first", "second"), [(10, 2), (6, 0), (3, 3), (0, 40), (0, 0)])
def test_sign_flip_test_of_binary_differences_equals_mcnemar(first: int, second: int) -> None:
    differences = pd.Series([1.0] * first + [-1.0] * second + [0.0] * 9)
    assert sign_flip_test(differences) == mcnemar(differences > 0, differences < 0).p


def test_sign_flip_test_of_fractional_differences_is_exact() -> None:
    """p is the share of the eight sign combinations whose mean is at least as far from 0."""
    assert sign_flip_test([0.5, 0.25, 1.0, 0.0]) == 2 / 8  # 1.75
    assert sign_flip_test([0.5, -0.25, 1.0]) == 4 / 8  # 1.75 and 1.25
    # Rounding errors of thirds are not differences.
    assert sign_flip_test([1 / 3 - (1 - 2 / 3), 0.5]) == 1


def test_many_fractional_differences() -> None:
    mixed = [0.5, -0.5, 1.0, -1.0] * 10
    assert sign_flip_test(mixed) > 0.9
    assert sign_flip_test([*mixed, *[0.5] * 20, *[1.0] * 20]) < 0.001
    assert sign_flip_test(mixed) == sign_flip_test(mixed)


def test_smallest_number_of_discordant_tracks_that_is_significant() -> None:
    assert sign_flip_test([1] * MIN_DISCORDANT) < ALPHA
    assert sign_flip_test([1] * (MIN_DISCORDANT - 1)) == 2 ** (2 - MIN_DISCORDANT) > ALPHA
    assert sign_flip_test([0.5, 0.25, 1.0, 1.0, 0.75]) == 2**-4


def test_holm_adjusts_p_values() -> None:
    """3 · 0.01, 2 · 0.02, and 0.03 raised to the p-value before it."""
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []
