"""Experiments of several fits: cross-validation, sweeps, and the processes they start."""
