"""Tables in Markdown."""

import numpy as np
import pandas as pd


def markdown_table(frame: pd.DataFrame) -> str:
    """Write a table whose columns are aligned, for people and for Markdown.

    Args:
        frame: Table of text.
    """
    rows = [["", *map(str, frame.columns)]]
    rows += [
        [str(name), *map(str, row)] for name, row in zip(frame.index, frame.to_numpy(), strict=True)
    ]
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths = [max(3, width) for width in widths]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )


def scores_table(frame: pd.DataFrame) -> str:
    """Write a table in Markdown.

    Args:
        frame: Table of text and numbers, which get three decimals; NaN is left empty.
    """
    head = [str(frame.index.name or ""), *map(str, frame.columns)]
    rows = [head, ["---"] * len(head)]
    rows += [
        [str(name), *map(_cell, row)]
        for name, row in zip(frame.index, frame.to_numpy(object), strict=True)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3f}"
    return str(value)
