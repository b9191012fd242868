"""Reports: comparison of runs, experiment, model card."""
