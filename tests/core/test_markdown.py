"""Escaping of names in Markdown, read with a parser of CommonMark."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mgc.core import markdown
from mgc.core.text import visible

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

#: Names of markup and of ordinary characters.
NAMES = st.lists(
    st.one_of(
        st.sampled_from(" \t\n\r\x1b\u2028\u202e\x85|`*_~#[]()!<>&;:/\\-+=.1a$@\"'"),
        st.sampled_from(["![](x)", "<script>", "[a](javascript:b)", "&amp;", "http://", "=cmd()"]),
        st.characters(),
    ),
    max_size=12,
).map("".join)

NAME = "a|b\n`c` <d> [e](f)"
ESCAPED = r"a\|b \`c\` \<d> \[e\](f)"


def test_escape() -> None:
    assert markdown.escape(NAME) == ESCAPED
    assert markdown.escape(markdown.escape(NAME)) == ESCAPED
    assert markdown.escape("svm_original, R&B &amp;") == r"svm_original, R&B \&amp;"
    assert markdown.heading(NAME, 2) == f"## {ESCAPED}"
    assert markdown.image("a", "b) [c](d).png") == "![a](b%29%20%5Bc%5D%28d%29.png)"
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


def parse(text: str) -> list[Token]:
    """Return all tokens, including those within lines."""
    return [inner for token in PARSER.parse(text) for inner in [token, *(token.children or [])]]


def shown(name: str) -> str:
    """Return a name as the reader should see it."""
    return visible(" ".join(name.splitlines()))


@settings(deadline=None, max_examples=100)
@given(name=NAMES)
def test_names_are_text_in_a_table(name: str) -> None:
    tokens = parse(markdown.table(["run", name], [[name, 1.0], ["x", name]]))
    kinds = {token.type for token in tokens if token.level > 0 and token.type != "text"}
    assert not {kind for kind in kinds if kind.startswith(("html", "link", "image", "em", "code"))}
    cells = [
        "".join(part.content for part in cell.children or ())
        for cell in tokens
        if cell.type == "inline"
    ]
    assert cells == ["run", shown(name), shown(name), "1.000", "x", shown(name)]


@settings(deadline=None, max_examples=100)
@given(name=NAMES)
@pytest.mark.parametrize("template", ["{}", "# {}", "Text {} and {}.", "**{}**", "- {}"])
def test_names_are_text_in_a_line(template: str, name: str) -> None:
    escaped, plain = (
        {token.type for token in parse(template.format(text, text))}
        for text in (markdown.escape(name), "name" if shown(name).strip() else "")
    )
    if name.strip():
        assert escaped <= plain | {"text_special"}


@settings(deadline=None, max_examples=100)
@given(name=NAMES)
def test_code_is_the_name(name: str) -> None:
    tokens = parse(markdown.table(["x"], [[markdown.code(name)]]))
    found = [token.content for token in tokens if token.type == "code_inline"]
    if shown(name).strip():
        assert found == [shown(name)]
