"""Counts the tracks that only one of two systems gets right."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mgc.core.figures import PlainFigure
from mgc.evaluation.colours import BLOCKS, COMPARED, OTHERS
from mgc.evaluation.intervals import correct
from mgc.evaluation.results import Results

#: Row with the sums over all classes.
TOTAL = "all"


def count_correct(systems: dict[str, Results]) -> pd.DataFrame:
    """Count the tracks of each class that both, one or none of two systems get right.

    Args:
        systems: Results of two systems by name. Only tracks that both tested are counted.

    Returns:
        Columns ``tracks``, ``both``, ``only NAME`` for each system, and ``none``. The last row has
        the sums.
    """
    (one, two), (first, second) = systems, systems.values()
    labels = first.tracks.groupby("track")["label"].first()
    right = pd.concat({one: correct(first) == 1, two: correct(second) == 1}, axis=1, join="inner")
    a, b = right[one].astype(bool), right[two].astype(bool)
    counts = {
        "tracks": a | True,
        "both": a & b,
        f"only {one}": a & ~b,
        f"only {two}": b & ~a,
        "none": ~a & ~b,
    }
    table = pd.DataFrame(counts).groupby(labels).sum().reindex(list(first.labels), fill_value=0)
    table.loc[TOTAL] = table.sum()
    return table.rename_axis("class")


def plot_correct(counts: pd.DataFrame) -> Figure:
    """Plot the shares of :func:`count_correct` as stacked bars, a bar per class."""
    figure = PlainFigure(figsize=(8, 1.7 + 0.38 * len(counts)), layout="constrained")
    axes = figure.subplots()
    parts = list(counts.columns[1:])
    shares = counts[parts].div(counts["tracks"].clip(lower=1), axis=0)
    left = np.zeros(len(counts))
    for part, color in zip(parts, (COMPARED, BLOCKS, OTHERS, "white"), strict=True):
        axes.barh(counts.index, shares[part], 0.7, left, color=color, edgecolor="black", label=part)
        for y, (start, share, count) in enumerate(
            zip(left, shares[part], counts[part], strict=True)
        ):
            if count:
                axes.text(start + share / 2, y, str(count), ha="center", va="center", fontsize=8)
        left = left + shares[part].to_numpy()
    axes.set_xlim(0, 1)
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.set_xlabel("share of the tracks that these systems get right (numbers: tracks)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure
