"""Runs that were tested, read from their folders."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from mgc.errors import MgcError
from mgc.evaluation.results import Results, transferred, transfers


@dataclass
class Run:
    """A model that was tested.

    Attributes:
        name: Its name.
        test: What it said of the test tracks.
        validation: What it said of the validation tracks, where that is known.
    """

    name: str
    test: Results
    validation: Results | None = None


def load_runs(folders: Sequence[str | PathLike[str]], names: Sequence[str] = ()) -> list[Run]:
    """Read the results of runs.

    Args:
        folders: Folders of runs or cross-validations, with results in ``test`` (and ``validate``)
            or in ``predict``; folders of results, with ``tracks.parquet``; or folders that
            ``mgc transfer`` wrote (see :func:`mgc.evaluation.results.transferred`).
        names: Names of the runs; by default those of the folders.

    Returns:
        The runs, with names that differ.

    Raises:
        MgcError: If there are no results, or names are missing or the same.
    """
    if not names:
        # `runs/mgc/abc/test` is the test of `abc`.
        paths = [Path(folder).absolute() for folder in folders]
        stages = ("test", "predict")
        names = [path.parent.name if path.name in stages else path.name for path in paths]
        if len(set(names)) < len(names):
            names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    if len(names) != len(folders) or len(set(names)) < len(names):
        raise MgcError(f"Give {len(folders)} different names, one per run, not {', '.join(names)}.")
    return [load_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def load_run(folder: str | PathLike[str], name: str) -> Run:
    """Read the results of a run.

    Args:
        folder: See :func:`load_runs`.
        name: Name of the run.

    Raises:
        MgcError: If there are no results of test tracks.
    """
    path = Path(folder)
    places = [path, path / "test", path / "predict"]
    found = next((place for place in places if (place / "tracks.parquet").is_file()), None)
    if found is None and transfers(path):
        return Run(name, transferred(path))
    if found is None:
        raise MgcError(
            f"{folder}: no results (tracks.parquet) there, nor in its folders test or predict. "
            "Give a folder that mgc test, predict, crossval or transfer wrote."
        )
    results = Results.load(found)
    validation = select_split(results, "val")
    beside = found.parent / "validate"
    if validation is None and (beside / "tracks.parquet").is_file():
        validation = Results.load(beside)
    test = select_split(results, "test") if "split" in results.tracks else results
    if test is None:
        raise MgcError(f"{found}: holds no test tracks. Run mgc test.")
    return Run(name, test, validation)


def select_split(results: Results, split: str) -> Results | None:
    """Keep one split.

    Args:
        results: Any results.
        split: ``train``, ``val`` or ``test``.

    Returns:
        Results of its tracks; nothing if there are none.
    """
    if "split" not in results.tracks:
        return None
    clips, tracks = (
        table[table["split"] == split].reset_index(drop=True)
        for table in (results.clips, results.tracks)
    )
    return replace(results, clips=clips, tracks=tracks) if len(tracks) else None
