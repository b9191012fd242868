"""Assigns tracks to folds and splits."""

import warnings

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from mgc.errors import MgcError

TRAIN, VAL, TEST = "train", "val", "test"


def assign_folds(
    groups: np.ndarray,
    folds: int,
    seed: int,
    classes: np.ndarray | None = None,
    tags: np.ndarray | None = None,
) -> np.ndarray:
    """Return a random fold for each track, keeping groups together and balancing the labels.

    Every fold has at least one group.

    Args:
        groups: Group of each track (duplicates, or an artist's tracks), of shape (tracks,).
        folds: Number of folds.
        seed: Seed of the random order.
        classes: Class of each track, of shape (tracks,).
        tags: Whether each track has each tag, of shape (tracks, tags), instead of classes.

    Raises:
        MgcError: If there are fewer than 3 folds, or fewer groups than folds.
    """
    if folds < 3:
        raise MgcError(f"folds={folds}: must be at least 3, for training, validation and test.")
    count = len(np.unique(groups))
    if count < folds:
        fewer = f", or use at most {count} folds" if count >= 3 else ""
        raise MgcError(f"only {count} groups of tracks for {folds} folds. Add tracks{fewer}.")
    if tags is not None:
        return stratify_tags(groups, folds, tags, seed)
    tracks, named = len(groups), groups
    if classes is not None and np.max(np.unique(classes, return_counts=True)[1]) < folds:
        # scikit-learn raises an error if all classes have fewer tracks than there are folds.
        # Add a dummy class with one track per fold, and drop it from the result.
        classes = np.append(np.unique(classes, return_inverse=True)[1], np.full(folds, -1))
        groups = np.append(np.unique(groups, return_inverse=True)[1], -1 - np.arange(folds))
    splitter: GroupKFold | StratifiedGroupKFold
    if classes is None:
        splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    else:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    result = np.empty(len(groups), dtype=np.int64)
    with warnings.catch_warnings():
        # A class with fewer tracks than folds cannot be in every fold.
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, members) in enumerate(splitter.split(groups, classes, groups)):
            result[members] = fold
    return _fill_empty_folds(result[:tracks], folds, np.unique(named, return_inverse=True)[1])


def stratify_tags(
    groups: np.ndarray, folds: int, tags: np.ndarray, seed: int | None = None
) -> np.ndarray:
    """Return a fold for each track, so that each tag has about as many tracks in every fold.

    Iterative stratification, applied to groups of tracks instead of single tracks. Without a seed,
    ties are resolved in the order of the groups' names.

    Source: Sechidis, Tsoumakas and Vlahavas (2011), "On the stratification of multi-label data",
    ECML PKDD, algorithm 1.

    Args:
        groups: Group of each track, of shape (tracks,). There are at least as many as folds.
        folds: Number of folds.
        tags: Whether each track has each tag, of shape (tracks, tags).
        seed: Seed of the order in which ties are resolved.
    """
    group = np.unique(groups, return_inverse=True)[1]
    if seed is not None:
        group = np.random.default_rng(seed).permutation(np.max(group) + 1)[group]
    sizes = np.bincount(group)
    positive = np.zeros((len(sizes), tags.shape[1]))
    np.add.at(positive, group, tags)
    left = positive.sum(axis=0)
    missing = np.tile(left / folds, (folds, 1))
    room = np.full(folds, len(group) / folds)
    fold_of = np.full(len(sizes), -1)
    weights: np.ndarray
    while (fold_of < 0).any():
        if (left > 0).any():
            tag = int(np.argmin(np.where(left > 0, left, np.inf)))
            weights = positive[:, tag]
        else:
            tag, weights = -1, sizes
        chosen = np.flatnonzero((fold_of < 0) & (weights > 0))
        # Large groups first: the smaller ones fill the gaps.
        for name in chosen[np.argsort(-weights[chosen], kind="stable")]:
            need = missing[:, tag] if tag >= 0 else room
            fold = np.lexsort((-room, -need))[0]
            fold_of[name] = fold
            missing[fold] -= positive[name]
            room[fold] -= sizes[name]
            left = left - positive[name]
    return _fill_empty_folds(fold_of[group], folds, group)


def _fill_empty_folds(assigned: np.ndarray, folds: int, group: np.ndarray) -> np.ndarray:
    """Move the smallest group of the largest fold that has several to each empty fold."""
    sizes = np.bincount(group)
    fold_of = np.zeros(len(sizes), np.int64)
    fold_of[group] = assigned
    for empty in np.setdiff1d(np.arange(folds), fold_of):
        tracks = np.bincount(fold_of, sizes, folds)
        tracks[np.bincount(fold_of, minlength=folds) < 2] = 0
        members = np.flatnonzero(fold_of == np.argmax(tracks))
        fold_of[members[np.argmin(sizes[members])]] = empty
    return fold_of[group]


def split_by_fold(folds: np.ndarray, fold: int) -> np.ndarray:
    """Return ``train``, ``val`` or ``test`` for each track, of shape (tracks,).

    Tracks in ``fold`` are for testing, those in the next fold for validation, all others for
    training.

    Raises:
        MgcError: If the fold does not exist.
    """
    known = np.unique(folds)
    if fold not in known:
        raise MgcError(f"fold={fold}: the folds are {known[0]} to {known[-1]}.")
    validation = known[(int(np.searchsorted(known, fold)) + 1) % len(known)]
    return np.where(folds == fold, TEST, np.where(folds == validation, VAL, TRAIN))


def split_by_best_fold(folds: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the split by the first fold that keeps all labels and large groups in training.

    If no fold does, the split misses as few labels as possible: first in training, then, after
    validation and test sets of more than twice their share, elsewhere.

    Args:
        folds: Fold of each track, of shape (tracks,).
        present: Whether each track has each class or tag, of shape (tracks, labels).
    """
    known = np.unique(folds)

    def cost(fold: int) -> tuple[int, float, int]:
        splits = split_by_fold(folds, fold)
        trained, *scored = (present[splits == name].any(axis=0) for name in (TRAIN, VAL, TEST))
        largest = max(np.sum(splits == VAL), np.sum(splits == TEST))
        excess = max(0.0, largest - 2 * len(folds) / len(known))
        unscored = sum(np.sum(trained & ~part) for part in scored)
        return int(np.sum(~trained)), excess, int(unscored)

    return split_by_fold(folds, min(known, key=cost))
