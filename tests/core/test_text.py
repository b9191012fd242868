"""Invisible characters of names."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgc.core.text import visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("a\r\nmgc: error", r"a\r\nmgc: error"),
        ("a\u2028b\x85c", r"a\u2028b\x85c"),
        ("caf\udce9.wav", r"caf\udce9.wav"),
        ("C:\\music\\Beyoncé 日本 می‌خواهم", "C:\\music\\Beyoncé 日本 می‌خواهم"),
    ],
)
def test_visible(text: str, expected: str) -> None:
    assert visible(text) == expected


def test_lines_are_kept_in_longer_text() -> None:
    assert visible("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


@settings(deadline=None, max_examples=100)
@given(st.text())
def test_every_character_is_printable_afterwards(text: str) -> None:
    line = visible(text)
    assert len(line.splitlines()) <= 1
    assert line.encode("utf-8").isascii() or line.isprintable() or visible(line) == line
