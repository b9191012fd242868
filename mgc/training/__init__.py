"""Fits and tests: the command line, and what every run has besides its model and data."""
