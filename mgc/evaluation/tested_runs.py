"""Runs that were tested, read from their folders."""

from collections.abc import Iterable, Mapping, Sequence
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


#: A run: itself, its results on test tracks, or its folder.
RunLike = Run | Results | str | PathLike[str]


def as_runs(runs: Sequence[RunLike] | Mapping[str, RunLike]) -> list[Run]:
    """Read the results of runs that are given as objects or folders.

    Args:
        runs: Runs, results or folders (see :func:`load_runs`), in a sequence or by name.

    Returns:
        The runs, with names that differ.

    Raises:
        MgcError: If there are no results.
    """
    given = list(runs.values()) if isinstance(runs, Mapping) else list(runs)
    names = list(runs) if isinstance(runs, Mapping) else unique_names(map(name_run, given))
    return [as_run(run, name) for run, name in zip(given, names, strict=True)]


def as_run(run: RunLike, name: str) -> Run:
    """Read the results of one run (see :func:`as_runs`)."""
    if isinstance(run, Run):
        return replace(run, name=name)
    if isinstance(run, Results):
        return split_run(run, name)
    return load_run(run, name)


def name_run(run: RunLike) -> str:
    """Name a run by its folder or its model."""
    if isinstance(run, Run):
        return run.name
    if isinstance(run, Results):
        source = run.source
        return str(source.get("fusion") or str(source.get("model") or "run").rpartition(".")[2])
    path = Path(run).absolute()
    # `runs/mgc/abc/test` is the test of `abc`.
    return path.parent.name if path.name in ("test", "predict") else path.name


def unique_names(names: Iterable[str]) -> list[str]:
    """Number names, if two of them are equal."""
    names = list(names)
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({number})" for number, name in enumerate(names, 1)]


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
        names = unique_names(map(name_run, folders))
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
    run = split_run(Results.load(found), name, str(found))
    beside = found.parent / "validate"
    if run.validation is None and (beside / "tracks.parquet").is_file():
        run.validation = Results.load(beside)
    return run


def split_run(results: Results, name: str, where: str = "") -> Run:
    """Divide results into those of test and validation tracks.

    Args:
        results: Results of any tracks.
        name: Name of the run.
        where: Where the results come from, for the error message; by default the name.

    Raises:
        MgcError: If none of the tracks is a test track.
    """
    test = select_split(results, "test") if "split" in results.tracks else results
    if test is None:
        raise MgcError(f"{where or name}: holds no test tracks. Run mgc test.")
    return Run(name, test, select_split(results, "val"))


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
