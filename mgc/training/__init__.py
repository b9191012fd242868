"""Training: the command line and the callbacks of every run."""
