"""Assign tracks to folds."""

import warnings

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from mgc.errors import MgcError

TRAIN, VAL, TEST = "train", "val", "test"


def assign_folds(
    groups: np.ndarray, folds: int, seed: int, classes: np.ndarray | None = None
) -> np.ndarray:
    """Assign tracks to folds at random, whole groups at a time.

    Args:
        groups: Group of each track, of shape (tracks,): duplicates of a track, or its artist.
        folds: Number of folds.
        seed: Seed of the shuffle.
        classes: Class of each track, of shape (tracks,), to balance in every fold.

    Returns:
        Fold of each track, of shape (tracks,).

    Raises:
        MgcError: If there are fewer groups than folds.
    """
    if folds < 3:
        raise MgcError(f"folds={folds}: at least 3 are needed, for training, validation and test.")
    count = len(np.unique(groups))
    if count < folds:
        raise MgcError(
            f"folds={folds}, but there are only {count} groups of tracks. Ask for fewer folds."
        )
    tracks = len(groups)
    if classes is not None and np.unique(classes, return_counts=True)[1].max() < folds:
        # scikit-learn refuses to balance classes that are all smaller than the number of folds.
        # A stand-in class with a track for each fold is shared out evenly and then forgotten.
        classes = np.append(np.unique(classes, return_inverse=True)[1], np.full(folds, -1))
        groups = np.append(np.unique(groups, return_inverse=True)[1], -1 - np.arange(folds))
    splitter: GroupKFold | StratifiedGroupKFold
    if classes is None:
        splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    else:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    result = np.empty(len(groups), dtype=np.int64)
    with warnings.catch_warnings():
        # A class with fewer tracks than folds is absent from some folds, which is all one can do.
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, members) in enumerate(splitter.split(groups, classes, groups)):
            result[members] = fold
    return result[:tracks]


def split_by_fold(folds: np.ndarray, fold: int) -> np.ndarray:
    """Turn folds into a split: one fold to test, the next to validate, the others to train.

    Args:
        folds: Fold of each track, of shape (tracks,).
        fold: The test fold.

    Returns:
        ``train``, ``val`` or ``test`` for each track, of shape (tracks,).

    Raises:
        MgcError: If there is no such fold.
    """
    known = np.unique(folds)
    if fold not in known:
        raise MgcError(f"fold={fold}: the folds are {known[0]} to {known[-1]}.")
    validation = known[(np.searchsorted(known, fold) + 1) % len(known)]
    return np.where(folds == fold, TEST, np.where(folds == validation, VAL, TRAIN))
