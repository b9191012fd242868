"""Tests a paper's claims about the order of cells in its tables, on paired tracks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mgc.evaluation.intervals import Interval, correct, mean_difference
from mgc.evaluation.paired import ALPHA, MIN_DISCORDANT, discordant, sign_flip_test
from mgc.evaluation.results import Results

#: Row and column of a table.
Cell = tuple[str, str]

Verdict = Literal["confirmed", "contradicted", "undecided"]


@dataclass(frozen=True)
class Claim:
    """Claim that some cells are better than others. Each pair is a better and a worse cell."""

    title: str
    pairs: tuple[tuple[Cell, Cell], ...]


@dataclass(frozen=True)
class ClaimResult:
    """Result of testing a claim.

    Attributes:
        claim: The claim.
        pairs: Pairs of the claim with results.
        tracks: Number of tracks that were tested in all cells of these pairs.
        difference: Mean difference of the accuracies; NaN without common tracks.
        interval: 95 % paired bootstrap interval of the difference, over tracks.
        discordant: Number of tracks with a difference other than 0.
        p: p-value of :func:`mgc.evaluation.paired.sign_flip_test`.
    """

    claim: Claim
    pairs: tuple[tuple[Cell, Cell], ...]
    tracks: int
    difference: float
    interval: Interval
    discordant: int
    p: float

    @property
    def verdict(self) -> Verdict:
        """Verdict by the sign of the difference; undecided if p is 0.05 or more."""
        if self.p >= ALPHA:
            return "undecided"
        return "confirmed" if self.difference > 0 else "contradicted"

    @property
    def reason(self) -> str:
        """Number of discordant tracks, and the p-value if they are enough for a test."""
        count = f"{self.discordant} discordant tracks"
        if self.discordant < MIN_DISCORDANT:
            return f"{count}; at least {MIN_DISCORDANT} needed"
        return f"{count}, p = {self.p:.2g}"


def evaluate_claim(claim: Claim, cells: Mapping[Cell, Results]) -> ClaimResult:
    """Test a claim on the tracks that were tested in all of its cells.

    Differences are averaged over the pairs, per track. Thus each track counts once, and repeated
    runs or columns with the same tracks do not make the interval narrower.

    Args:
        claim: The claim. Pairs without results are skipped.
        cells: Results of a multiclass task.
    """
    pairs = tuple(pair for pair in claim.pairs if all(cell in cells for cell in pair))
    differences = [correct(cells[better]) - correct(cells[worse]) for better, worse in pairs]
    tracks = pd.concat(differences or [pd.Series(dtype=float)], axis=1).dropna().mean(axis=1)
    difference = mean_difference(tracks)
    return ClaimResult(
        claim,
        pairs,
        len(tracks),
        difference.value,
        difference.interval,
        len(discordant(tracks)),
        sign_flip_test(tracks),
    )


def published_difference(
    pairs: Sequence[tuple[Cell, Cell]], accuracy: Mapping[Cell, float]
) -> float:
    """Return the mean difference of published accuracies over (better, worse) pairs."""
    return float(np.mean([accuracy[better] - accuracy[worse] for better, worse in pairs]))
