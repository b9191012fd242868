"""Data modules, one file a data set."""
