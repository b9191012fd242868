"""Formats Markdown with escaped text: tables, headings, code and images."""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

import numpy as np
import pandas as pd

from mgc.core.text import visible


class Markdown(str):
    """Text that is already Markdown and is not escaped."""

    __slots__ = ()


#: Characters that are markup anywhere in a line, and the start of links to web addresses.
_MARKUP = re.compile(
    r"[\\`*<\[\]|~#$]|&(?=#?\w+;)|:(?=//)|(?<=www)\."
    # Underscores, unless they are between letters or digits.
    r"|_(?=_*(?:[^\w]|\Z))|(?<![^\W_])_",
    re.I,
)

#: Markup at the start of a line: quotes, lists, and lines under headings.
_BLOCK = re.compile(r"\A(>|[-+](?=\s|[-\s]*\Z)|=(?==*\Z)|\d+(?=[.)](?:\s|\Z)))")


def escape(text: object) -> Markdown:
    """Escape text for one line or table cell of Markdown.

    Line breaks become spaces, and other invisible characters visible (see
    :func:`mgc.core.text.visible`). Spaces at the ends are kept.
    """
    if isinstance(text, Markdown):
        return text
    line = _join_lines(text)
    inner = line.strip(" ")
    before, after = len(line) - len(line.lstrip(" ")), len(line) - len(line.rstrip(" "))
    escaped = _MARKUP.sub(r"\\\g<0>", inner)
    escaped = _BLOCK.sub(_escape_block, escaped)
    if not inner:
        return Markdown("&#32;" * len(line))
    return Markdown(f"{'&#32;' * before}{escaped}{'&#32;' * after}")


def code(text: object) -> Markdown:
    """Format text as inline code, also for a table cell."""
    line = _join_lines(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if "`" in line or (line.startswith(" ") and line.endswith(" ")) else ""
    return Markdown(f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|"))


def _join_lines(text: object) -> str:
    return visible(" ".join(str(text).splitlines()))


def _escape_block(found: re.Match[str]) -> str:
    """Escape the start of a line; of a number, the mark after it."""
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def heading(text: object, level: int = 1) -> Markdown:
    """Format a heading."""
    return Markdown(f"{'#' * level} {escape(text)}")


def image(text: object, file: str) -> Markdown:
    """Show an image file with an alternative text."""
    return Markdown(f"![{escape(text)}]({quote(file, errors='surrogateescape')})")


def table(
    head: Sequence[object], rows: Iterable[Sequence[object]], aligned: bool = False
) -> Markdown:
    """Format a table. Floats have three decimals, NaN is an empty cell, other cells are escaped.

    ``aligned`` pads the cells, so that the table is readable as plain text.
    """
    cells = [[_format(value) for value in row] for row in (head, *rows)]
    columns = range(len(head))
    widths = [max(3, *(len(row[i]) for row in cells)) if aligned else 3 for i in columns]
    cells.insert(1, ["-" * width for width in widths])
    if aligned:
        cells = [[row[i].ljust(widths[i]) for i in columns] for row in cells]
    lines = ("|".join(f" {cell} " if cell else " " for cell in row) for row in cells)
    return Markdown("\n".join(f"|{line}|" for line in lines))


def frame_table(frame: pd.DataFrame, aligned: bool = False) -> Markdown:
    """Format a data frame, with its index as the first column; see :func:`table`."""
    head = [frame.index.name or "", *frame.columns]
    values = frame.to_numpy(object)
    rows = [[name, *row] for name, row in zip(frame.index, values, strict=True)]
    return table(head, rows, aligned)


def _format(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3f}"
    return escape(value)
