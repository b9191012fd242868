"""Tables of Zhang et al. (2015) on artificial results."""

import numpy as np
import pandas as pd
import pytest
import torch

from mgc.evaluation.results import Results
from mgc.papers.claims import published_difference
from mgc.papers.reproducing import Reproduction
from mgc.papers.zhang2015 import FEATURES
from mgc.papers.zhang2015.networks import measure_change
from mgc.papers.zhang2015.tables import (
    PUBLISHED_ROWS,
    ROWS,
    describe_scores,
    list_claims,
    make_table,
)

GIVEN = {"folds": 1, "split": "given"}


def results(right, seeds=(0,), source=GIVEN):
    """Return results with ``right`` of 100 tracks correct, the same tracks in all runs."""
    rows = pd.DataFrame({"track": [f"t{i}" for i in range(100)], "fold": 0, "label": "a"})
    rows["decision"] = np.where(np.arange(100) < right, "a", "b")
    rows = pd.concat([rows.assign(seed=seed) for seed in seeds], ignore_index=True)
    return Results(rows.assign(clip=0), rows, "multiclass", ("a", "b"), dict(source))


def cells_of(text, beginning):
    """Return the cells of the table row with this first cell."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {beginning} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_scores_table():
    cells = {("KCNN (k = 5)", "MEL"): results(70), ("DBN + SVM", "ALL"): results(100)}
    text = make_table(cells, "gtzan").markdown()
    assert "In parentheses: 95 % Wilson interval over 100 tracks." in text
    assert cells_of(text, "%")[1:4] == ["MEL, paper", "MEL, ours", "SFM, paper"]
    row = cells_of(text, "KCNN (k = 5)")
    assert row[1] == "75.3"
    assert row[2].startswith("70.0 (6")
    assert row[3:] == ["50.9", "", "42.3", "", "77.6", ""]
    assert cells_of(text, "DBN + SVM")[-2:] == ["60.9", "100.0 (96.3 to 100.0)"]
    empty = make_table({}, "ismir2004").markdown()
    assert cells_of(empty, "KCNN (k = 5) + SVM")[-2:] == ["79.68", ""]
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + 7


@pytest.mark.parametrize(
    ("title", "mean"),
    [
        ("learned over frozen lookup tables", 7.675),  # section 4.5: 7.68
        ("k = 5 over k = 1, both with SVM", 7.225),  # section 4.5: 7.23
    ],
)
def test_published_differences_of_claims(title, mean):
    (claim,) = [claim for claim in list_claims() if claim.title == title]
    published = make_table({}, "gtzan").published
    assert 100 * published_difference(claim.pairs, published) == pytest.approx(mean)


def test_claims_use_cells_of_the_table():
    rows = [*PUBLISHED_ROWS, ROWS["kcnn_table_lr"]]
    known = {(row.system, feature) for row in rows for feature in FEATURES}
    assert len(list_claims()) == 10
    assert {cell for claim in list_claims() for pair in claim.pairs for cell in pair} == known
    published = make_table({}, "gtzan").published
    assert {cell for cell in known if cell not in published} == {
        (ROWS["kcnn_table_lr"].system, feature) for feature in FEATURES
    }


def test_rows_that_the_paper_does_not_have():
    """They are shown if they have scores, without published ones."""
    system = ROWS["kcnn_table_lr"].system
    cells = {(system, "MEL"): results(70), ("DBN + SVM", "ALL"): results(100)}
    text = make_table(cells, "gtzan").markdown()
    assert cells_of(text, system)[1:3] == ["", "70.0 (60.4 to 78.1)"]
    assert "Ours: 1 of 28 scores and 1 more; 100 test tracks" in text
    assert system not in make_table({}, "gtzan").markdown()


def test_distance_of_tables_from_the_centres():
    weights = {
        "words.centres_MEL": torch.tensor([[3.0, 4.0]]),
        "net.tables.MEL.weight": torch.tensor([[3.0, 5.0]]),
        "words.centres_SCF": torch.tensor([[12.0]]),
        "net.tables.SCF.weight": torch.tensor([[12.0]]),
    }
    assert measure_change(weights) == pytest.approx(1 / 13)


def test_claims_table(tmp_path):
    cells = {
        ("KCNN (k = 5) ULT", "MEL"): results(50),
        ("KCNN (k = 5)", "MEL"): results(70),
        ("KCNN (k = 5) + SVM", "MEL"): results(60),
        ("Autoencoder + SVM", "MEL"): results(60),
    }
    table = make_table(cells, "gtzan")
    text = Reproduction([table], list_claims(), cells, ["Some music."]).save(tmp_path)
    assert (tmp_path / "tables.md").read_text() == text
    frozen = cells_of(text, "learned over frozen lookup tables (section 4.5)")
    assert frozen[1:3] == ["+13.5", "+20.0"]
    assert frozen[4:] == ["100", "1 of 4", "confirmed so far (20 discordant tracks, p = 1.9e-06)"]
    assert cells_of(text, "KCNN + SVM over KCNN (section 4.5)")[-1].startswith(
        "contradicted so far (10 disc"
    )
    assert cells_of(text, "KCNN + SVM over autoencoder + SVM (section 4.5)")[2:] == [
        "+0.0",
        "not available",
        "100",
        "1 of 4",
        "open so far (0 discordant tracks; at least 6 needed)",
    ]
    # Without our scores, the paper's mean is over all columns.
    missing = cells_of(text, "k = 5 over k = 1, both with SVM (section 4.5)")
    assert missing[1:] == ["+7.2", "", "", "", "", "open (not run)"]
    assert "Some music." in text


def test_describe_scores():
    alike = {("KCNN (k = 5)", name): results(70, (0, 1)) for name in ("MEL", "SFM")}
    text = describe_scores(alike)
    assert text.startswith("Ours: 2 of 28 scores; 100 test tracks (split given), 2 runs.")
    assert "Standard deviation over our runs: 0.0 points" in text
    folds = {"folds": 10, "split": "fold"}
    text = describe_scores(alike | {("DBN + SVM", "MEL"): results(1, source=folds)})
    assert "(split given), 2 runs: 2 scores; 100 test tracks (split fold, 1 of 10 folds)" in text
    assert describe_scores({}) == "Ours: 0 of 28 scores."
