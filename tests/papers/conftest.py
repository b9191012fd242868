"""Fixtures of the reproduction tests."""

from pathlib import Path

import pytest

from mgc.experiments import crossval, sweep, sweep_run
from mgc.experiments.fold_run import run_fold


class Finished:
    """Replaces the process of a job."""

    returncode = 0

    def poll(self):
        return 0


def run_in_this_process(run, trained):
    """Return a function that replaces the start of a job's process, and lists the job."""

    def start(job, environment, lock):
        Path(job.folder).mkdir(parents=True)
        Path(job.folder, "log.txt").touch()
        run(job)
        trained.append(job)
        return Finished()

    return start


@pytest.fixture
def folds(monkeypatch):
    """Run the folds of cross-validations in this process, and list them."""
    trained = []
    monkeypatch.setattr(crossval, "start_fold", run_in_this_process(run_fold, trained))
    return trained


@pytest.fixture
def sweep_runs(monkeypatch):
    """Run the runs of sweeps in this process, and list them."""
    trained = []
    monkeypatch.setattr(sweep, "start_run", run_in_this_process(run_sweep_run, trained))
    return trained


def run_sweep_run(run):
    run.write()
    sweep_run.train(run)
