"""What tests of several commands share."""

from pathlib import Path

import pytest

from mgc.experiments import crossval
from mgc.experiments.fold_run import run_fold


class Finished:
    """Stands in for the process of a fold."""

    returncode = 0

    def poll(self):
        return 0


@pytest.fixture
def folds(monkeypatch):
    """The folds of cross-validations that were trained, in this process."""
    trained = []

    def start(fold, environment, lock):
        Path(fold.folder).mkdir(parents=True)
        Path(fold.folder, "log.txt").touch()
        run_fold(fold)
        trained.append(fold)
        return Finished()

    monkeypatch.setattr(crossval, "start_fold", start)
    return trained
