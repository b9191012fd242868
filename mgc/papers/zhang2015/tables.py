"""The tables of Zhang et al. (2015) with ours beside, and whether the order of rows is the same."""

from collections.abc import Mapping
from dataclasses import replace
from statistics import stdev
from typing import NamedTuple

from mgc.core import markdown
from mgc.evaluation.intervals import correct, name_intervals, score
from mgc.evaluation.paired import ALPHA, MIN_DISCORDANT
from mgc.evaluation.results import Results
from mgc.papers.claims import Cell, Claim, Finding, judge, published_difference
from mgc.papers.zhang2015 import FEATURES, TASKS


class Row(NamedTuple):
    """A row of the tables.

    Attributes:
        system: Its name in the paper.
        network: What is trained: the beginning of the name of its configuration.
        svm: Whether a support vector machine decides, on the network's features.
    """

    system: str
    network: str
    svm: bool


ROWS = {
    "sparse_coding": Row("Sparse coding + SVM", "sparse_coding", True),
    "autoencoder": Row("Autoencoder + SVM", "autoencoder", True),
    "dbn": Row("DBN + SVM", "dbn", True),
    "kcnn_frozen": Row("KCNN (k = 5) ULT", "kcnn_frozen", False),
    "kcnn": Row("KCNN (k = 5)", "kcnn", False),
    "kcnn_k1_svm": Row("KCNN (k = 1) + SVM", "kcnn_k1", True),
    "kcnn_svm": Row("KCNN (k = 5) + SVM", "kcnn", True),
}

TITLES = {
    "gtzan": "Table 2: classification accuracy for the GTZAN",
    "ismir2004": "Table 3: classification accuracy for the ISMIR2004Genre",
}


def describe(cells: Mapping[Cell, Results], data: str, music: str) -> str:
    """Set all cells beside the paper's, and test the order of the rows.

    Args:
        cells: Results by system and feature; those that are missing leave gaps.
        data: Name of the data set.
        music: What the tracks are, in paragraphs.

    Returns:
        Markdown.
    """
    return "\n\n".join(
        [
            f"## {TITLES[data]}",
            table(cells, data),
            about(cells),
            music,
            "## Order of the rows",
            order(cells, data),
            "",
        ]
    )


def table(cells: Mapping[Cell, Results], data: str) -> str:
    """Lay out the paper's table with our figures beside.

    Args:
        cells: Results by system and feature.
        data: Name of the data set.

    Returns:
        Markdown: correct tracks in %, with intervals over tracks.
    """
    head = [f"{feature}, {whose}" for feature in FEATURES for whose in ("paper", "ours")]
    lines = []
    for row in ROWS.values():
        cell_texts = [row.system]
        for feature in FEATURES:
            cell_texts.append(f"{published(data)[row.system, feature]:.2f}")
            results = cells.get((row.system, feature))
            if results is None:
                cell_texts.append("")
                continue
            ours = score(results)
            cell_texts.append(f"{100 * ours.value:.1f} ({ours.interval.scaled(100):.1f})")
        lines.append(cell_texts)
    return markdown.table(["%", *head], lines)


def about(cells: Mapping[Cell, Results]) -> str:
    """Tell what our figures are of.

    Args:
        cells: Results by system and feature.

    Returns:
        A paragraph.
    """
    whole = len(ROWS) * len(FEATURES)
    if not cells:
        return f"Ours: none of {whole} figures yet."
    kinds: dict[str, int] = {}
    spread = []
    for results in cells.values():
        tracks, source = results.tracks, results.source
        tests = tracks["fold"].nunique()
        of = f", {tests} of {source['folds']} folds" if source["folds"] > 1 else ""
        runs = [
            float(correct(replace(results, tracks=rows)).mean())
            for _, rows in tracks.groupby("seed")
        ]
        if len(runs) > 1:
            spread.append(stdev(runs))
        count = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
        kind = f"{tracks['track'].nunique()} test tracks (split {source['split']}{of}), {count}"
        kinds[kind] = kinds.get(kind, 0) + 1
    counted = [f"{kind}: {number} figures" for kind, number in kinds.items()]
    described = "; ".join(counted if len(kinds) > 1 else kinds)
    lines = [
        f"Ours, {len(cells)} of {whole} figures: {described}. "
        f"In parentheses: {name_intervals(score(results).interval for results in cells.values())}. "
        "The paper's are means of ten runs, without intervals. ULT: lookup tables that stay the "
        "cluster centres."
    ]
    if spread:
        lines.append(
            f"Standard deviation of our runs: {100 * sum(spread) / len(spread):.1f} points in the "
            f"mean of the figures, {100 * max(spread):.1f} at most; runs differ in the networks' "
            "first weights and the order of tracks, while codebooks and dictionaries keep their "
            "seed."
        )
    return " ".join(lines)


