"""Power of McNemar's exact test: which differences of accuracy a number of tracks can show.

Tracks are drawn at random, and a share of them is classified correctly by one system only. The
power is exact: the sum over the numbers of such tracks, not a simulation.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom

from mgc.evaluation.paired import ALPHA

#: Power that :func:`smallest_difference` and :func:`tracks_needed` require.
POWER = 0.8

#: Largest number of tracks that :func:`tracks_needed` tries.
MAX_TRACKS = 10**6

#: Share of the probability that sums may omit.
OMITTED = 1e-9


def mcnemar_power(tracks: int, difference: float, discordant: float, alpha: float = ALPHA) -> float:
    """Return the probability that McNemar's test finds a difference of accuracy.

    Args:
        tracks: Number of test tracks.
        difference: True difference of the accuracies, a fraction.
        discordant: Share of tracks that only one of the systems gets right, at least
            ``difference``.
        alpha: Significance level of the two-sided test.
    """
    share = min(1.0, max(discordant, difference))
    if share == 0:
        return 0.0
    lowest, highest = binom.interval(1 - OMITTED, tracks, share)
    counts = np.arange(int(lowest), int(highest) + 1)
    # Tracks that the worse system alone gets right, at most, for a significant result.
    limit = binom.ppf(alpha / 2, counts, 0.5).astype(int)
    limit -= binom.cdf(limit, counts, 0.5) > alpha / 2
    better = (1 + difference / share) / 2
    found = binom.cdf(limit, counts, 1 - better) + binom.cdf(limit, counts, better)
    return float((binom.pmf(counts, tracks, share) * found).sum())


def smallest_difference(tracks: int, discordant: float, alpha: float = ALPHA) -> float:
    """Return the smallest difference of accuracy that the test finds in four of five cases.

    Args:
        tracks: Number of test tracks.
        discordant: Share of tracks that only one of the systems gets right. It grows with the
            difference if it is smaller.
        alpha: Significance level.

    Returns:
        A fraction; NaN if there are too few tracks for any difference.
    """

    def missing(difference: float) -> float:
        return mcnemar_power(tracks, difference, discordant, alpha) - POWER

    return brentq(missing, 0, 1, xtol=1e-4) if missing(1) > 0 > missing(0) else float("nan")


def tracks_needed(difference: float, discordant: float, alpha: float = ALPHA) -> int | None:
    """Return the number of test tracks that find a difference in four of five cases, up to 1 %.

    Returns:
        The number; None if a million tracks do not suffice.
    """
    fewest, most = 1, 1
    while mcnemar_power(most, difference, discordant, alpha) < POWER:
        fewest, most = most, 2 * most
        if most > MAX_TRACKS:
            return None
    while most - fewest > max(1, most // 100):
        middle = (fewest + most) // 2
        if mcnemar_power(middle, difference, discordant, alpha) < POWER:
            fewest = middle
        else:
            most = middle
    return most
