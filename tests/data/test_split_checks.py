"""Data modules with splits that cannot be trained or scored."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from layouts import write_lines, write_tone

from mgc.data.folder import Folder
from mgc.data.split_checks import check_folds
from mgc.errors import MgcError

SPLITS = ("train",) * 6 + ("val",) * 2 + ("test",) * 2


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Folder]:
    """Return a function that makes a data module of ten tracks, with these labels and splits."""
    for n in range(10):
        write_tone(tmp_path / f"{n}.wav", 300 + 10 * n)

    def make(cells: Sequence[str], splits: Sequence[str] = SPLITS, **settings: object) -> Folder:
        rows = zip(range(10), cells, splits, settings.pop("groups", range(10)), strict=True)
        lines = [f"{n}.wav,{label},{split},{group}" for n, label, split, group in rows]
        write_lines(tmp_path / "t.csv", ["path,label,split,group", *lines])
        settings = {"split": "given", "sample_rate": 8000, "clip_seconds": 1, **settings}
        return Folder(root=str(tmp_path), table="t.csv", **settings)

    return make


def test_a_class_without_training_tracks_is_an_error_before_a_fit(make) -> None:
    data = make([*"aaabbbaca", "b"])
    with pytest.raises(MgcError, match="class 'c' has 1 val tracks, but no training tracks"):
        data.setup("fit")
    data = make([*"aaabbbaca", "b"])
    data.setup("test")  # of a model that was trained on other tracks


def test_one_class_is_an_error(make) -> None:
    with pytest.raises(MgcError, match="all training tracks have the class 'a'"):
        make("a" * 10).setup("fit")


def test_tags_without_a_score_are_named(make, caplog) -> None:
    data = make([*["x|z", "y"] * 3, "x", "y", "x", "x"], task="multilabel")
    data.setup("fit")
    assert "all or none of the val tracks have 'z'. Scores leave them out." in caplog.text
    assert "all or none of the test tracks have 3 of 3 labels ('x', 'y', 'z')" in caplog.text
    assert "no score of val is defined" not in caplog.text


def test_a_validation_set_without_any_score_is_told(make, caplog) -> None:
    make([*["x", "y"] * 3, "", "", "x", "y"], task="multilabel").setup("fit")
    assert "no score of val is defined, so that no epoch can be the best" in caplog.text


def test_equal_ratings_are_an_error(make) -> None:
    with pytest.raises(MgcError, match="all training tracks have the same label"):
        make("3" * 10, task="regression", labels=["label"]).setup("fit")


def test_groups_in_several_given_splits_are_counted(make, caplog) -> None:
    make([*"ab" * 5], groups=[0, 1, 2, 3, 4, 5, 0, 7, 1, 9]).setup("fit")
    assert "2 of 8 groups of tracks are in several splits, such as '0'" in caplog.text


def test_a_test_fold_of_one_large_group_is_told(make, caplog) -> None:
    groups, labels = [0] * 7 + [1, 2, 3], [*"ab" * 5]
    folds = range(3)
    for fold in folds:
        make(labels, groups=groups, split="fold", folds=3, fold=fold).setup("test")
    assert "fold=0: test has 8 of 10 tracks, because group '0' has 7" in caplog.text


def test_all_folds_are_checked_in_advance(make) -> None:
    """Class c has a single group, which is in some test fold."""
    labels, groups = [*"ababababcc"], [*range(8), 8, 8]
    for fold in range(3):
        data = make(labels, groups=groups, split="fold", folds=3, fold=fold)
        with pytest.raises(MgcError, match=r"fold=\d: class 'c' has 2 \w+ tracks, but no train"):
            check_folds(data)
    data = make([*"ababababab"], groups=[*"AABBBBBBBB"], split="fold", folds=3)
    with pytest.raises(MgcError, match="only 2 groups of tracks"):
        check_folds(data)


def test_each_warning_is_logged_once(make, caplog) -> None:
    data = make([*"aaaabbbabb"])
    data.setup("fit")
    data.setup("test")
    assert caplog.text.count("no test tracks of 'a'") == 1


def test_few_groups_are_split_as_evenly_as_possible(make) -> None:
    data = make([*"ab" * 5], groups=[0, 0, 0, 1, 1, 1, 2, 2, 2, 2], split="stratified")
    data.setup("fit")
    assert data.tracks.groupby("split")["group"].nunique().to_dict() == {
        "train": 1, "val": 1, "test": 1
    }  # fmt: skip
    with pytest.raises(MgcError, match=r"only 2 groups of tracks for 3 folds. Add tracks\.$"):
        make([*"ab" * 5], groups=[0] * 5 + [1] * 5, split="stratified").setup("fit")
