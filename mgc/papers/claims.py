"""Whether rows of a published table stand in the same order in ours, judged on paired tracks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mgc.evaluation.intervals import Interval, correct, mean_difference
from mgc.evaluation.paired import ALPHA, MIN_DISCORDANT, discordant, sign_flip_test
from mgc.evaluation.results import Results

#: A row and a column of a table.
Cell = tuple[str, str]

Verdict = Literal["confirmed", "contradicted", "undecided"]


@dataclass(frozen=True)
class Claim:
    """One group of cells is better than another.

    Attributes:
        title: What is claimed.
        pairs: The better cell and the worse one, for everything that the mean is over.
    """

    title: str
    pairs: tuple[tuple[Cell, Cell], ...]


@dataclass(frozen=True)
class Finding:
    """What our results say of a claim.

    Attributes:
        claim: The claim.
        pairs: Its pairs that there are results of.
        tracks: Tracks that were tested in all of these.
        difference: Mean difference of the accuracies; NaN without such tracks.
        interval: Its 95 % paired bootstrap interval over tracks.
        discordant: Tracks whose difference is not 0.
        p: Of the sign-flip test (see :func:`mgc.evaluation.paired.sign_flip_test`).
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
        """Sign of the difference if p is below 0.05, which takes at least 6 discordant tracks."""
        if self.p >= ALPHA:
            return "undecided"
        return "confirmed" if self.difference > 0 else "contradicted"

    @property
    def reason(self) -> str:
        """What the verdict rests on."""
        count = f"{self.discordant} discordant tracks"
        if self.discordant < MIN_DISCORDANT:
            return f"{count}; at least {MIN_DISCORDANT} needed"
        return f"{count}, p = {self.p:.2g}"


def judge(claim: Claim, cells: Mapping[Cell, Results]) -> Finding:
    """Test a claim on the tracks that all of its cells were tested on.

    A track counts once, by the mean of its differences over the pairs, so that neither runs nor
    columns that share their tracks make the interval narrower than the tracks allow.

    Args:
        claim: The claim.
        cells: Results of a multiclass task, by cell.

    Returns:
        The mean over the pairs that there are.
    """
    pairs = tuple(pair for pair in claim.pairs if all(cell in cells for cell in pair))
    differences = [correct(cells[better]) - correct(cells[worse]) for better, worse in pairs]
    tracks = pd.concat(differences or [pd.Series(dtype=float)], axis=1).dropna().mean(axis=1)
    difference = mean_difference(tracks)
    return Finding(
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
    """Find the mean difference of published accuracies.

    Args:
        pairs: A better and a worse cell each.
        accuracy: Accuracies by cell.
    """
    return float(np.mean([accuracy[better] - accuracy[worse] for better, worse in pairs]))
