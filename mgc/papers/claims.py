"""Tests a paper's claims about the order of cells in its tables, on paired tracks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import norm

from mgc.core import markdown
from mgc.evaluation.intervals import Interval, mean_difference, track_gains
from mgc.evaluation.paired import ALPHA, MIN_DISCORDANT, discordant, sign_flip_test
from mgc.evaluation.results import Results
from mgc.papers.tables import Cell, Published

Verdict = Literal["confirmed", "contradicted", "open"]

#: Probability of a significant result that :attr:`ClaimResult.needed_tracks` assumes.
POWER = 0.8


@dataclass(frozen=True)
class Claim:
    """Claim that some cells are better than others. Each pair is a better and a worse cell.

    Attributes:
        title: The claim in words.
        pairs: Pairs of a better and a worse cell.
        source: Where the paper makes it, such as ``section 4.5``.
    """

    title: str
    pairs: tuple[tuple[Cell, Cell], ...]
    source: str = ""


@dataclass(frozen=True)
class ClaimResult:
    """Result of testing a claim.

    Attributes:
        claim: The claim.
        pairs: Pairs of the claim with results.
        tracks: Number of tracks that were tested in all cells of these pairs.
        difference: Mean difference of the scores; NaN without common tracks.
        deviation: Standard deviation of the differences of the tracks.
        interval: 95 % paired bootstrap interval of the difference, over tracks.
        discordant: Number of tracks with a difference other than 0.
        p: p-value of :func:`mgc.evaluation.paired.sign_flip_test`.
    """

    claim: Claim
    pairs: tuple[tuple[Cell, Cell], ...]
    tracks: int
    difference: float
    deviation: float
    interval: Interval
    discordant: int
    p: float

    @property
    def verdict(self) -> Verdict:
        """Verdict by the sign of the difference; open if p is 0.05 or more."""
        if self.p >= ALPHA:
            return "open"
        return "confirmed" if self.difference > 0 else "contradicted"

    @property
    def reason(self) -> str:
        """Number of discordant tracks, and the p-value if they are enough for a test."""
        count = f"{self.discordant} discordant tracks"
        if self.discordant < MIN_DISCORDANT:
            return f"{count}; at least {MIN_DISCORDANT} needed"
        needed = self.needed_tracks
        hint = "" if needed is None else f"; about {needed:,} tracks would decide this difference"
        return f"{count}, p = {self.p:.2g}{hint}"

    @property
    def needed_tracks(self) -> int | None:
        """Number of tracks that find a difference of this size in 80 % of tests, if it is open."""
        if self.verdict != "open" or not self.deviation or not self.difference:
            return None
        quantiles = norm.ppf(1 - ALPHA / 2) + norm.ppf(POWER)
        return ceil((quantiles * self.deviation / self.difference) ** 2)


def evaluate_claim(claim: Claim, cells: Mapping[Cell, Results]) -> ClaimResult:
    """Test a claim on the tracks that were tested in all of its cells.

    Differences are averaged over the pairs, per track. Thus each track counts once, and repeated
    runs or columns with the same tracks do not make the interval narrower.

    Args:
        claim: The claim. Pairs without results are skipped.
        cells: Results of multiclass or regression tasks.
    """
    pairs = tuple(pair for pair in claim.pairs if all(cell in cells for cell in pair))
    differences = [track_gains(cells[better], cells[worse]) for better, worse in pairs]
    tracks = pd.concat(differences or [pd.Series(dtype=float)], axis=1).dropna().mean(axis=1)
    difference = mean_difference(tracks)
    return ClaimResult(
        claim,
        pairs,
        len(tracks),
        difference.value,
        float(tracks.std()) if len(tracks) > 1 else 0.0,
        difference.interval,
        len(discordant(tracks)),
        sign_flip_test(tracks),
    )


def published_difference(
    pairs: Sequence[tuple[Cell, Cell]], published: Mapping[Cell, Published]
) -> float:
    """Return the mean difference of published scores over (better, worse) pairs.

    NaN if the paper has no scores for them.
    """
    known = [pair for pair in pairs if all(cell in published for cell in pair)]
    if not known:
        return float("nan")
    return float(np.mean([published[better][0] - published[worse][0] for better, worse in known]))


def claims_frame(
    claims: Sequence[ClaimResult], published: Mapping[Cell, Published]
) -> pd.DataFrame:
    """Return the results of testing claims, a row per claim.

    Differences are in the unit of the scores.
    """
    lines = []
    for result in claims:
        claim, pairs = result.claim, result.pairs
        so_far = " so far" if result.tracks and len(pairs) < len(claim.pairs) else ""
        missing = "no test tracks in common" if pairs else "not run"
        verdict = f"{result.verdict}{so_far}"
        lines.append(
            {
                "claim": claim.title,
                "source": claim.source,
                "published": published_difference(pairs or claim.pairs, published),
                "ours": result.difference,
                **result.interval.columns(),
                "pairs": f"{len(pairs)} of {len(claim.pairs)}" if result.tracks else "",
                "verdict": verdict if result.tracks else "open",
                "reason": result.reason if result.tracks else missing,
            }
        )
    return pd.DataFrame(lines).drop(columns="interval", errors="ignore")


def claims_table(claims: pd.DataFrame, percent: bool = True) -> str:
    """Format :func:`claims_frame` as a Markdown table with notes.

    Args:
        claims: A row per claim.
        percent: Whether to print differences in percentage points.
    """
    factor, digits = (100, "+.1f") if percent else (1, "+.3f")
    interval = "95 % paired bootstrap interval"
    head = ["claim", "paper", "ours", interval, "tracks", "pairs", "verdict"]
    rows = []
    records: list[dict[str, Any]] = claims.to_dict("records")  # type: ignore[assignment]
    for row in records:
        title = f"{row['claim']} ({row['source']})" if row["source"] else row["claim"]
        paper = row["published"]
        line = [title, "" if pd.isna(paper) else f"{factor * paper:{digits}}", *[""] * 4]
        if row["tracks"]:
            ends = "not available"
            if pd.notna(row["low"]):
                found = Interval(row["low"], row["high"], row["method"], row["tracks"])
                ends = f"{found.scaled(factor):{digits}}"
            ours = f"{factor * row['ours']:{digits}}"
            line[2:] = [ours, ends, str(row["tracks"]), str(row["pairs"])]
        rows.append([*line, f"{row['verdict']} ({row['reason']})"])
    unit = "percentage points" if percent else "the score's unit"
    note = (
        f"Differences are in {unit}, averaged over the pairs of cells for which we have scores; "
        "the paper's are averaged over the same pairs, or over all if there are none. Intervals "
        "are over the tracks tested in all pairs. They do not include the variation between runs "
        "and are not adjusted for the number of claims. A claim is confirmed or contradicted if p "
        f"of the paired test is below {ALPHA}, and open otherwise. Tracks on which the two sides "
        f"differ are discordant; with fewer than {MIN_DISCORDANT} of them, p cannot be below "
        f"{ALPHA}."
    )
    return f"{markdown.table(head, rows)}\n\n{note}"
