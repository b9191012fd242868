"""Which tracks a classifier is fitted on and which it is scored on.

A :class:`FoldPlan` lists the fits of an experiment. Two protocols read their scores from them:

* ``paper``: every setting is fitted on each training fold and scored on its test fold; the best
  mean over the test folds is reported, so the test folds choose the settings.
* ``nested``: settings are chosen by scores within the training fold alone.

In cross-validation the inner folds of an outer fold are the other outer folds. A fit on all but
folds ``i`` and ``j`` is then scored on ``j`` for outer fold ``i`` and on ``i`` for outer fold
``j``, which halves the fits, and given folds and groups are kept inside as well.
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
    """One set of tracks on which one fit is scored.

    Attributes:
        fit: Index into :attr:`FoldPlan.fits`.
        part: Index into the fit's ``tests``.
    """

    fit: int
    part: int


@dataclass
class Fit:
    """Tracks to fit on, and sets of tracks to score on.

    Attributes:
        train: Row numbers.
        tests: Row numbers of each set.
    """

    train: np.ndarray
    tests: list[np.ndarray]


@dataclass
class FoldPlan:
    """The fits of an experiment, and which of them belong to which protocol.

    Attributes:
        description: How the folds are made, in words.
        folds: Number of each outer fold: from 0, or as the data set or a cross-validation gives
            them; None for a given split.
        fits: What is fitted.
        paper: The test folds of the ``paper`` protocol.
        nested: The test folds of the ``nested`` protocol.
        inner: The evaluations that choose the settings of each test fold of ``nested``.
        validation: For each test fold of ``nested``, one of the inner evaluations: on the next
            fold, or the validation tracks of a split. What is said of its tracks shows what to
            expect of the test fold. Empty where a split has no validation tracks.
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
        tracks: ``group``, ``split`` and ``fold`` of each track, null where the data set gives none.
        classes: Class index of each track, or None where folds cannot be stratified.
        labels: Names of the classes.
        folds: Number of folds to make. Without it the given folds are used, else the given split,
            else ten folds are made.
        seed: Shuffles the tracks before folds are made. Without it folds are cut in the order of
            the table, as the published experiment did.
        inner_folds: How many of the other folds choose the settings of a fold, rounded up to an
            even number; all without it.
        nested: Whether to plan the nested protocol too.

    Raises:
        MgcError: If the tracks cannot be split that way.
    """
    if folds is None and tracks["fold"].notna().any():
        if tracks["fold"].isna().any():
            track = tracks["track"][tracks["fold"].isna()].iloc[0]
            raise MgcError(f"Track {track!r} has no fold though others have: give --folds N.")
        numbers = tracks["fold"].to_numpy(int)
        plan = FoldPlan("given folds")
        _cross_validate(plan, numbers, paper=True, nested=nested, inner_folds=inner_folds)
    elif folds is None and tracks["split"].notna().any():
        plan = _given_split(tracks, classes, labels, seed, nested)
    else:
        plan = _made_folds(
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
    """Plan the fits for the folds of a cross-validation that has been run.

    What is scored on a test fold is fitted on all other tracks, and settings are chosen on the
    fold's validation tracks after a fit without them, so that the test tracks of every fold are
    those of the cross-validation and its results can be compared and combined.

    Args:
        tracks: ``track`` of each row to plan for.
        test: ``track``, ``seed`` and ``fold`` of the tests of the cross-validation.
        validation: The same of its validation tracks.
        classes: Class index of each row, or None.
        labels: Names of the classes.
        nested: Whether to plan the nested protocol too.

    Raises:
        MgcError: If it is no cross-validation, has several seeds, or has tracks that are missing
            here.
    """
    if "seed" not in test or "seed" not in validation:
        raise MgcError("--folds_of: these are no results of mgc crossval.")
    seeds = test["seed"].unique()
    if len(seeds) > 1:
        raise MgcError(f"--folds_of: give a cross-validation of one seed, not of {len(seeds)}.")
    plan = FoldPlan(f"{test['fold'].nunique()} folds of a cross-validation", seed=int(seeds[0]))
    row = pd.Series(np.arange(len(tracks)), index=tracks["track"])
    for part in (test, validation):
        missing = part["track"][~part["track"].isin(row.index)]
        if len(missing):
            raise MgcError(
                f"--folds_of: {len(missing)} of its tracks are not in the table, the first is "
                f"{missing.iloc[0]!r}. Extract features of all tracks."
            )
    for fold in np.unique(test["fold"].to_numpy(int)):
        tested = np.sort(row[test["track"][test["fold"] == fold]].to_numpy())
        chosen_by = np.sort(row[validation["track"][validation["fold"] == fold]].to_numpy())
        others = np.setdiff1d(np.arange(len(tracks)), tested)
        evaluation = Evaluation(plan.add(others, tested), 0)
        plan.folds.append(int(fold))
        plan.paper.append(evaluation)
        if nested:
            plan.nested.append(evaluation)
            inner = Evaluation(plan.add(np.setdiff1d(others, chosen_by), chosen_by), 0)
            plan.inner.append([inner])
            plan.validation.append(inner)
    _check_classes(plan, classes, labels)
    return plan


def _made_folds(
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
        grouped = _group_folds(tracks, classes, folds, seed)
        plan.description += f"; nested: {folds} {stratified}folds that keep groups together"
        _cross_validate(plan, grouped, paper=False, nested=True, inner_folds=inner_folds)
    return plan


def make_folds(
    classes: np.ndarray | None, count: int, labels: Sequence[str], folds: int, seed: int | None
) -> np.ndarray:
    """Number of the fold of each track, from 0, stratified where classes are given.

    Args:
        classes: Class index of each track, or None.
        count: Number of tracks.
        labels: Names of the classes.
        folds: Number of folds.
        seed: Shuffles the tracks first; None keeps their order.

    Raises:
        MgcError: If there are fewer tracks, or fewer of a class, than folds.
    """
    if not 2 <= folds <= count:
        raise MgcError(f"{folds} folds cannot be made of {count} tracks: give another --folds.")
    if classes is not None:
        members = np.bincount(classes, minlength=len(labels))
        members_of_present = np.where(members > 0, members, folds)
        rarest = int(members_of_present.argmin())
        if members_of_present[rarest] < folds:
            raise MgcError(
                f"Class {labels[rarest]!r} has {members[rarest]} tracks, fewer than the {folds} "
                f"folds: give --folds {max(2, members[rarest])} or leave the class out."
            )
    splitter = (KFold if classes is None else StratifiedKFold)(
        folds, shuffle=seed is not None, random_state=seed
    )
    numbers = np.empty(count, int)
    for number, (_, test) in enumerate(splitter.split(np.zeros(count), classes)):
        numbers[test] = number
    return numbers


def _group_folds(
    tracks: pd.DataFrame, classes: np.ndarray | None, folds: int, seed: int | None
) -> np.ndarray:
    alone = pd.Series([f"track {i}" for i in range(len(tracks))], index=tracks.index)
    groups = tracks["group"].astype("object").where(tracks["group"].notna(), alone).astype(str)
    # Always shuffled: unshuffled groups of data sorted by class put whole classes into one fold.
    return assign_folds(groups.to_numpy(object), folds, seed or 0, classes)


def _cross_validate(
    plan: FoldPlan, numbers: np.ndarray, *, paper: bool, nested: bool, inner_folds: int | None
) -> None:
    names = [int(name) for name in np.unique(numbers)]
    if len(names) < 2 or (nested and len(names) < 3):
        raise MgcError(
            f"{len(names)} folds are too few for "
            f"{'nested ' if nested else ''}cross-validation: give --folds N."
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
        raise MgcError(f"--inner_folds is 1 to {count - 1} with {count} folds, not {wanted}.")
    # Folds stand in a ring, each chosen for by its nearest neighbours.
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


def _given_split(
    tracks: pd.DataFrame,
    classes: np.ndarray | None,
    labels: Sequence[str],
    seed: int | None,
    nested: bool,
) -> FoldPlan:
    rows = {name: np.flatnonzero(tracks["split"] == name) for name in ("train", "val", "test")}
    for name in ("train", "test"):
        if not len(rows[name]):
            raise MgcError(f"The given split has no {name} tracks: give --folds N instead.")
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
        numbers = _group_folds(
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
                    f"Class {labels[unknown[0]]!r} would be tested without a track to train on: "
                    "give --folds N or leave the class out."
                )