def order(cells: Mapping[Cell, Results], data: str) -> str:
    """Test what the paper says of the order of its rows and columns.

    Args:
        cells: Results by system and feature.
        data: Name of the data set.

    Returns:
        Markdown.
    """
    interval = "95 % paired bootstrap interval"
    head = ["claim", "paper", "ours", interval, "tracks", "pairs", "verdict"]
    rows = [_finding(judge(claim, cells), data) for claim in claims()]
    note = (
        "Differences in points: means over the pairs of figures that ours has, the paper's over "
        "the same pairs (over all, where ours has none). Intervals are paired bootstrap intervals "
        "over the tracks tested in all of them, each of 95 % by itself; they say nothing of other "
        f"runs (--repeats). Confirmed or contradicted: p of the paired test is below {ALPHA}, for "
        "each claim by itself; undecided: it is not. Tracks on which the two sides differ are "
        f"discordant; with fewer than {MIN_DISCORDANT} of them p cannot be below {ALPHA}. "
        "Support vector machines are fitted on training and validation tracks, after "
        "the latter have chosen their settings; networks learn from the training tracks alone."
    )
    return f"{markdown.table(head, rows)}\n\n{note}"


def claims() -> list[Claim]:
    """List what the paper says of the order of rows and columns (section 4.5)."""
    best = "kcnn_svm"
    over = [
        ("learned over frozen lookup tables", "kcnn", "kcnn_frozen"),
        ("k = 5 over k = 1, both with SVM", best, "kcnn_k1_svm"),
        ("KCNN + SVM over KCNN", best, "kcnn"),
        ("KCNN + SVM over sparse coding + SVM", best, "sparse_coding"),
        ("KCNN + SVM over autoencoder + SVM", best, "autoencoder"),
        ("KCNN + SVM over DBN + SVM", best, "dbn"),
    ]
    found = [
        Claim(title, tuple(((ROWS[a].system, f), (ROWS[b].system, f)) for f in FEATURES))
        for title, a, b in over
    ]
    for feature in FEATURES[:-1]:
        pairs = [((row.system, "ALL"), (row.system, feature)) for row in ROWS.values()]
        found.append(Claim(f"ALL over {feature}", tuple(pairs)))
    return found


def published(data: str) -> dict[Cell, float]:
    """Read the paper's table.

    Args:
        data: Name of the data set.

    Returns:
        Accuracies in %, by system and feature.
    """
    figures = TASKS[data].ACCURACY
    return {
        (row.system, feature): figures[f"{row.system} {feature}"][0]
        for row in ROWS.values()
        for feature in FEATURES
    }


def _finding(finding: Finding, data: str) -> list[str]:
    """A line of the table of claims."""
    claim, pairs = finding.claim, finding.pairs
    theirs = f"{published_difference(pairs or claim.pairs, published(data)):+.1f}"
    ours = [""] * 4 + ["no test tracks in common" if pairs else "not run"]
    if finding.tracks:
        so_far = " so far" if len(pairs) < len(claim.pairs) else ""
        ours = [f"{100 * finding.difference:+.1f}", f"{finding.interval.scaled(100):+.1f}"]
        ours += [str(finding.tracks), f"{len(pairs)} of {len(claim.pairs)}"]
        ours.append(f"{finding.verdict}{so_far} ({finding.reason})")
    return [claim.title, theirs, *ours]
