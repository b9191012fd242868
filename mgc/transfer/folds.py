"""Plans the training and test tracks of a transfer experiment.

A :class:`FoldPlan` lists the fits of an experiment. Two protocols use their scores:

* ``paper``: every setting is fitted on each training fold and scored on its test fold. The best
  mean over the test folds is reported, so the test folds choose the settings.
* ``nested``: settings are chosen by scores within the training fold.

In cross-validation, the inner folds of an outer fold are the other outer folds. A fit on all folds
but ``i`` and ``j`` is scored on ``j`` for outer fold ``i``, and on ``i`` for outer fold ``j``. This
halves the number of fits, and inner folds respect given folds and groups.
"""

import logging
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, StratifiedKFold

from mgc.data.split_problems import find_split_problems
from mgc.data.splits import assign_folds, stratify_tags
from mgc.errors import MgcError
from mgc.transfer.feature_table import FeatureTable

log = logging.getLogger(__name__)

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
    table: FeatureTable,
    *,
    folds: int | None = None,
    seed: int | None = None,
    inner_folds: int | None = None,
    nested: bool = True,
) -> FoldPlan:
    """Plan the fits for a feature table.

    Folds balance classes or tags. Warns of folds without a score.

    Args:
        table: Tracks with ``group``, ``split`` and ``fold``, null if the dataset defines none, and
            their targets.
        folds: Number of folds to make. Default: the given folds, else the given split, else ten
            folds.
        seed: Seed for shuffling the tracks before making folds. By default, folds follow the order
            of the table, as in Choi et al. (2017).
        inner_folds: Number of other folds used to choose the settings for a test fold, rounded up
            to an even number. Default: all.
        nested: Whether to plan the nested protocol as well.

    Raises:
        MgcError: If the tracks cannot be split this way, or a part cannot be learned or scored.
    """
    tracks = table.tracks
    if folds is None and tracks["fold"].notna().any():
        if tracks["fold"].isna().any():
            track = tracks["track"][tracks["fold"].isna()].iloc[0]
            raise MgcError(f"Track {track!r} has no fold, but other tracks do. Use --folds N.")
        numbers = tracks["fold"].to_numpy(int)
        plan = FoldPlan("given folds")
        _cross_validate(plan, numbers, paper=True, nested=nested, inner_folds=inner_folds)
    elif folds is None and tracks["split"].notna().any():
        plan = _plan_split(table, seed, nested)
    else:
        plan = _plan_folds(table, folds or DEFAULT_FOLDS, seed, inner_folds, nested)
    given = folds is None and tracks[["fold", "split"]].notna().any(axis=None)
    _check_parts(plan, table, "--folds N" if given else "fewer --folds or another --seed")
    plan.seed = seed or 0
    return plan


def plan_like(
    table: FeatureTable, test: pd.DataFrame, validation: pd.DataFrame, *, nested: bool = True
) -> FoldPlan:
    """Plan the fits for the folds of an existing cross-validation.

    Each test fold is predicted by a fit on all other tracks. The settings are chosen on the fold's
    validation tracks, by a fit without them. The results can therefore be compared and fused with
    those of the cross-validation.

    Args:
        table: Tracks to plan for, and their targets.
        test: ``track``, ``seed`` and ``fold`` of the cross-validation's test tracks.
        validation: ``track``, ``seed`` and ``fold`` of its validation tracks.
        nested: Whether to plan the nested protocol as well.

    Raises:
        MgcError: If the results are not those of a cross-validation with one seed, the table lacks
            some of their tracks, or a part cannot be learned or scored.
    """
    tracks = table.tracks
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
    _check_parts(plan, table, "another cross-validation")
    return plan


def _plan_folds(
    table: FeatureTable, folds: int, seed: int | None, inner_folds: int | None, nested: bool
) -> FoldPlan:
    tracks = table.tracks
    numbers = make_folds(table, np.arange(len(tracks)), folds, seed)
    stratified = "" if table.task == "regression" else "stratified "
    order = "in the order of the table" if seed is None else f"shuffled with seed {seed}"
    plan = FoldPlan(f"{folds} {stratified}folds, {order}")
    if not _has_groups(table):
        _cross_validate(plan, numbers, paper=True, nested=nested, inner_folds=inner_folds)
        return plan
    _cross_validate(plan, numbers, paper=True, nested=False, inner_folds=None)
    if nested:
        grouped = _make_group_folds(table, np.arange(len(tracks)), folds, seed)
        plan.description += f"; nested: {folds} {stratified}folds that keep groups together"
        _cross_validate(plan, grouped, paper=False, nested=True, inner_folds=inner_folds)
    return plan


def make_folds(table: FeatureTable, rows: np.ndarray, folds: int, seed: int | None) -> np.ndarray:
    """Return the fold of each of these rows, from 0, balanced by class or by tag.

    Without a seed, tracks are not shuffled.

    Raises:
        MgcError: If there are fewer tracks, or fewer tracks of a class, than folds.
    """
    if not 2 <= folds <= len(rows):
        raise MgcError(f"--folds must be 2 to {len(rows)}, the number of tracks, not {folds}.")
    targets = table.targets[rows]
    if table.task == "multilabel":
        return stratify_tags(np.arange(len(rows)), folds, targets > 0, seed)
    classes = targets if table.task == "multiclass" else None
    if classes is not None:
        members = np.bincount(classes, minlength=len(table.labels))
        members_of_present = np.where(members > 0, members, folds)
        rarest = int(np.argmin(members_of_present))
        if members_of_present[rarest] < folds:
            raise MgcError(
                f"Class {table.labels[rarest]!r} has only {members[rarest]} tracks; {folds} folds "
                f"need at least {folds}. Use --folds {max(2, members[rarest])} or drop the class."
            )
    splitter = (KFold if classes is None else StratifiedKFold)(
        folds, shuffle=seed is not None, random_state=seed
    )
    numbers = np.empty(len(rows), int)
    for number, (_, test) in enumerate(splitter.split(np.zeros(len(rows)), classes)):
        numbers[test] = number
    return numbers


