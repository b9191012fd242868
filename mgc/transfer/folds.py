"""Plans the training and test tracks of a transfer experiment.

A :class:`FoldPlan` lists the fits of an experiment. Two protocols use their scores:

* ``paper``: every setting is fitted on each training fold and scored on its test fold. The best
  mean over the test folds is reported, so the test folds choose the settings.
* ``nested``: settings are chosen by scores within the training fold.

In cross-validation, the inner folds of an outer fold are the other outer folds. A fit on all folds
but ``i`` and ``j`` is scored on ``j`` for outer fold ``i``, and on ``i`` for outer fold ``j``. This
halves the number of fits, and inner folds respect given folds and groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, StratifiedKFold

from mgc.data.splits import assign_folds
from mgc.errors import MgcError

DEFAULT_FOLDS = 10  # Choi et al. (2017), section 4.1


class Evaluation(NamedTuple):
    """Indices of a fit in :attr:`FoldPlan.fits` and of one of its ``tests``."""

    fit: int
    part: int


@dataclass
class Fit:
    """Row numbers of the training tracks, and of one or more sets of test tracks."""

    train: np.ndarray
    tests: list[np.ndarray]


@dataclass
class FoldPlan:
    """Fits of an experiment, and the evaluations of each protocol.

    Attributes:
        description: How the folds were made, for reports.
        folds: Number of each outer fold, from 0 or as given; None for a given split.
        fits: All fits.
        paper: Test folds of the ``paper`` protocol.
        nested: Test folds of the ``nested`` protocol.
        inner: Evaluations used to choose the settings for each nested test fold.
        validation: For each nested test fold, the inner evaluation that gives validation results:
            the next fold, or the validation tracks of a split. Empty if a split has none.
        seed: Seed of the folds.
    """

    description: str
    folds: list[int | None] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)
    paper: list[Evaluation] = field(default_factory=list)
    nested: list[Evaluation] = field(default_factory=list)
    inner: list[list[Evaluation]] = field(default_factory=list)
    validation: list[Evaluation] = field(default_factory=list)
    seed: int = 0

    def add(self, train: np.ndarray, *tests: np.ndarray) -> int:
        """Add a fit and return its index."""
        self.fits.append(Fit(train, list(tests)))
        return len(self.fits) - 1


def make_plan(
    tracks: pd.DataFrame,
    classes: np.ndarray | None,
    labels: Sequence[str],
    *,
    folds: int | None = None,
    seed: int | None = None,
    inner_folds: int | None = None,
    nested: bool = True,
) -> FoldPlan:
    """Plan the fits for a table of tracks.

    Args:
        tracks: ``group``, ``split`` and ``fold`` of each track, null if the dataset defines none.
        classes: Class index of each track; None if folds cannot be stratified.
        labels: Names of the classes.
        folds: Number of folds to make. Default: the given folds, else the given split, else ten
            folds.
        seed: Seed for shuffling the tracks before making folds. By default, folds follow the order
            of the table, as in Choi et al. (2017).
        inner_folds: Number of other folds used to choose the settings for a test fold, rounded up
            to an even number. Default: all.
        nested: Whether to plan the nested protocol as well.

    Raises:
        MgcError: If the tracks cannot be split this way.
    """
    if folds is None and tracks["fold"].notna().any():
        if tracks["fold"].isna().any():
            track = tracks["track"][tracks["fold"].isna()].iloc[0]
            raise MgcError(f"Track {track!r} has no fold, but other tracks do. Use --folds N.")
        numbers = tracks["fold"].to_numpy(int)
        plan = FoldPlan("given folds")
        _cross_validate(plan, numbers, paper=True, nested=nested, inner_folds=inner_folds)
    elif folds is None and tracks["split"].notna().any():
        plan = _plan_split(tracks, classes, labels, seed, nested)
    else:
        plan = _plan_folds(
            tracks, classes, labels, folds or DEFAULT_FOLDS, seed, inner_folds, nested
        )
    _check_classes(plan, classes, labels)
    plan.seed = seed or 0
    return plan


def plan_like(
    tracks: pd.DataFrame,
    test: pd.DataFrame,
    validation: pd.DataFrame,
    classes: np.ndarray | None,
    labels: Sequence[str],
    *,
    nested: bool = True,
) -> FoldPlan:
    """Plan the fits for the folds of an existing cross-validation.

    Each test fold is predicted by a fit on all other tracks. The settings are chosen on the fold's
    validation tracks, by a fit without them. The results can therefore be compared and fused with
    those of the cross-validation.

    Args:
        tracks: Tracks to plan for.
        test: ``track``, ``seed`` and ``fold`` of the cross-validation's test tracks.
        validation: ``track``, ``seed`` and ``fold`` of its validation tracks.
        classes: Class index of each track; None if there are no classes.
        labels: Names of the classes.
        nested: Whether to plan the nested protocol as well.

    Raises:
        MgcError: If the results are not those of a cross-validation with one seed, or ``tracks``
            lacks some of their tracks.
    """
    if "seed" not in test or "seed" not in validation:
        raise MgcError("--folds_of expects the output folder of mgc crossval.")
    seeds = test["seed"].unique()
    if len(seeds) > 1:
        raise MgcError(f"--folds_of needs a cross-validation with one seed, not {len(seeds)}.")
    plan = FoldPlan(f"{test['fold'].nunique()} folds of a cross-validation", seed=int(seeds[0]))
    row = pd.Series(np.arange(len(tracks)), index=tracks["track"])
    for part in (test, validation):
        missing = part["track"][~part["track"].isin(row.index)]
        if len(missing):
            raise MgcError(
                f"--folds_of: the feature table lacks {len(missing)} of its tracks, for example "
                f"{missing.iloc[0]!r}. Extract features of all tracks."
            )
    for fold in np.unique(test["fold"].to_numpy(int)):
        tested = np.sort(row[test["track"][test["fold"] == fold]].to_numpy())
        validated = np.sort(row[validation["track"][validation["fold"] == fold]].to_numpy())
        others = np.setdiff1d(np.arange(len(tracks)), tested)
        evaluation = Evaluation(plan.add(others, tested), 0)
        plan.folds.append(int(fold))
        plan.paper.append(evaluation)
        if nested:
            plan.nested.append(evaluation)
            inner = Evaluation(plan.add(np.setdiff1d(others, validated), validated), 0)
            plan.inner.append([inner])
            plan.validation.append(inner)
    _check_classes(plan, classes, labels)
    return plan


def _plan_folds(
    tracks: pd.DataFrame,
    classes: np.ndarray | None,
    labels: Sequence[str],
    folds: int,
    seed: int | None,
    inner_folds: int | None,
    nested: bool,
) -> FoldPlan:
    numbers = make_folds(classes, len(tracks), labels, folds, seed)
    stratified = "" if classes is None else "stratified "
    order = "in the order of the table" if seed is None else f"shuffled with seed {seed}"
    plan = FoldPlan(f"{folds} {stratified}folds, {order}")
    shared = tracks["group"].notna() & tracks["group"].duplicated(keep=False)
    if not shared.any():
        _cross_validate(plan, numbers, paper=True, nested=nested, inner_folds=inner_folds)
        return plan
    _cross_validate(plan, numbers, paper=True, nested=False, inner_folds=None)
    if nested:
        grouped = _make_group_folds(tracks, classes, folds, seed)
        plan.description += f"; nested: {folds} {stratified}folds that keep groups together"
        _cross_validate(plan, grouped, paper=False, nested=True, inner_folds=inner_folds)
    return plan


def make_folds(
    classes: np.ndarray | None, count: int, labels: Sequence[str], folds: int, seed: int | None
) -> np.ndarray:
    """Return the fold of each of ``count`` tracks, from 0; stratified if ``classes`` are given.

    Without a seed, tracks are not shuffled. If there are fewer tracks, or fewer tracks of a class,
    than folds, an MgcError is raised.
    """
    if not 2 <= folds <= count:
        raise MgcError(f"--folds must be 2 to {count}, the number of tracks, not {folds}.")
    if classes is not None:
        members = np.bincount(classes, minlength=len(labels))
        members_of_present = np.where(members > 0, members, folds)
        rarest = int(np.argmin(members_of_present))
        if members_of_present[rarest] < folds:
            raise MgcError(
                f"Class {labels[rarest]!r} has only {members[rarest]} tracks; {folds} folds need "
                f"at least {folds}. Use --folds {max(2, members[rarest])} or drop the class."
            )
    splitter = (KFold if classes is None else StratifiedKFold)(
        folds, shuffle=seed is not None, random_state=seed
    )
    numbers = np.empty(count, int)
    for number, (_, test) in enumerate(splitter.split(np.zeros(count), classes)):
        numbers[test] = number
    return numbers


def _make_group_folds(
    tracks: pd.DataFrame, classes: np.ndarray | None, folds: int, seed: int | None
) -> np.ndarray:
    alone = pd.Series([f"track {i}" for i in range(len(tracks))], index=tracks.index)
    groups = tracks["group"].astype("object").where(tracks["group"].notna(), alone).astype(str)
    # Always shuffle: in data sorted by class, unshuffled groups would put a class into one fold.
    return assign_folds(groups.to_numpy(object), folds, seed or 0, classes)


def _cross_validate(
    plan: FoldPlan, numbers: np.ndarray, *, paper: bool, nested: bool, inner_folds: int | None
) -> None:
    names = [int(name) for name in np.unique(numbers)]
    if len(names) < 2 or (nested and len(names) < 3):
        raise MgcError(
            f"{'Nested c' if nested else 'C'}ross-validation needs at least "
            f"{3 if nested else 2} folds, not {len(names)}. Use --folds N."
        )
    rows = [np.flatnonzero(numbers == name) for name in names]
    outer = []
    for name, test in zip(names, rows, strict=True):
        outer.append(Evaluation(plan.add(np.flatnonzero(numbers != name), test), 0))
    plan.folds = list(names)
    if paper:
        plan.paper = outer
    if not nested:
        return
    plan.nested = outer
    plan.inner = [[] for _ in names]
    count = len(names)
    wanted = count - 1 if inner_folds is None else inner_folds
    if not 1 <= wanted < count:
        raise MgcError(f"--inner_folds must be 1 to {count - 1} for {count} folds, not {wanted}.")
    # Folds form a ring. The settings for each fold are chosen on its nearest neighbours.
    for i in range(count):
        for j in range(i + 1, count):
            distance = min(j - i, count - (j - i))
            if distance > (wanted + 1) // 2:
                continue
            train = np.flatnonzero((numbers != names[i]) & (numbers != names[j]))
            fit = plan.add(train, rows[j], rows[i])
            plan.inner[i].append(Evaluation(fit, 0))
            plan.inner[j].append(Evaluation(fit, 1))
    plan.validation = [
        next(e for e in plan.inner[i] if plan.fits[e.fit].tests[e.part] is rows[(i + 1) % count])
        for i in range(count)
    ]


def _plan_split(
    tracks: pd.DataFrame,
    classes: np.ndarray | None,
    labels: Sequence[str],
    seed: int | None,
    nested: bool,
) -> FoldPlan:
    rows = {name: np.flatnonzero(tracks["split"] == name) for name in ("train", "val", "test")}
    for name in ("train", "test"):
        if not len(rows[name]):
            raise MgcError(f"The split has no {name} tracks. Use --folds N instead.")
    train = np.sort(np.concatenate([rows["train"], rows["val"]]))
    plan = FoldPlan("given split, fitted on train and val, scored on test")
    test = Evaluation(plan.add(train, rows["test"]), 0)
    plan.folds, plan.paper = [None], [test]
    if not nested:
        return plan
    plan.nested = [test]
    if len(rows["val"]):
        plan.inner = [[Evaluation(plan.add(rows["train"], rows["val"]), 0)]]
        plan.validation = plan.inner[0]
        plan.description += "; nested: settings chosen on val after fitting on train"
        return plan
    within = None if classes is None else classes[train]
    shared = tracks["group"].notna() & tracks["group"].duplicated(keep=False)
    if shared.any():
        numbers = _make_group_folds(
            tracks.iloc[train].reset_index(drop=True), within, DEFAULT_FOLDS, seed
        )
    else:
        numbers = make_folds(within, len(train), labels, DEFAULT_FOLDS, seed)
    plan.description += f"; nested: settings chosen by {DEFAULT_FOLDS} folds of train"
    plan.inner = [
        [
            Evaluation(plan.add(train[numbers != number], train[numbers == number]), 0)
            for number in np.unique(numbers)
        ]
    ]
    return plan


def _check_classes(plan: FoldPlan, classes: np.ndarray | None, labels: Sequence[str]) -> None:
    if classes is None:
        return
    for fit in plan.fits:
        known = np.unique(classes[fit.train])
        for test in fit.tests:
            unknown = np.setdiff1d(classes[test], known)
            if len(unknown):
                raise MgcError(
                    f"Class {labels[unknown[0]]!r} has test tracks but no training tracks. Use "
                    "--folds N or drop the class."
                )
