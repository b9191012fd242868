"""Tables of papers with our scores beside the published ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

import pandas as pd

from mgc.core import markdown
from mgc.evaluation.intervals import Interval, Score, name_intervals

#: Row and column of a table.
Cell = tuple[str, str]

#: Published score and half the width of its interval, if there is one.
Published = tuple[float, float | None]

#: Columns of :func:`scores_frame`.
COLUMNS = (
    "table", "row", "column", "published", "published_half", "ours", "low", "high", "method",
    "tracks",
)  # fmt: skip


@dataclass(frozen=True)
class ScoreTable:
    """A table of a paper, with our scores.

    Attributes:
        title: Number and caption in the paper.
        rows: Names of the rows.
        columns: Names of the columns.
        published: Published scores by row and column, in the unit of ``ours``.
        ours: Our scores by row and column. Missing ones leave empty cells.
        percent: Whether to print the scores in %.
        notes: Markdown below the table.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    published: Mapping[Cell, Published]
    ours: Mapping[Cell, Score]
    percent: bool = True
    notes: str = ""

    def frame(self) -> pd.DataFrame:
        """Return the scores, a row per cell."""
        lines = []
        for row in self.rows:
            for column in self.columns:
                cell = row, column
                value, half = self.published.get(cell, (None, None))
                ours = self.ours.get(cell)
                if value is None and ours is None:
                    continue
                interval = ours.interval if ours else None
                lines.append(
                    {
                        "table": self.title,
                        "row": row,
                        "column": column,
                        "published": value,
                        "published_half": half,
                        "ours": ours.value if ours else None,
                        "low": interval.low if interval else None,
                        "high": interval.high if interval else None,
                        "method": interval.method if interval else "",
                        "tracks": interval.tracks if interval else 0,
                    }
                )
        return pd.DataFrame(lines, columns=pd.Index(COLUMNS))

    def markdown(self, level: int = 2) -> str:
        """Format the table: a column with published and one with our scores for each column.

        Columns without published scores have a single one. ``level`` is that of the heading.
        """
        factor, unit, digits = (100, "%", ".1f") if self.percent else (1, "", ".3f")
        both = [any((row, name) in self.published for row in self.rows) for name in self.columns]
        head: list[str] = []
        for name, compared in zip(self.columns, both, strict=True):
            prefix = "" if len(self.columns) == 1 else f"{name}, "
            head += [f"{prefix}paper", f"{prefix}ours"] if compared else [name]
        decimals = _count_digits(self.published.values(), factor)
        lines = []
        for row in self.rows:
            line = [row]
            for column, compared in zip(self.columns, both, strict=True):
                if compared:
                    published = self.published.get((row, column))
                    line.append(_format_published(published, factor, decimals))
                ours = self.ours.get((row, column))
                line.append(_format_score(ours, factor, digits))
            lines.append(line)
        found = markdown.table([unit, *head], lines)
        intervals = name_intervals(score.interval for score in self.ours.values())
        notes = [f"In parentheses: {intervals}."] if intervals else []
        notes += [self.notes] if self.notes else []
        return "\n\n".join([markdown.heading(self.title, level), found, " ".join(notes)]).rstrip()


def read_tables(frame: pd.DataFrame) -> list[ScoreTable]:
    """Return the tables of :func:`scores_frame`, without their notes."""
    tables = []
    for title, lines in frame.groupby("table", sort=False):
        published: dict[Cell, Published] = {}
        ours: dict[Cell, Score] = {}
        records: list[dict[str, Any]] = lines.to_dict("records")  # type: ignore[assignment]
        for line in records:
            cell = line["row"], line["column"]
            if pd.notna(line["published"]):
                half = line["published_half"]
                published[cell] = line["published"], None if pd.isna(half) else half
            if pd.notna(line["ours"]):
                ends = line["low"], line["high"]
                interval = Interval(*ends, line["method"], line["tracks"])
                ours[cell] = Score(line["ours"], interval)
        rows, columns = (list(dict.fromkeys(lines[name])) for name in ("row", "column"))
        percent = lines["unit"].iloc[0] == "%"
        tables.append(ScoreTable(str(title), rows, columns, published, ours, percent))
    return tables


def scores_frame(tables: Iterable[ScoreTable]) -> pd.DataFrame:
    """Return the scores of several tables, a row per cell."""
    frames = [table.frame().assign(unit="%" if table.percent else "") for table in tables]
    return pd.concat(frames, ignore_index=True)


def _format_published(published: Published | None, factor: int, digits: int) -> str:
    if published is None:
        return ""
    value, half = published
    text = f"{factor * value:.{digits}f}"
    return text if half is None else f"{text} ± {factor * half:.{digits}f}"


def _count_digits(published: Iterable[Published], factor: int) -> int:
    """Return the largest number of decimals that the published scores have."""
    values = [factor * value for value, _ in published]
    return next((n for n in (0, 1, 2) if all(isclose(v, round(v, n)) for v in values)), 3)


def _format_score(score: Score | None, factor: int, digits: str) -> str:
    if score is None:
        return ""
    interval = score.interval.scaled(factor)
    text = f"{factor * score.value:{digits}}"
    return f"{text} ({interval:{digits}})" if interval.method else text
