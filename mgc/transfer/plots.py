"""Creates the plots of transfer reports as Matplotlib figures."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mgc.core.figures import PlainFigure
from mgc.evaluation.colours import BLOCKS, COMPARED, NESTED, OTHERS, PUBLISHED
from mgc.evaluation.intervals import name_intervals, read_intervals


def rank_combinations(
    table: pd.DataFrame,
    *,
    metric: str,
    title: str,
    compared: Sequence[str] = (),
    lines: Mapping[str, float] | None = None,
) -> Figure:
    """Plot the scores of all combinations of layers as bars, best first.

    Args:
        table: Columns ``layers`` and ``paper``; optionally ``nested`` with its interval (see
            :meth:`mgc.evaluation.intervals.Interval.columns`), and ``published``.
        metric: Name of the score.
        title: Title of the plot.
        compared: Columns with the scores of other features, drawn as narrow grey bars.
        lines: Published scores without a combination, by name, drawn as lines.
    """
    figure = PlainFigure(figsize=(9, 1.8 + 0.3 * len(table)), layout="constrained")
    axes = figure.subplots()
    positions = np.arange(len(table))
    blocks = table["layers"].str.isdigit().to_numpy()
    for rows, colour, name in ((blocks, BLOCKS, "blocks"), (~blocks, OTHERS, "other layers")):
        if rows.any():
            scores = table["paper"][rows]
            axes.barh(positions[rows], scores, 0.72, color=colour, label=f"{name}, paper protocol")
    for number, name in enumerate(compared):
        height = 0.3 / len(compared)
        axes.barh(
            positions + 0.21 + number * height,
            table[name],
            height,
            color=COMPARED,
            edgecolor="white",
            label=f"{name}, paper protocol",
        )
    if "nested" in table:
        spread = np.stack(
            [table["nested"] - table["nested_low"], table["nested_high"] - table["nested"]]
        )
        axes.errorbar(
            table["nested"],
            positions,
            xerr=np.maximum(spread, 0),
            fmt="o",
            markersize=3.5,
            linewidth=1,
            color=NESTED,
            label=f"nested protocol, {name_intervals(read_intervals(table, 'nested_'))}",
        )
    if "published" in table and table["published"].notna().any():
        axes.plot(
            table["published"],
            positions,
            "D",
            markersize=6,
            markerfacecolor="none",
            markeredgewidth=1.4,
            color=PUBLISHED,
            label="published",
        )
    for style, (name, value) in zip(("--", ":"), (lines or {}).items(), strict=False):
        axes.axvline(value, color=PUBLISHED, linestyle=style, label=name)
    shown = table.filter(["paper", "nested_low", "nested_high", "published", *compared]).to_numpy()
    low = float(np.nanmin(shown, initial=0))
    high = max(float(np.nanmax(shown, initial=low)), *(lines or {}).values(), low) or 1.0
    for y, value in enumerate(table["paper"]):
        axes.text(high + 0.015 * (high - low), y, f"{value:.3f}", va="center", fontsize=8)
    axes.set_xlim(low, high + 0.09 * (high - low))
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_yticks(positions, table["layers"])
    axes.set_xlabel(f"{metric} (numbers: paper protocol)")
    axes.set_ylabel("layers")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10, wrap=True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def compare_classes(scores: pd.DataFrame, metric: str, title: str) -> Figure:
    """Plot the scores of each class for two combinations of layers, the columns of ``scores``.

    Source: Choi et al. (2017), figure 5.
    """
    first, second = scores.columns
    scores = scores.sort_values(first, ascending=False)
    figure = PlainFigure(figsize=(8, 1.6 + 0.42 * len(scores)), layout="constrained")
    axes = figure.subplots()
    positions = np.arange(len(scores))
    axes.barh(positions - 0.2, scores[first], 0.38, color=BLOCKS, label=f"layers {first}")
    axes.barh(positions + 0.2, scores[second], 0.38, color=COMPARED, label=f"layers {second}")
    high = float(np.nanmax(scores.to_numpy(), initial=0)) or 1.0
    for y, difference in enumerate(scores[first] - scores[second]):
        axes.text(high * 1.015, y, f"{difference:+.3f}", va="center", fontsize=8)
    axes.set_xlim(0, high * 1.1)
    axes.set_ylim(len(scores) - 0.4, -0.6)
    axes.set_yticks(positions, scores.index)
    axes.set_xlabel(f"{metric} of the class, nested protocol (numbers: {first} minus {second})")
    axes.set_ylabel("class")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title}: layers {first} and {second} by class", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure
