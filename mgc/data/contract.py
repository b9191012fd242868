"""Checks what a data module provides. The only definition of its contract.

``data`` is a :class:`mgc.data.base.MusicDataModule`. Messages name its class, and its package if
it is a plugin's.
"""

import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
import pandas as pd
from torch import Tensor

from mgc.core.checks import describe_value, shorten
from mgc.core.plugins import name_class
from mgc.core.ranges import SampleRate
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.data.verification import Problem
from mgc.errors import ContractError, MgcError
from mgc.task import Task

#: Maximum number of samples of a clip, which is more than a day at 16 kHz.
MAX_CLIP_SAMPLES = 2**31 - 1


def check_constructed(data: Any) -> None:
    """Raise a ``ContractError`` if a constructor did not call that of the base class."""
    _require(data, hasattr(data, "datasets"), "its constructor does not call super().__init__()")


def check_labels(data: Any) -> tuple[str, ...]:
    """Check labels, task, sample rate and clip length of a data module.

    Returns:
        The labels.

    Raises:
        ContractError: If one of them is invalid.
    """
    labels: Any = data.labels
    valid = isinstance(labels, tuple | list) and all(isinstance(x, str) and x for x in labels)
    _require(data, valid, f"labels is {shorten(labels)}; expected a tuple of names")
    twice = [label for label in labels if labels.count(label) > 1]
    _require(data, not twice, f"labels has duplicate names: {shorten(twice[0] if twice else '')}")
    tasks = get_args(Task)
    _require(data, data.task in tasks, f"task is {data.task!r}; expected one of {', '.join(tasks)}")
    if data.kind == "audio":
        (rates,) = get_args(SampleRate)[1:]
        rate: Any = data.sample_rate
        _require(
            data,
            isinstance(rate, Real) and rate in rates,
            f"sample_rate is {rate!r}; expected {rates.minimum} to {rates.maximum} Hz",
        )
        for name in ("clip_samples", "hop_samples"):
            samples = getattr(data, name, 1)
            _require(
                data,
                isinstance(samples, Integral) and 1 <= int(samples) <= MAX_CLIP_SAMPLES,
                f"{name} is {samples!r}; expected a whole number from 1 to {MAX_CLIP_SAMPLES}",
            )
    return tuple(labels)


def check_catalogue(data: Any, catalogue: Any) -> pd.DataFrame:
    """Check what ``read_catalogue`` returned.

    Raises:
        MgcError: If it has no tracks.
        ContractError: If columns are missing, or have missing, duplicate or invalid values.
    """
    method = "read_catalogue returned"
    _require(
        data,
        isinstance(catalogue, pd.DataFrame),
        f"{method} {describe_value(catalogue)}; expected a DataFrame with a row per track",
    )
    columns = catalogue.columns
    _require(data, columns.is_unique, f"{method} two columns named {_first(columns)!r}")
    if catalogue.empty and len(columns):
        raise MgcError(
            f"{data.root}: no tracks of {name_class(data)} found. Check the folder of the data set."
        )
    labels = check_labels(data)
    needed = ["track", "group", *(["path"] if data.kind == "audio" else [])]
    targets = []
    if labels and data.task == "multiclass":
        needed.append("label")
    elif labels:
        targets = [f"target.{label}" for label in labels]
    for column in (*needed, *targets):
        _require(
            data,
            column in catalogue,
            f"{method} no column {column!r}; expected {', '.join(needed + targets[:1])}",
        )
        missing = catalogue[column].isna()
        _require(data, not missing.any(), f"{method} no {column} for {_track(catalogue, missing)}")
    twice = catalogue["track"].duplicated(keep=False)
    _require(
        data,
        not twice.any(),
        f"{method} {twice.sum()} rows for {_track(catalogue, twice)}; expected one per track",
    )
    if data.kind == "audio":
        wrong = ~catalogue["path"].map(lambda path: isinstance(path, str | os.PathLike))
        _require(data, not wrong.any(), f"{method} no path for {_track(catalogue, wrong)}")
    if labels and data.task == "multiclass":
        unknown = ~catalogue["label"].isin(list(labels))
        label = _first(catalogue["label"][unknown])
        _require(
            data,
            not unknown.any(),
            f"{method} the label {label!r} for {_track(catalogue, unknown)}; expected one of "
            f"{shorten(', '.join(labels))}",
        )
    low, high = (0, 1) if data.task == "multilabel" else (-np.inf, np.inf)
    for column in targets:
        _check_numbers(data, catalogue, column, lambda x: np.isfinite(x) & (x >= low) & (x <= high))
    if {"begin", "end"} <= set(columns):
        _check_numbers(data, catalogue, "begin", np.isfinite)
        _check_numbers(data, catalogue, "end", lambda x: ~np.isnan(x))
    if "fold" in catalogue:
        _check_numbers(data, catalogue, "fold", lambda x: (x >= 0) & (x % 1 == 0))
    return catalogue


