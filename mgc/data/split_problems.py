"""Finds labels that a split cannot train or score.

Does not import PyTorch, so that the processes of transfer experiments start quickly.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mgc.core.checks import shorten
from mgc.task import Task


class SplitProblems(NamedTuple):
    """Reasons why a fit on a split is meaningless, and what cannot be scored."""

    errors: list[str]
    unscored: list[str]
    undefined: list[str]


def find_split_problems(
    train: np.ndarray, parts: Mapping[str, np.ndarray], task: Task, labels: Sequence[str]
) -> SplitProblems:
    """Find labels that cannot be learned or scored.

    Args:
        train: Targets of the training tracks: class indices of shape (tracks,), or values of shape
            (tracks, labels).
        parts: Targets of the validation and test tracks, by name.
        task: Task of the targets.
        labels: Names of the classes, tags or quantities.

    Returns:
        ``errors``: classes that are scored but not trained, or training targets without any
        difference. ``unscored``: labels without a score in a part, as text. ``undefined``: names of
        the parts without any score.
    """
    problems = SplitProblems([], [], [])
    if task == "multiclass":
        trained = np.bincount(train, minlength=len(labels)) > 0
        if trained.sum() == 1:
            only = labels[int(np.argmax(trained))]
            problems.errors.append(f"all training tracks have the class {only!r}")
        for name, targets in parts.items():
            counts = np.bincount(targets, minlength=len(labels))
            for unknown in np.flatnonzero((counts > 0) & ~trained)[:1].tolist():
                problems.errors.append(
                    f"class {labels[unknown]!r} has {counts[unknown]} {name} tracks, but no "
                    "training tracks"
                )
            absent = [labels[i] for i in np.flatnonzero((counts == 0) & trained).tolist()]
            if absent and len(targets):
                problems.unscored.append(f"no {name} tracks of {_list_some(absent, labels)}")
        return problems
    if len(train) and not (train != train[0]).any():
        problems.errors.append(
            "no tag has both training tracks with it and training tracks without it"
            if task == "multilabel"
            else f"all training tracks have the same {shorten(', '.join(labels))}"
        )
    for name, targets in parts.items():
        varied = (targets != targets[:1]).any(axis=0)
        if len(targets) and not varied.all():
            constant = [labels[i] for i in np.flatnonzero(~varied).tolist()]
            who = f"all or none of the {name}" if task == "multilabel" else f"all {name}"
            same = "" if task == "multilabel" else "the same "
            problems.unscored.append(f"{who} tracks have {same}{_list_some(constant, labels)}")
        if len(targets) and not varied.any():
            problems.undefined.append(name)
    return problems


def _list_some(names: Sequence[str], labels: Sequence[str]) -> str:
    if len(names) == 1:
        return repr(names[0])
    some = ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
    return f"{len(names)} of {len(labels)} labels ({some})"
