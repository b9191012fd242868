"""Plots the spectrograms of a song and its components."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from mgc.core.figures import PlainFigure


def draw_components(
    decibels: dict[str, np.ndarray],
    *,
    title: str,
    sample_rate: int,
    hop_length: int,
    start: float,
    f_min: float,
    f_max: float,
    scale: str,
    top_db: float,
) -> Figure:
    """Plot spectrograms in dB, of shape (bins, frames), below each other with a common colour bar.

    The time axis starts at ``start`` seconds. ``scale`` of the frequency axis is ``linear`` or
    ``log``. Colours range from ``-top_db`` to 0 dB.
    """
    bins, frames = next(iter(decibels.values())).shape
    # Each value is a cell centred on the time of its frame and the frequency of its bin.
    time = start + (np.arange(frames + 1) - 0.5) * hop_length / sample_rate
    frequency = ((np.arange(bins + 1) - 0.5) * sample_rate / (2 * (bins - 1))).clip(0)
    figure = PlainFigure(figsize=(10, 2.6 * len(decibels) + 0.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(decibels), sharex=True, sharey=True))
    for axes, (name, values) in zip(panels, decibels.items(), strict=True):
        mesh = axes.pcolormesh(
            time, frequency, values, vmin=-top_db, vmax=0, cmap="magma", rasterized=True
        )
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_yscale(scale)
        axes.set_ylim(f_min, f_max)
        axes.set_xlim(start, start + (frames - 1) * hop_length / sample_rate)
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_ylabel("frequency (Hz)")
    panels[-1].set_xlabel("time (s)")
    figure.colorbar(mesh, ax=panels, label="level (dB, 0 is the song's maximum)", pad=0.01)
    figure.suptitle(title, fontsize=11)
    return figure
