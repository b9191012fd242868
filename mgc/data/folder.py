"""The user's own music: a folder, or a table of files."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, get_args

import numpy as np
import pandas as pd

from mgc.data import audio
from mgc.data.base import AudioDataModule
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.errors import MgcError
from mgc.task import Task

#: Columns of a table that are no labels.
RESERVED = ("path", "split", "group", "fold", "begin", "end")

#: Between the labels of a cell, as in ``rock|guitar``.
SEPARATOR = "|"

#: What tables call the three parts.
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
    """Music of one's own: sub-folders named by genre, or a table (CSV) of files and labels.

    Without ``table``, every sub-folder of ``root`` is a class and holds audio files, in folders of
    its own if need be: ``jazz/take_five.mp3``.

    A ``table`` has a header line and a column ``path`` (relative to ``root``, or absolute), and

    - multiclass: a column ``label``;
    - multilabel: a column ``labels`` (or ``label``) of labels with ``|`` between them, or a column
      of 0 and 1 for each label;
    - regression: a column of numbers for each quantity.

    Optional columns: ``group`` (tracks that belong together, such as an artist's, never cross a
    split; by default, and in empty cells, the parts of a file), ``split`` (train, val or test;
    empty leaves a track out), ``fold`` (from 0), ``begin`` and ``end`` (seconds, for parts of
    files; an empty ``end`` is the file's). Other columns, such as a title, must not be there unless
    ``labels`` names the ones that count.

    Splits: ``stratified`` (80/10/10 %, balanced over classes), ``fold`` (the table's folds, else
    ``folds`` of them, balanced over classes), both with groups kept together; ``given`` (the
    table's column ``split``).
    """

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
        """Initialize a new data module.

        Args:
            root: Folder with the music.
            table: CSV file of paths and labels, relative to ``root``; by default sub-folders are
                the labels.
            labels: Labels to use, in target order; tracks of other classes are left out. By
                default all that there are, in alphabetical order (columns: in theirs), which
                takes reading the table or the folders' names as soon as they are asked for.
            task: ``multiclass``, ``multilabel`` or ``regression``.
            split: ``stratified``, ``fold`` or ``given``.
            **kwargs: Arguments of :class:`mgc.data.base.AudioDataModule`.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__(root, split=split, **kwargs)
        if task not in get_args(Task):
            raise MgcError(f"task={task!r}: choose one of {', '.join(get_args(Task))}.")
        if table is None and (task != "multiclass" or split == "given"):
            what = f"task={task!r}" if task != "multiclass" else "split='given'"
            raise MgcError(f"{what} needs a table: sub-folders only name classes. Set data.table.")
        if labels is not None and len(set(labels)) != len(labels):
            raise MgcError(f"labels={labels}: every label once.")
        self.task = task
        self.table = None if table is None else self.root / table
        if labels is not None:
            self.labels = tuple(labels)

    @cached_property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override] # read only when asked for
        """Labels in target order, from the constructor, else from the table or folders' names.

        Raises:
            MgcError: If there is no table or folder to read them from.
        """
        if self.table is None:
            self._check_root()
            found = sorted(
                path.name
                for path in self.root.iterdir()
                if path.is_dir() and not path.name.startswith(".") and audio.find_files(path)
            )
        elif self.task == "multiclass":
            found = sorted(set(self._label_column(self._rows, "label")))
        elif self._tags in self._rows:
            found = sorted({label for cell in self._cells() for label in cell})
        else:
            found = [str(column) for column in self._rows if column not in RESERVED]
        if not found:
            raise MgcError(f"{self.table or self.root}: no labels found there.")
        return tuple(found)

    def read_catalogue(self) -> pd.DataFrame:
        """Read the table, or find the files of all sub-folders.

        Returns:
            A row per track (see :meth:`mgc.data.base.MusicDataModule.read_catalogue`).

        Raises:
            MgcError: If the table is missing, lacks a column or holds something unreadable.
        """
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
            # The same names on every system, so that results and splits can be moved.
            names = [path.relative_to(self.root).as_posix() for path, _ in found]
            catalogue["track"] = catalogue["group"] = names
        else:
            catalogue = self._read_targets(self._rows)
        if self.task != "regression":
            self._check_labels(catalogue)
        return catalogue

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Divide the tracks (see :meth:`mgc.data.base.MusicDataModule.assign_split`)."""
        if self.split != "given":
            return super().assign_split(catalogue)
        if "split" not in catalogue:
            raise MgcError(f"{self.table}: split='given' needs a column 'split'.")
        names = catalogue["split"].str.strip().str.lower()
        unknown = sorted(set(names) - {*SPLIT_NAMES, ""})
        if unknown:
            raise MgcError(f"{self.table}: split {unknown[0]!r}: write train, val or test.")
        return names.map({**SPLIT_NAMES, "": ""}).to_numpy(str)

    @cached_property
    def _rows(self) -> pd.DataFrame:
        """Rows of the table, all cells text."""
        if self.table is None or not self.table.is_file():
            raise MgcError(f"{self.table}: no such file. Set data.table to a CSV file.")
        try:
            rows = pd.read_csv(self.table, dtype=str, keep_default_na=False, skipinitialspace=True)
        except (ValueError, OSError) as error:
            raise MgcError(f"{self.table}: cannot be read ({error}).") from error
        if "path" not in rows:
            raise MgcError(f"{self.table}: no column 'path'. The first line names the columns.")
        return rows

    @property
    def _tags(self) -> str:
        """Column with the labels of a track in one cell, under either of its names."""
        return "label" if "label" in self._rows and "labels" not in self._rows else "labels"

    def _read_targets(self, rows: pd.DataFrame) -> pd.DataFrame:
        catalogue = pd.DataFrame({"track": rows["path"]})
        catalogue["path"] = [str(self.root / path) for path in rows["path"]]
        catalogue["group"] = rows["path"]
        if "group" in rows:
            named = rows["group"].str.strip()
            catalogue["group"] = named.where(named != "", rows["path"])
        if "split" in rows:
            catalogue["split"] = rows["split"]
        if "fold" in rows:
            catalogue["fold"] = self._numbers(rows, "fold").astype(int)
        if "begin" in rows or "end" in rows:
            zeros = pd.Series("0", rows.index)
            rows = rows.assign(
                begin=rows.get("begin", zeros).replace("", "0"),
                end=rows.get("end", zeros.replace("0", "")).replace("", "inf"),
            )
            catalogue["begin"] = self._numbers(rows, "begin")
            catalogue["end"] = self._numbers(rows, "end")
            catalogue["track"] += "@" + rows["begin"]
        twice = catalogue.loc[catalogue["track"].duplicated(), "track"]
        if len(twice):
            raise MgcError(f"{self.table}: {twice.iloc[0]} is there twice. Leave one row.")
        if self.task == "multiclass":
            catalogue["label"] = self._label_column(rows, "label")
            return catalogue[catalogue["label"].isin(list(self.labels))].reset_index(drop=True)
        if self.task == "multilabel" and self._tags in rows:
            cells = self._cells()
            columns = {label: [float(label in cell) for cell in cells] for label in self.labels}
        else:
            columns = {label: self._numbers(rows, label).tolist() for label in self.labels}
        for label, values in columns.items():
            if self.task == "multilabel" and not set(values) <= {0.0, 1.0}:
                raise MgcError(f"{self.table}: column {label!r} holds more than 0 and 1.")
            catalogue[f"target.{label}"] = values
        return catalogue

    def _check_labels(self, catalogue: pd.DataFrame) -> None:
        """A label that no track has is a slip of the pen, and nothing can be learned about it."""
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

    def _cells(self) -> list[list[str]]:
        """Labels of each track."""
        cells: Sequence[str] = self._rows[self._tags].tolist()
        return [[label.strip() for label in c.split(SEPARATOR) if label.strip()] for c in cells]

    def _label_column(self, rows: pd.DataFrame, name: str) -> pd.Series:
        if name not in rows:
            raise MgcError(f"{self.table}: task={self.task!r} needs a column {name!r}.")
        column = rows[name].str.strip()
        if (column == "").any():
            path = rows.loc[column == "", "path"].iloc[0]
            raise MgcError(f"{self.table}: {path} has no label. Add it or remove the row.")
        several = column.str.contains(SEPARATOR, regex=False)
        if several.any():
            raise MgcError(
                f"{self.table}: {column[several].iloc[0]!r} is several labels. "
                "Set data.task to multilabel."
            )
        return column

    def _numbers(self, rows: pd.DataFrame, name: str) -> pd.Series:
        if name not in rows:
            raise MgcError(f"{self.table}: no column {name!r}.")
        numbers = pd.to_numeric(rows[name], errors="coerce")
        if numbers.isna().any():
            cell, path = rows.loc[numbers.isna(), [name, "path"]].iloc[0]
            raise MgcError(
                f"{self.table}: {cell!r} of {path} in column {name!r} is no number. Correct it, or "
                "name the columns of labels in data.labels."
            )
        return numbers
