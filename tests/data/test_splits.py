import numpy as np
import pytest

from mgc.data.splits import assign_folds, split_by_fold
from mgc.errors import MgcError


def test_folds_are_balanced_and_keep_groups_together() -> None:
    classes = np.repeat(np.arange(10), 100)
    groups = np.arange(1000)
    groups[1:1000:50] = groups[0:1000:50]
    folds = assign_folds(groups, 10, seed=0, classes=classes)
    counts = np.array([np.bincount(classes[folds == fold], minlength=10) for fold in range(10)])
    assert counts.min() >= 9
    assert counts.max() <= 11
    assert all(len(set(folds[groups == group])) == 1 for group in groups[0:1000:50])


def test_folds_without_groups_are_exactly_balanced() -> None:
    classes = np.repeat(np.arange(10), 100)
    folds = assign_folds(np.arange(1000), 10, seed=3, classes=classes)
    assert all((np.bincount(classes[folds == fold]) == 10).all() for fold in range(10))


def test_folds_depend_on_the_seed_only() -> None:
    groups, classes = np.arange(60), np.arange(60) % 3
    first = assign_folds(groups, 5, 1, classes)
    assert (first == assign_folds(groups, 5, 1, classes)).all()
    assert (first != assign_folds(groups, 5, 2, classes)).any()


def test_each_track_is_tested_and_validated_once() -> None:
    folds = assign_folds(np.arange(50), 5, seed=0)
    splits = np.array([split_by_fold(folds, fold) for fold in range(5)])
    assert ((splits == "test").sum(axis=0) == 1).all()
    assert ((splits == "val").sum(axis=0) == 1).all()


def test_invalid_folds_raise_error() -> None:
    with pytest.raises(MgcError, match="only 4 groups"):
        assign_folds(np.arange(4), 5, seed=0)
    with pytest.raises(MgcError, match="at least 3"):
        assign_folds(np.arange(4), 2, seed=0)
    with pytest.raises(MgcError, match="fold=5: the folds are 0 to 4"):
        split_by_fold(np.arange(5), 5)
