"""Loads the test and validation results of runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Protocol

from mgc.core.fingerprint import hash_file
from mgc.errors import MgcError
from mgc.evaluation.results import Results, find_predictions, is_current, load_nested_results


class NoResultsError(MgcError):
    """Raised for a folder without results."""


@dataclass
class Run:
    """Tested model with its results on the test tracks and, if known, the validation tracks."""

    name: str
    test: Results
    validation: Results | None = None


class Experiment(Protocol):
    """Experiment with results, as returned by ``mgc.cross_validate`` and ``mgc.transfer``."""

    @property
    def results(self) -> Results:
        """Results on the test tracks."""

    @property
    def validation(self) -> Results | None:
        """Results on the validation tracks, if known."""

    @property
    def folder(self) -> Path | None:
        """Output folder, or None if nothing was written."""


RunLike = Run | Results | Experiment | str | PathLike[str]


def as_runs(runs: Sequence[RunLike] | Mapping[str, RunLike]) -> list[Run]:
    """Convert objects and folders (see :func:`load_runs`) to runs with unique names.

    Keys of a mapping are the names.
    """
    given = list(runs.values()) if isinstance(runs, Mapping) else list(runs)
    names = list(runs) if isinstance(runs, Mapping) else unique_names(map(name_run, given))
    return [as_run(run, name) for run, name in zip(given, names, strict=True)]


def as_run(run: RunLike, name: str) -> Run:
    """Convert an object or a folder to a run with this name."""
    if isinstance(run, Run):
        return replace(run, name=name)
    if isinstance(run, Results):
        return split_run(run, name)
    if isinstance(run, str | PathLike):
        return load_run(run, name)
    return Run(name, run.results, run.validation)


def name_run(run: RunLike) -> str:
    """Return the name of a run's folder, or of its model if it has no folder."""
    if isinstance(run, Run):
        return run.name
    if isinstance(run, Results):
        source = run.source
        return str(source.get("fusion") or str(source.get("model") or "run").rpartition(".")[2])
    if not isinstance(run, str | PathLike):
        return name_run(run.results if run.folder is None else run.folder)
    path = Path(run).absolute()
    # For `runs/mgc/abc/test`, the name is `abc`.
    return path.parent.name if path.name in ("test", "predict") else path.name


def unique_names(names: Iterable[str]) -> list[str]:
    """Append a number to each name, unless all names are different."""
    names = list(names)
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({number})" for number, name in enumerate(names, 1)]


def load_runs(folders: Sequence[str | PathLike[str]], names: Sequence[str] = ()) -> list[Run]:
    """Load the results of several runs.

    Args:
        folders: Each is the folder of a run or a cross-validation, with results in ``test`` (and
            ``validate``) or ``predict``; a folder with ``tracks.parquet``; or the output of
            ``mgc transfer``.
        names: Names of the runs. Default: names of the folders.

    Raises:
        MgcError: If a folder has no results, or names are missing or repeated.
    """
    if not names:
        names = unique_names(map(name_run, folders))
    if len(names) != len(folders) or len(set(names)) < len(names):
        raise MgcError(
            f"Expected {len(folders)} different names, one per run, not {', '.join(names)}."
        )
    return [load_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def load_run(folder: str | PathLike[str], name: str) -> Run:
    """Load the results of one run (see :func:`load_runs`)."""
    path = Path(folder)
    candidates = [path, path / "test", path / "predict"]
    found = next((c for c in candidates if (c / "tracks.parquet").is_file()), None)
    if found == path / "test" and not is_current(path, "test"):
        found = None
    if found is None and find_predictions(path):
        return Run(name, load_nested_results(path))
    if found is None:
        raise NoResultsError(
            f"{folder}: found no results (tracks.parquet) in it or its folders test and predict. "
            "Use the output folder of mgc test, predict, crossval or transfer."
        )
    run = split_run(_load_results(found), name, str(found))
    validation = found.parent / "validate"
    if run.validation is None and (validation / "tracks.parquet").is_file():
        run.validation = _load_results(validation)
    return run


def _load_results(folder: Path) -> Results:
    """Load results, and check that the checkpoint they are from has not changed since."""
    results = Results.load(folder)
    for checkpoint, digest in results.checkpoints.items():
        # The run's folder may have been moved.
        nearby = [folder.parent / "checkpoints" / Path(checkpoint).name, Path(checkpoint)]
        path = next((path for path in nearby if path.is_file()), None)
        inside = path and path.resolve().is_relative_to(folder.parent.resolve())
        if path and inside and hash_file(path, content_only=True) != digest:
            raise MgcError(
                f"{folder} has results of an earlier version of {path}. Test it again: mgc "
                f"{folder.name} --ckpt_path {path}"
            )
    return results


def split_run(results: Results, name: str, where: str = "") -> Run:
    """Split results into test and validation tracks.

    Raises an MgcError that names ``where``, or the run, if there are no test tracks.
    """
    test = _select_split(results, "test") if "split" in results.tracks else results
    if test is None:
        raise MgcError(f"{where or name}: contains no test tracks. Run mgc test.")
    return Run(name, test, _select_split(results, "val"))


def _select_split(results: Results, split: str) -> Results | None:
    """Return the results of a split's tracks, or None if there are none."""
    if "split" not in results.tracks:
        return None
    clips, tracks = (
        table[table["split"] == split].reset_index(drop=True)
        for table in (results.clips, results.tracks)
    )
    return replace(results, clips=clips, tracks=tracks) if len(tracks) else None
