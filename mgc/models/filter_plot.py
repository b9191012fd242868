"""Plots the filters of a layer."""

import os

import numpy as np

from mgc.core.figures import PlainFigure
from mgc.core.writing import replacing

#: Maximum number of filters in a plot.
MAX_FILTERS = 100


def plot_filters(weight: np.ndarray, title: str, path: str | os.PathLike[str]) -> None:
    """Plot filters of shape (filters, inputs, beats) to a PNG file, with a common colour scale.

    Only the 100 filters with the largest weights are drawn, in that order. Red is positive, blue
    negative.
    """
    order = np.argsort(-np.abs(weight).sum((1, 2)), kind="stable")[:MAX_FILTERS]
    columns = int(np.ceil(np.sqrt(len(order))))
    rows = int(np.ceil(len(order) / columns))
    inputs, beats = weight.shape[1:]
    # Draw a single image of tiles, because 100 axes take seconds to draw.
    gap = max(1, inputs // 12)
    canvas = np.full((rows * (inputs + gap) - gap, columns * (beats + 1) - 1), np.nan)
    for position, number in enumerate(order):
        row, column = divmod(position, columns)
        top, left = row * (inputs + gap), column * (beats + 1)
        canvas[top : top + inputs, left : left + beats] = weight[number][::-1]
    figure = PlainFigure(figsize=(8, 8.5), layout="constrained")
    axes = figure.subplots()
    limit = float(np.abs(weight).max()) or 1.0
    image = axes.imshow(
        canvas, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
    )
    axes.set_axis_off()
    axes.set_title(f"{title}\n{beats} steps to the right, {inputs} inputs upwards")
    figure.colorbar(image, ax=axes, shrink=0.5)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=120, format="png")
