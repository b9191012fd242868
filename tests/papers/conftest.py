"""Fixtures of the reproduction tests."""

from pathlib import Path

import pytest

from mgc.experiments import crossval
from mgc.experiments.fold_run import run_fold


class Finished:
    """Replaces the process of a fold."""

    returncode = 0

    def poll(self):
        return 0


@pytest.fixture
def folds(monkeypatch):
    """Run the folds of cross-validations in this process, and list them."""
    trained = []

    def start(fold, environment, lock):
        Path(fold.folder).mkdir(parents=True)
        Path(fold.folder, "log.txt").touch()
        run_fold(fold)
        trained.append(fold)
        return Finished()

    monkeypatch.setattr(crossval, "start_fold", start)
    return trained
