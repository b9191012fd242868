"""The power of McNemar's test is that of simulated systems."""

import numpy as np
import pytest
from scipy.stats import binomtest

from mgc.evaluation.power import POWER, mcnemar_power, smallest_difference, tracks_needed


@pytest.mark.parametrize(
    ("tracks", "difference", "discordant", "alpha"),
    [(100, 0.1, 0.2, 0.05), (290, 0.05, 0.15, 0.05), (50, 0.3, 0.3, 0.01), (40, 0.0, 0.3, 0.05)],
)
def test_power_is_that_of_simulated_systems(
    tracks: int, difference: float, discordant: float, alpha: float
) -> None:
    rng = np.random.default_rng(0)
    better, worse = (discordant + difference) / 2, (discordant - difference) / 2
    counts = rng.multinomial(tracks, [better, worse, 1 - discordant], 4000)
    found = np.mean(
        [a + b > 0 and binomtest(int(a), int(a + b)).pvalue <= alpha for a, b, _ in counts]
    )
    power = mcnemar_power(tracks, difference, discordant, alpha)
    assert power == pytest.approx(found, abs=3 * np.sqrt(0.25 / 4000))


@pytest.mark.parametrize(("tracks", "discordant"), [(100, 0.1), (290, 0.2), (1000, 0.02)])
def test_smallest_difference_and_tracks_needed_agree(tracks: int, discordant: float) -> None:
    difference = smallest_difference(tracks, discordant)
    assert mcnemar_power(tracks, difference, discordant) == pytest.approx(POWER, abs=0.02)
    assert tracks_needed(difference, discordant) == pytest.approx(tracks, rel=0.03)


def test_a_smaller_difference_needs_more_tracks() -> None:
    needed = [tracks_needed(difference, 0.2) for difference in (0.1, 0.05, 0.02, 0.01)]
    assert needed == sorted(needed)
    assert tracks_needed(0.0, 0.2) is None


def test_a_few_tracks_can_show_nothing() -> None:
    # Five discordant tracks in one direction have p = 0.0625.
    assert np.isnan(smallest_difference(5, 0.5))
    assert mcnemar_power(5, 1.0, 1.0) == 0
    assert mcnemar_power(6, 1.0, 1.0) == 1
