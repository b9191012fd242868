"""Colours of plots in reports."""

BLOCKS, OTHERS, COMPARED, NESTED, PUBLISHED = "#4c78a8", "#b279a2", "#b8b8b8", "#111111", "#e45756"
