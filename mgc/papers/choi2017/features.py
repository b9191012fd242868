"""Reads the features published with Choi et al. (2017) as feature tables.

The authors released the features of each task (github.com/keunwoochoi/transfer_learning_music) as
``<task>_layer_0.npy`` to ``<task>_layer_4.npy`` and ``<task>_mfcc.npy``, with a row for each row of
``<task>.csv``.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mgc import registry
from mgc.core.csv import read_text_csv
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.errors import MgcError
from mgc.task import Task
from mgc.transfer.feature_table import FeatureTable

#: Names of the tasks in the released files.
RELEASED: dict[str, str] = {
    "extended_ballroom": "ballroom_extended",
    "gtzan": "gtzan_genre",
    "gtzan_speech_music": "gtzan_speechmusic",
    "emomusic": "emoMusic",
    "jamendo_vocals": "jamendo_vd",
    "urbansound8k": "urbansound",
}

BLOCK_WIDTH, MFCC_WIDTH = 32, 120

#: Release files of a task and their layers, with widths.
FILES = {
    **{f"{{}}_layer_{i}.npy": (f"block{i + 1}", BLOCK_WIDTH) for i in range(5)},
    "{}_mfcc.npy": ("mfcc", MFCC_WIDTH),
}

SPLITS = {"train": TRAIN, "valid": VAL, "test": TEST}


def has_features(folder: str | os.PathLike[str], task: str) -> bool:
    """Return whether a folder has any of the released feature files of a task."""
    return any(_find_all(folder, name.format(RELEASED[task])) for name in FILES)


def read_features(folder: str | os.PathLike[str], task: str) -> FeatureTable:
    """Read the released features of a task.

    Tracks have the names, labels, folds and splits of the data set's module. Only duplicates and
    recordings that the file names tell form groups.

    Args:
        folder: Folder with the files, directly or in subfolders.
        task: Name of the data set, one of :data:`mgc.papers.choi2017.TASKS`.

    Raises:
        MgcError: If a file is missing, unreadable, or does not have the released layout.
    """
    if not Path(folder).is_dir():
        raise MgcError(f"{folder}: no such folder. Use the folder with the released .npy files.")
    released = RELEASED[task]
    path = _find(folder, f"{released}.csv")
    labels: tuple[str, ...] = registry.load("data", task).labels  # type: ignore[attr-defined] # data modules have them
    rows = _read_rows(path, task, labels)
    layers = {
        layer: _read_layer(_find(folder, name.format(released)), len(rows), width, path)
        for name, (layer, width) in FILES.items()
    }
    kind: Task = "regression" if task == "emomusic" else "multiclass"
    source = {
        "model": "released features of Choi et al. (2017)",
        "data": task,
        "folder": str(folder),
    }
    return FeatureTable(rows, layers, kind, labels, source)


def _read_rows(path: Path, task: str, labels: Sequence[str]) -> pd.DataFrame:
    """Read the tracks of a task from its list, with the columns of a feature table."""
    try:
        table = read_text_csv(path)
    except (ValueError, OSError) as error:
        raise MgcError(f"{path}: unreadable ({error}). Copy it again.") from error
    needed = {"emomusic": ["label_arousal", "label_valence"]}.get(task, ["label"])
    needed += {"jamendo_vocals": ["category"], "urbansound8k": ["fold"]}.get(task, [])
    for column in ("filepath", *needed):
        if column not in table:
            raise MgcError(f"{path}: no column {column!r}. Use the released list.")
    if not len(table):
        raise MgcError(f"{path}: no rows. Use the released list.")
    stems = table["filepath"].str.rpartition("/")[2].str.replace(r"\.\w+$", "", regex=True)
    rows = pd.DataFrame({"track": stems, "group": None, "split": None, "fold": None})
    if task == "emomusic":
        for column in needed:
            name = f"target.{column.removeprefix('label_')}"
            rows[name] = pd.to_numeric(table[column], errors="coerce")
            _check_cells(path, table[column], np.isfinite(rows[name]), "a number")
        return _check_tracks(path, rows)
    parents = table["filepath"].str.split("/").str[-2].fillna("")
    numbered = task in ("gtzan_speech_music", "urbansound8k")
    if numbered:
        names = dict(enumerate(labels))
        rows["label"] = pd.to_numeric(table["label"], errors="coerce").map(names)
        _check_cells(path, table["label"], rows["label"].notna(), f"0 to {len(labels) - 1}")
    else:
        rows["label"] = parents
        known = f"in a folder {', '.join(labels)}"
        _check_cells(path, table["filepath"], rows["label"].isin(labels), known)
    if task == "gtzan":
        from mgc.data.gtzan import DUPLICATES

        rows["group"] = stems.replace({second: first for first, second in DUPLICATES})
    elif task == "gtzan_speech_music":
        rows["track"] = rows["label"] + "/" + stems
        rows["group"] = rows["track"].str.replace(r"\d+[a-z]?$", "", regex=True)
    elif task == "jamendo_vocals":
        _check_cells(path, table["category"], table["category"].isin(SPLITS), ", ".join(SPLITS))
        rows["track"] = table["category"] + "/" + stems
        rows["group"] = stems.str.replace(r"_\d+$", "", regex=True)
        rows["split"] = table["category"].map(SPLITS)
    elif task == "urbansound8k":
        folds = pd.to_numeric(table["fold"], errors="coerce")
        _check_cells(path, table["fold"], folds.isin(range(1, 11)), "1 to 10")
        rows["group"] = stems.str.partition("-")[0]
        rows["fold"] = folds.astype(int) - 1
    return _check_tracks(path, rows)


def _check_cells(path: Path, cells: pd.Series, valid: "pd.Series[bool]", expected: str) -> None:
    if not valid.all():
        row = int(np.argmin(valid))
        raise MgcError(
            f"{path}: row {row + 1}: {cells.name} {cells.iloc[row]!r} is not {expected}. Use the "
            "released list."
        )


def _check_tracks(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    for track in rows["track"][rows["track"].duplicated()]:
        raise MgcError(f"{path}: {track!r} is listed twice. Use the released list.")
    return rows


def _read_layer(path: Path, rows: int, width: int, listed: Path) -> np.ndarray:
    try:
        # A memory map compares the shape in the header with the size of the file.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise MgcError(
            f"{path}: not a .npy file of numbers, or truncated. Copy it again."
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim != 2:
        raise MgcError(f"{path}: expected a matrix of floats. Use the released file.")
    if array.shape != (rows, width):
        raise MgcError(
            f"{path}: expected {rows} rows as in {listed}, of {width} numbers, found "
            f"{array.shape[0]} of {array.shape[1]}."
        )
    values = np.array(array, np.float32)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise MgcError(f"{path}: row {row + 1} has NaN or infinite values. Copy it again.")
    return values


def _find_all(folder: str | os.PathLike[str], name: str) -> list[Path]:
    """List the files of a name in a folder and its subfolders."""
    paths = [Path(folder, name), *sorted(Path(folder).glob(f"*/{name}"))]
    return [path for path in paths if path.is_file()]


def _find(folder: str | os.PathLike[str], name: str) -> Path:
    found = _find_all(folder, name)
    if not found:
        raise MgcError(f"{folder}: no file {name}, also not in a subfolder. Copy it there.")
    if len(found) > 1:
        raise MgcError(f"{folder}: both {found[0]} and {found[1]} exist. Keep one of them.")
    return found[0]
