"""Plots in which names are plain text."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text


class PlainFigure(Figure):
    """Figure that shows names with dollar signs as they are, not as formulas."""

    def draw(self, renderer: Any) -> None:
        """Draw the figure."""
        for axes in self.axes:
            axes.get_xticklabels()  # creates the labels, which findobj finds
            axes.get_yticklabels()
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().draw(renderer)
