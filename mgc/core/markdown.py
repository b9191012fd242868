"""Formats Markdown with escaped text: tables, headings, code and images."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd


class Markdown(str):
    """Text that is already Markdown and is not escaped."""

    __slots__ = ()


def escape(text: object) -> Markdown:
    """Escape text for one line or table cell of Markdown. Line breaks become spaces."""
    if isinstance(text, Markdown):
        return text
    line = " ".join(str(text).splitlines())
    return Markdown(re.sub(r"[\\`*<\[\]|]|&(?=#?\w+;)", r"\\\g<0>", line))


def code(text: object) -> Markdown:
    """Format text as inline code, also for a table cell."""
    line = " ".join(str(text).splitlines())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if "`" in line else ""
    return Markdown(f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|"))


def heading(text: object, level: int = 1) -> Markdown:
    """Format a heading."""
    return Markdown(f"{'#' * level} {escape(text)}")


def image(text: object, file: str) -> Markdown:
    """Link an image with an alternative text."""
    return Markdown(f"![{escape(text)}](<{file}>)" if " " in file else f"![{escape(text)}]({file})")


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
