"""Formats the tables of Zhang et al. (2015) with our scores, and tests the paper's claims."""

from collections.abc import Mapping
from dataclasses import replace
from statistics import stdev
from typing import NamedTuple

from mgc.evaluation.intervals import correct, score
from mgc.evaluation.results import Results
from mgc.papers.claims import Claim
from mgc.papers.tables import Cell, Published, ScoreTable
from mgc.papers.zhang2015 import FEATURES, TASKS
from mgc.papers.zhang2015.networks import TABLE_LR, measure_changes

#: Where the paper makes its claims.
SECTION = "section 4.5"


class Row(NamedTuple):
    """Row of the tables.

    Attributes:
        system: Name in the paper, or of a row that it does not have.
        network: Network to train, a key of :data:`mgc.papers.zhang2015.networks.NETWORKS`.
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
    "kcnn_table_lr": Row(f"KCNN (k = 5), table rate {TABLE_LR}", "kcnn_table_lr", False),
    "kcnn_table_lr_svm": Row(f"KCNN (k = 5), table rate {TABLE_LR} + SVM", "kcnn_table_lr", True),
}

#: Rows of the paper.
PUBLISHED_ROWS = [row for row in ROWS.values() if row.network != "kcnn_table_lr"]

TITLES = {
    "gtzan": "Table 2: classification accuracy for the GTZAN",
    "ismir2004": "Table 3: classification accuracy for the ISMIR2004Genre",
}


def make_table(cells: Mapping[Cell, Results], data: str) -> ScoreTable:
    """Return the paper's table with our scores.

    Args:
        cells: Results by system and feature; missing ones leave empty cells.
        data: Name of the data set.
    """
    published: dict[Cell, Published] = {
        (row.system, feature): (TASKS[data].ACCURACY[f"{row.system} {feature}"][0] / 100, None)
        for row in PUBLISHED_ROWS
        for feature in FEATURES
    }
    ours = {cell: score(results) for cell, results in cells.items()}
    systems = [
        row.system
        for row in ROWS.values()
        if row in PUBLISHED_ROWS or any((row.system, feature) in ours for feature in FEATURES)
    ]
    notes = describe_scores(cells)
    return ScoreTable(TITLES[data], systems, FEATURES, published, ours, notes=notes)


def describe_scores(cells: Mapping[Cell, Results]) -> str:
    """Describe our scores in a paragraph: number, test tracks, runs, intervals."""
    whole = len(PUBLISHED_ROWS) * len(FEATURES)
    systems = {row.system for row in PUBLISHED_ROWS}
    own = sum(cell[0] not in systems for cell in cells)
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
        f"Ours: {len(cells) - own} of {whole} scores{f' and {own} more' * bool(own)}; {described}. "
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


def list_claims() -> list[Claim]:
    """List the paper's claims about the order of rows and columns (section 4.5)."""
    best = "kcnn_svm"
    over = [
        ("learned over frozen lookup tables", "kcnn", "kcnn_frozen"),
        (f"learned at rate {TABLE_LR} over frozen lookup tables", "kcnn_table_lr", "kcnn_frozen"),
        ("k = 5 over k = 1, both with SVM", best, "kcnn_k1_svm"),
        ("KCNN + SVM over KCNN", best, "kcnn"),
        ("KCNN + SVM over sparse coding + SVM", best, "sparse_coding"),
        ("KCNN + SVM over autoencoder + SVM", best, "autoencoder"),
        ("KCNN + SVM over DBN + SVM", best, "dbn"),
    ]
    found = [
        Claim(title, tuple(((ROWS[a].system, f), (ROWS[b].system, f)) for f in FEATURES), SECTION)
        for title, a, b in over
    ]
    for feature in FEATURES[:-1]:
        pairs = [((row.system, "ALL"), (row.system, feature)) for row in PUBLISHED_ROWS]
        found.append(Claim(f"ALL over {feature}", tuple(pairs), SECTION))
    return found


def describe_changes(cells: Mapping[Cell, Results]) -> list[str]:
    """Describe how far training has moved the lookup tables, in a paragraph if any were trained."""
    found = []
    for row in ROWS.values():
        if row.svm or row.network not in ("kcnn", "kcnn_table_lr"):
            continue
        parts = []
        for feature in FEATURES:
            results = cells.get((row.system, feature))
            changes = measure_changes(results.source["checkpoints"]) if results else []
            if changes:
                parts.append(f"{feature} {100 * sum(changes) / len(changes):.2g} %")
        if parts:
            found.append(f"{row.system}: {', '.join(parts)}")
    if not found:
        return []
    return [
        "Distance of the trained lookup tables from the cluster centres, relative to the norm of "
        f"the centres (mean over fits): {'; '.join(found)}. At the paper's learning rate, 0.02, "
        "tables hardly change, since whitened centres are large in comparison with the gradients. "
        f"Rows that the paper does not have train the tables, and only these, at rate {TABLE_LR}."
    ]
