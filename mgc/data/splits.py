"""Assigns tracks to folds and splits."""

import warnings

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from mgc.errors import MgcError

TRAIN, VAL, TEST = "train", "val", "test"


def assign_folds(
    groups: np.ndarray, folds: int, seed: int, classes: np.ndarray | None = None
) -> np.ndarray:
    """Return a random fold for each track, keeping groups together and balancing classes.

    Groups (duplicates of a track, or an artist's tracks) and classes have shape (tracks,).

    Raises:
        MgcError: If there are fewer than 3 folds, or fewer groups than folds.
    """
    if folds < 3:
        raise MgcError(f"folds={folds}: must be at least 3, for training, validation and test.")
    count = len(np.unique(groups))
    if count < folds:
        raise MgcError(
            f"folds={folds}, but there are only {count} groups of tracks. Use fewer folds."
        )
    tracks = len(groups)
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
    return result[:tracks]


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
