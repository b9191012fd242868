"""Data set of your own music, in folders or listed in a table."""

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mgc.core.csv import read_text_csv
from mgc.data import audio
from mgc.data.base import AudioDataModule
from mgc.data.corrections import LABEL_SEPARATOR
from mgc.data.identical import file_identity, group_identical_files
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.data.store import STORES
from mgc.errors import MgcError
from mgc.task import Task

log = logging.getLogger(__name__)

#: Columns of a table that are not labels.
NON_LABEL_COLUMNS = ("path", "split", "group", "fold", "begin", "end")

#: Names of the splits in a table.
SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "dev": VAL,
    "test": TEST,
}


class Folder(AudioDataModule):
    """Your own music: sub-folders named by genre, or a table (CSV) of files and labels.

    Without ``table``, each sub-folder of ``root`` is a class and contains audio files, directly or
    in further folders: ``jazz/take_five.mp3``.

    A ``table`` has a header line and a column ``path`` (relative to ``root``, or absolute), and

    - multiclass: a column ``label``;
    - multilabel: a column ``labels`` (or ``label``) of labels separated by ``|``, or a column of 0
      and 1 per label;
    - regression: a column of numbers per quantity.

    Optional columns: ``group`` (tracks to keep in one split, such as an artist's; by default, and
    in empty cells, the file), ``split`` (train, val or test; an empty cell excludes the track),
    ``fold`` (from 0), ``begin`` and ``end`` (in seconds, for excerpts of files; an empty ``end`` is
    the end of the file). With other columns, such as a title, set ``labels`` to name the columns of
    labels.

    Args:
        root: Folder with the music.
        table: CSV file of paths and labels, relative to ``root``; by default sub-folders are the
            labels.
        labels: Labels to use, in target order; tracks of other classes are excluded. By default all
            labels in alphabetical order, or the table's label columns in their order, which
            requires reading the table or the folder names.
        split: ``stratified`` (80/10/10 %) and ``fold`` (the table's folds, else ``folds`` random
            ones) balance the classes and keep groups together; ``given`` is the table's column
            ``split``.
    """

    # Times in tables may be rounded. A larger difference is an error in the table.
    end_tolerance = 0.1
    splits = ("stratified", "fold", "given")
    given_splits = ("given",)

    def __init__(
        self,
        root: str = "data/music",
        table: str | None = None,
        labels: list[str] | None = None,
        task: Task = "multiclass",
        split: str = "stratified",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, split=split, **kwargs)
        if table is None and (task != "multiclass" or split == "given"):
            what = f"task={task!r}" if task != "multiclass" else "split='given'"
            raise MgcError(f"{what} needs a table, sub-folders only name classes. Set data.table.")
        if labels is not None and len(set(labels)) != len(labels):
            raise MgcError(f"labels={labels}: labels must be unique.")
        self.task = task
        self.table = None if table is None else self.root / table
        if labels is not None:
            self.labels = tuple(labels)

    @cached_property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override] # read lazily
        """Labels in target order, from the constructor, else from the table or the folder names.

        Raises:
            MgcError: If there is no table or folder to read them from.
        """
        if self.table is None:
            self._check_root()
            folders = [path for path in sorted(self.root.iterdir()) if path.is_dir()]
            folders = [p for p in folders if not p.name.startswith(".") and p.name != STORES]
            found = [path.name for path in folders if audio.find_files(path)]
            for path in folders:
                if path.name not in found:
                    log.warning("%s: no audio files, so it is no class.", path)
        elif self.task == "multiclass":
            found = sorted(set(self._label_column(self._rows, "label")))
        elif self._tags_column in self._rows:
            found = sorted({label for cell in self._split_cells() for label in cell})
        else:
            found = [str(column) for column in self._rows if column not in NON_LABEL_COLUMNS]
        if not found:
            raise MgcError(
                f"{self.table or self.root}: no labels found. Check data.root and data.table."
            )
        return tuple(found)

    def read_catalogue(self) -> pd.DataFrame:
        """Read the table, or find the files of all sub-folders."""
        if self.table is None:
            found = [
                (path, label)
                for label in self.labels
                for path in audio.find_files(self.root / label)
            ]
            catalogue = pd.DataFrame(
                [{"path": str(path), "label": label} for path, label in found],
                columns=["path", "label"],
            )
            # Names are the same on every system, so that results and splits can be moved.
            names = [path.relative_to(self.root).as_posix() for path, _ in found]
            catalogue["track"] = catalogue["group"] = names
        else:
            catalogue = self._read_targets(self._rows)
        if self.task != "regression":
            self._check_labels(catalogue)
        return group_identical_files(catalogue)

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Assign a split to each track, from the table with ``split='given'``."""
        if self.split != "given":
            return super().assign_split(catalogue)
        if "split" not in catalogue:
            raise MgcError(f"{self.table}: split='given' needs a column 'split'.")
        names = catalogue["split"].str.strip().str.lower()
        unknown = sorted(set(names) - {*SPLIT_NAMES, ""})
        if unknown:
            raise MgcError(f"{self.table}: unknown split {unknown[0]!r}. Use train, val or test.")
        return names.map({**SPLIT_NAMES, "": ""}).to_numpy(str)

    @cached_property
    def _rows(self) -> pd.DataFrame:
        """Rows of the table, with all cells as text."""
        if self.table is None or not self.table.is_file():
            raise MgcError(f"{self.table}: no such file. Set data.table to a CSV file.")
        try:
            names = read_text_csv(self.table, header=None, nrows=1, skipinitialspace=True)
            rows = read_text_csv(self.table, skipinitialspace=True)
            exact = read_text_csv(self.table)
        except (ValueError, OSError) as error:
            raise MgcError(f"{self.table}: unreadable ({error}).") from error
        header = names.iloc[0]
        twice = header[header.duplicated() & (header != "")]
        if len(twice):
            raise MgcError(f"{self.table}: two columns are named {twice.iloc[0]!r}. Rename one.")
        nameless = [column for column in rows if str(column).startswith("Unnamed: ")]
        if nameless:
            log.warning("%s: ignored a column without a name (possibly an index).", self.table)
            rows = rows.drop(columns=nameless)
        if "path" not in rows:
            raise MgcError(f"{self.table}: no column 'path'. The first line must name the columns.")
        # A space after a comma may be part of a file name.
        begins = "path" in exact and exact["path"].str.startswith(" ")
        for row in np.flatnonzero(begins):
            if (self.root / exact["path"].iloc[row]).exists():
                rows.loc[row, "path"] = exact["path"].iloc[row]
        return rows

    @property
    def _tags_column(self) -> str:
        """Name of the column with all labels of a track."""
        return "label" if "label" in self._rows and "labels" not in self._rows else "labels"

    def _read_targets(self, rows: pd.DataFrame) -> pd.DataFrame:
        catalogue = pd.DataFrame({"track": rows["path"]})
        catalogue["path"] = [str(self.root / path) for path in rows["path"]]
        # Different paths or links to the same file count as one file.
        files = pd.Series([file_identity(path) for path in catalogue["path"]], rows.index)
        catalogue["group"] = rows["path"].groupby(files).transform("first")
        if "group" in rows:
            named = rows["group"].str.strip()
            catalogue["group"] = named.where(named != "", catalogue["group"])
        if "split" in rows:
            catalogue["split"] = rows["split"]
        if "fold" in rows:
            catalogue["fold"] = self._fold_column(rows)
        if "begin" in rows or "end" in rows:
            zeros = pd.Series("0", rows.index)
            rows = rows.assign(
                begin=rows.get("begin", zeros).replace("", "0"),
                end=rows.get("end", zeros.replace("0", "")).replace("", "inf"),
            )
            catalogue["begin"] = self._number_column(rows, "begin")
            catalogue["end"] = self._number_column(rows, "end")
            catalogue["track"] += "@" + rows["begin"]
            self._check_excerpts(rows, catalogue)
        same = pd.DataFrame({"file": files, "begin": catalogue.get("begin", 0)}).duplicated()
        if same.any():
            first = files == files[same].iloc[0]
            names = " and ".join(catalogue.loc[first, "track"].unique()[:2])
            raise MgcError(f"{self.table}: {names} is listed twice. Remove one row.")
        if self.task == "multiclass":
            catalogue["label"] = self._label_column(rows, "label")
            return catalogue[catalogue["label"].isin(list(self.labels))].reset_index(drop=True)
        if self.task == "multilabel" and self._tags_column in rows:
            cells = self._split_cells()
            columns = {label: [float(label in cell) for cell in cells] for label in self.labels}
        else:
            columns = {label: self._number_column(rows, label).tolist() for label in self.labels}
        for label, values in columns.items():
            if self.task == "multilabel" and not set(values) <= {0.0, 1.0}:
                raise MgcError(f"{self.table}: column {label!r} must contain only 0 and 1.")
            catalogue[f"target.{label}"] = values
        return catalogue

    def _check_excerpts(self, rows: pd.DataFrame, catalogue: pd.DataFrame) -> None:
        wrong = ~((catalogue["begin"] >= 0) & (catalogue["begin"] < catalogue["end"]))
        if wrong.any():
            path, begin, end = rows.loc[wrong, ["path", "begin", "end"]].iloc[0]
            raise MgcError(
                f"{self.table}: {path} has begin={begin} and end={end}. It must begin at 0 or "
                "later and end after it begins."
            )

    def _fold_column(self, rows: pd.DataFrame) -> pd.Series:
        folds = self._number_column(rows, "fold")
        wrong = ~((folds >= 0) & (folds % 1 == 0))
        if wrong.any():
            cell, path = rows.loc[wrong, ["fold", "path"]].iloc[0]
            raise MgcError(
                f"{self.table}: fold {cell!r} of {path} is not a whole number, 0 or more."
            )
        return folds.astype(int)

    def _check_labels(self, catalogue: pd.DataFrame) -> None:
        """Raise an error for a label without tracks, which is probably misspelled."""
        for label in self.labels:
            if self.task == "multiclass":
                present = bool((catalogue["label"] == label).any())
            else:
                present = bool((catalogue[f"target.{label}"] == 1).any())
            if not present:
                raise MgcError(
                    f"{self.table or self.root}: no track has the label {label!r}. "
                    "Correct data.labels."
                )

    def _split_cells(self) -> list[list[str]]:
        """Return the labels of each track."""
        cells: Sequence[str] = self._rows[self._tags_column].tolist()
        return [
            [label.strip() for label in c.split(LABEL_SEPARATOR) if label.strip()] for c in cells
        ]

    def _label_column(self, rows: pd.DataFrame, name: str) -> pd.Series:
        if name not in rows:
            raise MgcError(f"{self.table}: task={self.task!r} needs a column {name!r}.")
        column = rows[name].str.strip()
        if (column == "").any():
            path = rows.loc[column == "", "path"].iloc[0]
            raise MgcError(f"{self.table}: {path} has no label. Add it or remove the row.")
        several = column.str.contains(LABEL_SEPARATOR, regex=False)
        if several.any():
            raise MgcError(
                f"{self.table}: {column[several].iloc[0]!r} has several labels. "
                "Set data.task to multilabel."
            )
        return column

    def _number_column(self, rows: pd.DataFrame, name: str) -> pd.Series:
        if name not in rows:
            raise MgcError(f"{self.table}: no column {name!r}.")
        numbers = pd.to_numeric(rows[name], errors="coerce")
        if numbers.isna().any():
            cell, path = rows.loc[numbers.isna(), [name, "path"]].iloc[0]
            raise MgcError(
                f"{self.table}: {cell!r} of {path} in column {name!r} is not a number. Correct it, "
                "or set data.labels to the columns of labels."
            )
        return numbers
