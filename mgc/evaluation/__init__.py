"""Evaluation of models: metrics, result files, intervals, paired tests, late fusion."""