def check_splits(data: Any, catalogue: pd.DataFrame, splits: Any) -> np.ndarray:
    """Check what ``assign_split`` returned for a catalogue.

    Raises:
        ContractError: If it is not a split per track, or a group is in several splits.
    """
    method = "assign_split returned"
    known = (TRAIN, VAL, TEST, "")
    _require(
        data,
        isinstance(splits, Sequence | np.ndarray | pd.Series) and len(splits) == len(catalogue),
        f"{method} {describe_value(splits)}; expected a split for each of {len(catalogue)} tracks",
    )
    wrong = [split for split in set(splits) if not (isinstance(split, str) and split in known)]
    _require(
        data,
        not wrong,
        f"{method} the split {shorten(wrong[:1])}; expected train, val or test, or an empty string",
    )
    array = np.asarray(splits)
    if data.split not in (*data.given_splits, *data.ungrouped_splits):
        used = array != ""
        counts = pd.Series(array[used]).groupby(catalogue["group"].to_numpy()[used]).nunique()
        _require(
            data,
            not (counts > 1).any(),
            f"{method} several splits for the group {_first(counts.index[counts > 1])!r} "
            f"(split={data.split!r}); expected the tracks of a group in one split",
        )
    return array


def check_tracks(data: Any) -> None:
    """Check the ``tracks`` and ``targets()`` of a data module after ``setup``.

    Raises:
        ContractError: If they are missing or invalid.
    """
    tracks = getattr(data, "tracks", None)
    valid = isinstance(tracks, pd.DataFrame) and {"track", "split"} <= set(tracks)
    _require(
        data,
        valid,
        f"setup left tracks {describe_value(tracks)}; expected a DataFrame with track and split",
    )


def check_targets(data: Any, targets: Any) -> Tensor:
    """Check what ``targets`` returned.

    Raises:
        ContractError: If it is not a class index, or a value per label, for each track.
    """
    rows, count = len(data.tracks), len(data.labels)
    multiclass = data.task == "multiclass" and count > 0
    shape = (rows,) if multiclass else (rows, count)
    wanted = "class indices" if multiclass else "floating-point values"
    _require(
        data,
        isinstance(targets, Tensor)
        and tuple(targets.shape) == shape
        and targets.is_floating_point() != multiclass
        and (not multiclass or bool(((targets >= 0) & (targets < count)).all())),
        f"targets returned {describe_value(targets)}; expected {wanted} of shape {shape}"
        + (f" below {count}" if multiclass else ""),
    )
    return targets


def check_batch(data: Any, batch: Any, stage: str) -> None:
    """Check a batch of a data module's loader.

    Raises:
        ContractError: If it lacks a tensor, or one has another type or shape.
    """
    place = f"a {stage} batch"
    _require(
        data, isinstance(batch, dict), f"{place} is {describe_value(batch)}; expected a dictionary"
    )
    needed = ["track"] + ["audio"] * (data.kind == "audio") + ["target"] * bool(data.labels)
    for name in needed:
        value = batch.get(name)
        _require(
            data,
            isinstance(value, Tensor) and value.ndim > 0,
            f"{place} has {describe_value(value)} as {name!r}; expected a tensor with a row per "
            "clip",
        )
    track, target, audio = (batch.get(name) for name in ("track", "target", "audio"))
    rows = len(track)
    _require(
        data,
        track.ndim == 1
        and not track.is_floating_point()
        and bool(((track >= -1) & (track < len(data.tracks))).all()),
        f"{place} has {describe_value(track)} as 'track'; expected indices of shape (batch,) into "
        f"the {len(data.tracks)} tracks",
    )
    if "audio" in needed:
        _require(
            data,
            audio.ndim == 2 and audio.is_floating_point() and len(audio) == rows,
            f"{place} has {describe_value(audio)} as 'audio'; expected floating-point values of "
            f"shape ({rows}, samples)",
        )
    if "target" in needed:
        count = len(data.labels)
        multiclass = data.task == "multiclass"
        shape = (rows,) if multiclass else (rows, count)
        known = target[track >= 0] if len(target) == rows else target
        _require(
            data,
            tuple(target.shape) == shape
            and (
                not multiclass
                or (not target.is_floating_point() and bool(((known >= 0) & (known < count)).all()))
            ),
            f"{place} has {describe_value(target)} as 'target'; expected "
            f"{f'class indices below {count}' if multiclass else 'values'} of shape {shape}",
        )


def check_problems(data: Any, problems: Any) -> None:
    """Raise a ``ContractError`` if ``verify`` did not return a list of problems."""
    valid = isinstance(problems, list) and all(isinstance(p, Problem) for p in problems)
    _require(data, valid, f"verify returned {describe_value(problems)}; expected a list of Problem")


def require_type(data: Any, value: Any, kind: type, method: str, wanted: str) -> None:
    """Raise a ``ContractError`` if a method of a data module returned another type."""
    _require(
        data,
        isinstance(value, kind),
        f"{method} returned {describe_value(value)}; expected {wanted}",
    )


def _check_numbers(
    data: Any,
    catalogue: pd.DataFrame,
    column: str,
    valid: Callable[[np.ndarray], np.ndarray],
) -> None:
    numbers = pd.to_numeric(catalogue[column], errors="coerce").to_numpy(np.float64)
    wrong = ~valid(numbers)
    value = _first(catalogue[column][wrong])
    _require(
        data,
        not wrong.any(),
        f"read_catalogue returned {value!r} as {column} of {_track(catalogue, wrong)}; expected "
        f"a number in the valid range",
    )


def _require(data: object, condition: Any, problem: str) -> None:
    if not condition:
        raise ContractError(f"{name_class(data)}: {problem}.")


def _first(values: Any) -> Any:
    """Return the first value, or the first duplicate of an index of columns."""
    if isinstance(values, pd.Index) and values.has_duplicates:
        values = values[values.duplicated()]
    return next(iter(values), None)


def _track(catalogue: pd.DataFrame, rows: Any) -> str:
    """Name the first of the given rows."""
    if not np.any(rows):
        return ""
    return f"track {_first(catalogue['track'][rows])!r}"
