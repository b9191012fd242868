"""Formats the tables of Zhang et al. (2015) with our scores, and tests the paper's claims."""

from collections.abc import Mapping
from dataclasses import replace
from statistics import stdev
from typing import NamedTuple

from mgc.core import markdown
from mgc.evaluation.intervals import correct, name_intervals, score
from mgc.evaluation.paired import ALPHA, MIN_DISCORDANT
from mgc.evaluation.results import Results
from mgc.papers.claims import Cell, Claim, ClaimResult, evaluate_claim, published_difference
from mgc.papers.zhang2015 import FEATURES, TASKS


class Row(NamedTuple):
    """Row of the tables.

    Attributes:
        system: Name in the paper.
        network: Network to train: first part of the configuration's name.
        svm: Whether an SVM on the network's features makes the decisions.
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


def make_tables(cells: Mapping[Cell, Results], data: str, notes: str) -> str:
    """Format the contents of tables.md: the paper's table with our scores, and the claims.

    Args:
        cells: Results by system and feature; missing ones leave empty cells.
        data: Name of the data set.
        notes: Markdown about the tracks and configurations.
    """
    return "\n\n".join(
        [
            f"## {TITLES[data]}",
            scores_table(cells, data),
            describe_scores(cells),
            notes,
            "## Claims",
            claims_table(cells, data),
            "",
        ]
    )


def scores_table(cells: Mapping[Cell, Results], data: str) -> str:
    """Format the paper's table with our scores in Markdown: accuracy in %, with intervals."""
    head = [f"{feature}, {whose}" for feature in FEATURES for whose in ("paper", "ours")]
    lines = []
    accuracy = published_scores(data)
    for row in ROWS.values():
        line = [row.system]
        for feature in FEATURES:
            line.append(f"{accuracy[row.system, feature]:.2f}")
            results = cells.get((row.system, feature))
            if results is None:
                line.append("")
                continue
            ours = score(results)
            line.append(f"{100 * ours.value:.1f} ({ours.interval.scaled(100):.1f})")
        lines.append(line)
    return markdown.table(["%", *head], lines)


def describe_scores(cells: Mapping[Cell, Results]) -> str:
    """Describe our scores in a paragraph: number, test tracks, runs, intervals."""
    whole = len(ROWS) * len(FEATURES)
    if not cells:
        return f"Ours: 0 of {whole} scores."
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
    counted = [f"{kind}: {number} scores" for kind, number in kinds.items()]
    described = "; ".join(counted if len(kinds) > 1 else kinds)
    lines = [
        f"Ours: {len(cells)} of {whole} scores; {described}. "
        f"In parentheses: {name_intervals(score(results).interval for results in cells.values())}. "
        "The paper's scores are means of ten runs, without intervals. ULT: lookup tables are not "
        "trained; they remain the cluster centres."
    ]
    if spread:
        lines.append(
            f"Standard deviation over our runs: {100 * sum(spread) / len(spread):.1f} points on "
            f"average, at most {100 * max(spread):.1f}. Runs differ in the initial weights and the "
            "order of tracks; codebooks and dictionaries keep their seed."
        )
    return " ".join(lines)


def claims_table(cells: Mapping[Cell, Results], data: str) -> str:
    """Format the results of testing the paper's claims as a Markdown table with notes."""
    interval = "95 % paired bootstrap interval"
    head = ["claim", "paper", "ours", interval, "tracks", "pairs", "verdict"]
    rows = [_claim_row(evaluate_claim(claim, cells), data) for claim in list_claims()]
    note = (
        "Differences are percentage points, averaged over the pairs for which we have scores; the "
        "paper's are averaged over the same pairs, or over all if there are none. Intervals are "
        "95 % paired bootstrap intervals over the tracks tested in all pairs. They do not include "
        "the variation between runs (--repeats) and are not adjusted for the number of claims. A "
        f"claim is confirmed or contradicted if p of the paired test is below {ALPHA}, and "
        "undecided otherwise. Tracks on which the two sides differ are discordant; with fewer than "
        f"{MIN_DISCORDANT} of them, p cannot be below {ALPHA}. SVMs are tuned on the validation "
        "tracks and then fitted on training and validation tracks; networks are trained on the "
        "training tracks only."
    )
    return f"{markdown.table(head, rows)}\n\n{note}"


def list_claims() -> list[Claim]:
    """List the paper's claims about the order of rows and columns (section 4.5)."""
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


def published_scores(data: str) -> dict[Cell, float]:
    """Return the paper's accuracies in %, by system and feature."""
    accuracy = TASKS[data].ACCURACY
    return {
        (row.system, feature): accuracy[f"{row.system} {feature}"][0]
        for row in ROWS.values()
        for feature in FEATURES
    }


def _claim_row(result: ClaimResult, data: str) -> list[str]:
    claim, pairs = result.claim, result.pairs
    published = f"{published_difference(pairs or claim.pairs, published_scores(data)):+.1f}"
    ours = [""] * 4 + ["no test tracks in common" if pairs else "not run"]
    if result.tracks:
        so_far = " so far" if len(pairs) < len(claim.pairs) else ""
        ours = [f"{100 * result.difference:+.1f}", f"{result.interval.scaled(100):+.1f}"]
        ours += [str(result.tracks), f"{len(pairs)} of {len(claim.pairs)}"]
        ours.append(f"{result.verdict}{so_far} ({result.reason})")
    return [claim.title, published, *ours]