def _make_inner_folds(table: FeatureTable, rows: np.ndarray, seed: int | None) -> np.ndarray:
    """Return ten folds of the training tracks, or as many as the rarest class or the groups allow.

    Raises:
        MgcError: If there can be no folds.
    """
    targets = table.targets[rows]
    grouped = _has_groups(table)
    folds = min(DEFAULT_FOLDS, len(rows))
    rarest = "tracks"
    if table.task == "multiclass":
        counts = np.bincount(targets, minlength=len(table.labels))
        counts = np.where(counts > 0, counts, folds)
        fewest = int(np.argmin(counts))
        if counts[fewest] < folds:
            folds, rarest = int(counts[fewest]), f"tracks of class {table.labels[fewest]!r}"
    if grouped:
        count = len(_group_names(table, rows).unique())
        if count < folds:
            folds, rarest = count, "groups"
    if folds < (3 if grouped else 2):
        raise MgcError(
            f"The split has only {folds} training {rarest}, too few to choose settings. Add val "
            "tracks, or use --nested false."
        )
    return (_make_group_folds if grouped else make_folds)(table, rows, folds, seed)


def _make_group_folds(
    table: FeatureTable, rows: np.ndarray, folds: int, seed: int | None
) -> np.ndarray:
    targets = table.targets[rows]
    return assign_folds(
        _group_names(table, rows).to_numpy(object),
        folds,
        # Always shuffle: in data sorted by class, one fold would have all groups of a class.
        seed or 0,
        classes=targets if table.task == "multiclass" else None,
        tags=targets > 0 if table.task == "multilabel" else None,
    )


def _has_groups(table: FeatureTable) -> bool:
    """Return whether some tracks share a group."""
    return bool(table.tracks["group"].dropna().duplicated().any())


def _group_names(table: FeatureTable, rows: np.ndarray) -> pd.Series:
    """Return the group of each of these rows; a track without a group is one of its own."""
    tracks = table.tracks.iloc[rows]
    alone = pd.Series([f"track {i}" for i in range(len(tracks))], index=tracks.index)
    return tracks["group"].astype("object").where(tracks["group"].notna(), alone).astype(str)


def _cross_validate(
    plan: FoldPlan, numbers: np.ndarray, *, paper: bool, nested: bool, inner_folds: int | None
) -> None:
    names = [int(name) for name in np.unique(numbers)]
    if len(names) < 2 or (nested and len(names) < 3):
        raise MgcError(
            f"{'Nested c' if nested else 'C'}ross-validation needs at least "
            f"{3 if nested else 2} folds, not {len(names)}. Use a larger --folds."
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


def _plan_split(table: FeatureTable, seed: int | None, nested: bool) -> FoldPlan:
    tracks = table.tracks
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
    numbers = _make_inner_folds(table, train, seed)
    plan.description += f"; nested: settings chosen by {numbers.max() + 1} folds of train"
    plan.inner = [
        [
            Evaluation(plan.add(train[numbers != number], train[numbers == number]), 0)
            for number in np.unique(numbers)
        ]
    ]
    return plan


def _check_parts(plan: FoldPlan, table: FeatureTable, other: str) -> None:
    """Check that each fit can be learned and scored. ``other`` is what to use instead.

    Raises:
        MgcError: If a class is tested without training tracks, training targets do not vary, no
            test fold has a score, or the settings of a fold cannot be chosen.
    """
    targets = table.targets
    unscored: dict[Evaluation, str] = {}
    undefined: set[Evaluation] = set()
    for number, fit in enumerate(plan.fits):
        for part, rows in enumerate(fit.tests):
            found = find_split_problems(
                targets[fit.train], {"test": targets[rows]}, table.task, table.labels
            )
            if found.errors:
                raise MgcError(
                    f"{plan.description}: {found.errors[0]}. Use {other}, or drop the label."
                )
            evaluation = Evaluation(number, part)
            if found.unscored and table.task != "multiclass":
                unscored[evaluation] = found.unscored[0]
            if found.undefined:
                undefined.add(evaluation)
    for folds in (plan.paper, plan.nested, *plan.inner):
        if folds and undefined.issuperset(folds):
            raise MgcError(
                f"{plan.description}: no score is defined, because {unscored[folds[0]]}. Use "
                f"{other}."
            )
    missing = [unscored[evaluation] for evaluation in plan.paper if evaluation in unscored]
    if missing:
        log.warning(
            "%s: in %d of %d test folds, labels have no score and are left out of the mean. In the "
            "first, %s.",
            plan.description, len(missing), len(plan.paper), missing[0],
        )  # fmt: skip
    groups = _group_names(table, np.arange(len(targets)))
    apart = [
        not groups.iloc[fit.train].isin(set(groups.iloc[fit.tests[part]])).any()
        for fit, part in (
            (plan.fits[evaluation.fit], evaluation.part) for evaluation in plan.nested
        )
    ]
    if not all(apart):
        log.warning(
            "%s: groups of tracks, such as an artist's, are in training and test tracks of %d of "
            "%d folds.",
            plan.description, apart.count(False), len(apart),
        )  # fmt: skip
