"""Corrects the catalogue of a data set: excludes and relabels tracks that a table lists.

The tables are CSV files such as ``labels.csv`` of ``mgc report labels``, after a person has edited
it. Splits are drawn before, so that corrections move no track to another split.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mgc.core.checks import shorten
from mgc.core.csv import read_csv
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.errors import MgcError

log = logging.getLogger(__name__)

#: Column that marks the tracks to exclude, and its values.
MARK = "exclude"
YES, NO = ("yes", "true", "1", "x"), ("", "no", "false", "0")

#: Separates the labels of a cell, as in ``rock|guitar``.
LABEL_SEPARATOR = "|"


def correct(data: Any, catalogue: pd.DataFrame, report: bool = False) -> pd.DataFrame:
    """Exclude and relabel tracks as ``data.exclude`` and ``data.relabel`` say.

    Args:
        data: A :class:`mgc.data.base.MusicDataModule`.
        catalogue: Its catalogue, with a column ``split``.
        report: Whether to log the number of corrected tracks.

    Returns:
        The catalogue with new labels, and an empty ``split`` for excluded tracks.

    Raises:
        MgcError: If a file cannot be read, or has an unknown track or label.
    """
    corrected = catalogue.copy()
    done: dict[str, tuple[str, pd.Series]] = {}
    excluded = pd.Series(False, catalogue.index)
    tracks = catalogue["track"].astype(str)
    if data.exclude is not None:
        excluded = tracks.isin(_read_excluded(data, tracks))
        corrected["split"] = catalogue["split"].where(~excluded, "")
        done["excluded"] = (data.exclude, catalogue["split"][excluded])
    if data.relabel is not None:
        changed = _relabel(data, corrected, tracks) & ~excluded
        done["relabelled"] = (data.relabel, catalogue["split"][changed])
    if report:
        for verb, (path, splits) in done.items():
            _log(verb, path, splits)
    if not (corrected["split"] != "").any():
        raise MgcError(f"{data.exclude}: excludes all tracks of {data.root}.")
    return corrected


def _log(verb: str, path: str, splits: pd.Series) -> None:
    counts = {name: int((splits == name).sum()) for name in (TRAIN, VAL, TEST)}
    sizes = ", ".join(f"{count} {name}" for name, count in counts.items())
    total = sum(counts.values())
    level = logging.INFO if total else logging.WARNING
    log.log(level, "%s: %d tracks %s (%s).", path, total, verb, sizes)
    if counts[TEST]:
        bias = ", and excluding tracks that models get wrong raises them" * (verb == "excluded")
        log.warning(
            "%s: %d test tracks are %s. Test scores cannot be compared with those of other runs%s.",
            path, counts[TEST], verb, bias,
        )  # fmt: skip


def _read_excluded(data: Any, tracks: pd.Series) -> set[str]:
    rows = _read(data, data.exclude, "exclude", ("track",))
    if MARK in rows:
        marks = rows[MARK].str.strip().str.lower()
        for track, mark in zip(rows["track"], marks, strict=True):
            if mark not in (*YES, *NO):
                raise MgcError(
                    f"{data.exclude}: track {track!r} has {mark!r} in the column {MARK}; expected "
                    "yes, no or nothing."
                )
        rows = rows[marks.isin(YES)]
    _check_known(data, data.exclude, rows["track"], tracks)
    return set(rows["track"])


def _relabel(data: Any, catalogue: pd.DataFrame, tracks: pd.Series) -> pd.Series:
    """Change the labels of a catalogue in place; return which tracks have another label."""
    if data.task == "regression" or not data.labels:
        raise MgcError(f"{data.relabel}: relabel is for classes and tags, which the data lack.")
    rows = _read(data, data.relabel, "relabel", ("track", "label"))
    _check_known(data, data.relabel, rows["track"], tracks)
    rows = rows.drop_duplicates(["track", "label"])
    twice = rows["track"].duplicated()
    if twice.any():
        track = rows["track"][twice].iloc[0]
        raise MgcError(f"{data.relabel}: track {track!r} has two labels. Remove one line.")
    new = rows.set_index("track")["label"]
    places = pd.Index(tracks).get_indexer(new.index)
    changed = np.zeros(len(catalogue), bool)
    if data.task == "multiclass":
        new = pd.Series({track: _find_label(data, track, cell) for track, cell in new.items()})
        labels = catalogue["label"].to_numpy(object, copy=True)
        changed[places] = labels[places] != new.to_numpy(object)
        labels[places] = new.to_numpy(object)
        catalogue["label"] = labels
    else:
        columns = [f"target.{label}" for label in data.labels]
        given = catalogue[columns].to_numpy(np.float64, copy=True)
        for place, (track, cell) in zip(places, new.items(), strict=True):
            words = [word for word in cell.split(LABEL_SEPARATOR) if word.strip()]
            tags = {_find_label(data, track, word) for word in words}
            wanted = np.array([label in tags for label in data.labels])
            differ = wanted != (given[place] > 0.5)
            given[place, differ] = wanted[differ]
            changed[place] = differ.any()
        catalogue[columns] = given
    return pd.Series(changed, catalogue.index)


def _read(data: Any, path: str, setting: str, columns: tuple[str, ...]) -> pd.DataFrame:
    if not Path(path).exists():
        raise MgcError(f"{path}: no such file. Set data.{setting} to a CSV file.")
    rows = read_csv(path, text=("track", "label", MARK))
    for column in columns:
        if column not in rows:
            raise MgcError(f"{path}: data.{setting} needs a column {column!r}.")
    return rows


def _check_known(data: Any, path: str, given: pd.Series, tracks: pd.Series) -> None:
    unknown = given[~given.isin(tracks)]
    if len(unknown):
        raise MgcError(
            f"{path}: {data.root} has no track {unknown.iloc[0]!r} ({len(unknown)} such tracks), "
            f"only tracks such as {tracks.iloc[0]!r}. Remove the lines or check data.root."
        )


def _find_label(data: Any, track: Any, text: str) -> str:
    """Return the label that a cell names, with or without spaces around it."""
    label = text if text in data.labels else text.strip()
    if label not in data.labels:
        raise MgcError(
            f"{data.relabel}: track {track!r} has the label {label!r}; expected "
            f"{shorten(', '.join(data.labels))}."
        )
    return label
