"""Escaping of names in Markdown."""

import pandas as pd
import pytest

from mgc.core import markdown

NAME = "a|b\n`c` <d> [e](f)"
ESCAPED = r"a\|b \`c\` \<d> \[e\](f)"


def test_escape() -> None:
    assert markdown.escape(NAME) == ESCAPED
    assert markdown.escape(markdown.escape(NAME)) == ESCAPED
    assert markdown.escape("svm_original, R&B &amp;") == r"svm_original, R&B \&amp;"
    assert markdown.heading(NAME, 2) == f"## {ESCAPED}"
    assert markdown.image(NAME, "plot.png") == f"![{ESCAPED}](plot.png)"


@pytest.mark.parametrize(
    ("text", "expected"), [("a|b\nc", r"`a\|b c`"), ("a`b", "`` a`b ``"), ("x.y", "`x.y`")]
)
def test_code(text: str, expected: str) -> None:
    assert markdown.code(text) == expected


def test_table() -> None:
    rows = [[NAME, 0.12345, 3], [markdown.code("x"), float("nan"), None]]
    assert markdown.table(["", "score", NAME], rows).splitlines() == [
        f"| | score | {ESCAPED} |",
        "| --- | --- | --- |",
        f"| {ESCAPED} | 0.123 | 3 |",
        "| `x` | | None |",
    ]


def test_aligned_table_of_a_data_frame() -> None:
    frame = pd.DataFrame({"a": ["1|2", "x"]}, index=["one", "two"])
    assert markdown.frame_table(frame, aligned=True).splitlines() == [
        "|     | a    |",
        "| --- | ---- |",
        r"| one | 1\|2 |",
        "| two | x    |",
    ]
