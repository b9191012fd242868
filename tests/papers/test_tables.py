"""Tables of papers with our scores."""

import pandas as pd
import pytest

from mgc.core.csv import read_csv, write_csv
from mgc.evaluation.intervals import Interval, Score, wilson
from mgc.papers.tables import ScoreTable, read_tables, scores_frame

TABLE = ScoreTable(
    "Table 2: accuracy",
    ["net", "fused", "ours only"],
    ["GTZAN", "ISMIR 2004"],
    {
        ("net", "GTZAN"): (0.878, 0.018),
        ("net", "ISMIR 2004"): (0.8, None),
        ("fused", "GTZAN"): (0.91, 0.012),
    },
    {("net", "GTZAN"): Score(0.85, wilson(85, 100)), ("ours only", "ISMIR 2004"): Score(0.5)},
)


def test_markdown():
    rows = [line.strip("|") for line in TABLE.markdown().splitlines() if line.startswith("|")]
    lines = [[cell.strip() for cell in row.split("|")] for row in rows]
    assert lines[0] == ["%", "GTZAN, paper", "GTZAN, ours", "ISMIR 2004, paper", "ISMIR 2004, ours"]
    assert lines[2] == ["net", "87.8 ± 1.8", "85.0 (76.7 to 90.7)", "80.0", ""]
    assert lines[3][1] == "91.0 ± 1.2"
    assert lines[4] == ["ours only", "", "", "", "50.0"]
    assert "95 % Wilson interval over 100 tracks" in TABLE.markdown()


def test_tables_are_read_from_csv_as_written(tmp_path):
    scores = ScoreTable("Figure 3", ["12345"], ["r2"], {("12345", "r2"): (0.656, None)}, {}, False)
    write_csv(scores_frame([TABLE, scores]), tmp_path / "scores.csv", index=False)
    text = ("table", "row", "column", "method", "unit")
    first, second = read_tables(read_csv(tmp_path / "scores.csv", text))
    assert (first.markdown(), second.markdown()) == (TABLE.markdown(), scores.markdown())
    assert second.published == {("12345", "r2"): (0.656, None)}


@pytest.mark.parametrize(("value", "text"), [(0.78, "78"), (0.7429, "74.29"), (0.867, "86.7")])
def test_published_scores_keep_their_decimals(value, text):
    table = ScoreTable("t", ["a"], ["b"], {("a", "b"): (value, None)}, {})
    assert f"| a | {text} |" in table.markdown()


def test_missing_interval():
    missing = Interval(float("nan"), float("nan"), "bootstrap", 1, "fewer than 2 tracks")
    table = ScoreTable("t", ["a"], ["b"], {}, {("a", "b"): Score(0.5, missing)})
    assert "50.0 (not available: fewer than 2 tracks)" in table.markdown()
    assert pd.isna(table.frame()["low"][0])


def test_columns_without_published_scores_are_single():
    table = ScoreTable(
        "t", ["a"], ["b", "nested"], {("a", "b"): (0.5, None)}, {("a", "nested"): Score(0.4)}
    )
    assert "| % | b, paper | b, ours | nested |" in table.markdown()
    assert "| a | 50 | | 40.0 |" in table.markdown()
