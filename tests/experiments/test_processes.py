"""What the parent process reads from the logs of its jobs."""

import logging
from dataclasses import dataclass
from pathlib import Path

import pytest

from mgc.experiments.child_run import _MarkWarnings
from mgc.experiments.processes import LOG, read_error, read_warnings


@dataclass
class Job:
    folder: str
    name: str = "fold 0"
    finished: bool = True


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Job whose process logged messages of several packages and levels."""
    handler = logging.FileHandler(tmp_path / LOG, encoding="utf-8")
    handler.setFormatter(_MarkWarnings("%(message)s"))
    for name, level, text in (
        ("mgc.data.base", logging.WARNING, "Skipped rock.wav: empty,\nno audio."),
        ("mgc.data.base", logging.INFO, "99 tracks, 1 broken."),
        ("lightning.pytorch", logging.WARNING, "Found 64 modules in eval mode."),
    ):
        handler.handle(logging.LogRecord(name, level, "", 0, text, (), None))
    handler.close()
    return Job(str(tmp_path))


def test_warnings_of_mgc_reach_the_parent_process(job: Job) -> None:
    assert read_warnings(job) == ["Skipped rock.wav: empty, no audio."]


def test_the_last_error_is_read(job: Job) -> None:
    assert read_error(job) == "Found 64 modules in eval mode."
    with Path(job.folder, LOG).open("a", encoding="utf-8") as log:
        log.write("mgc: error: data.root=x: no such folder.\nbye\n")
    assert read_error(job) == "data.root=x: no such folder."
