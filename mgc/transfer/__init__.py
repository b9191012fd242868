"""Transfer learning: feature tables, extraction, folds, classifiers, reports."""
