import numpy as np
import pytest

from mgc.data.splits import assign_folds, split_by_best_fold, split_by_fold
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


@pytest.mark.parametrize("seed", range(20))
def test_every_fold_has_a_group(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = 5 + int(random.integers(0, 4))
    sizes = random.integers(1, 4, count)
    groups, classes = np.repeat(np.arange(count), sizes), random.integers(0, 4, count)
    folds = assign_folds(groups, 5, 0, np.repeat(classes, sizes))
    assert set(folds) == set(range(5))
    assert all(len(set(folds[groups == group])) == 1 for group in range(count))


def random_tags(tracks: int = 400) -> np.ndarray:
    """Tags of a half, a tenth and a fortieth of the tracks, the last two never together."""
    random = np.random.default_rng(0)
    frequent = random.random(tracks) < 0.5
    rare = random.permutation(tracks)
    return np.stack([frequent, rare < tracks // 10, rare >= tracks - tracks // 40], axis=1)


@pytest.mark.parametrize("in_group", [1, 2])
def test_rare_tags_are_in_every_fold(in_group: int) -> None:
    tags = np.repeat(random_tags(), in_group, axis=0)
    groups = np.repeat(np.arange(400), in_group)
    folds = assign_folds(groups, 10, seed=3, tags=tags)
    counts = np.array([tags[folds == fold].sum(axis=0) for fold in range(10)])
    assert (counts[:, 1] == 4 * in_group).all()
    assert (counts[:, 2] == in_group).all()
    assert np.ptp(counts[:, 0]) <= 2 * in_group
    assert np.ptp(np.bincount(folds)) <= 2 * in_group
    assert all(len(set(folds[groups == group])) == 1 for group in range(400))


def test_stratified_tags_depend_on_the_seed_only() -> None:
    tags, groups = random_tags(), np.arange(400)
    first = assign_folds(groups, 10, 1, tags=tags)
    assert (first == assign_folds(groups, 10, 1, tags=tags)).all()
    assert (first != assign_folds(groups, 10, 2, tags=tags)).any()


def test_a_group_larger_than_a_fold_is_for_training() -> None:
    classes = np.repeat([0, 1], [40, 18])
    groups = np.append(np.zeros(40), np.arange(1, 19))
    folds = assign_folds(groups, 10, 0, classes)
    splits = split_by_best_fold(folds, np.eye(2, dtype=bool)[classes])
    assert set(splits[:40]) == {"train"}
    assert {"train", "val", "test"} == set(splits[40:])


def test_all_classes_are_trained_where_a_fold_allows_it() -> None:
    """The only track of the second class would be for testing by the first fold."""
    classes = (np.arange(100) == 0).astype(int)
    splits = split_by_best_fold(np.arange(100) // 10, np.eye(2, dtype=bool)[classes])
    assert splits[0] == "train"
    assert list(splits).count("test") == 10
