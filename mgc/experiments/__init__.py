"""Experiments that train several models: cross-validation and sweeps."""
