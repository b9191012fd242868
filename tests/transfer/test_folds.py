import numpy as np
import pytest
from generated_tables import tracks_table
from sklearn.model_selection import KFold, StratifiedKFold

from mgc.errors import MgcError
from mgc.transfer.folds import make_plan

LABELS = ("rock", "jazz", "folk")
CLASSES = np.arange(60) // 20


def plan(tracks=None, classes=CLASSES, **options):
    return make_plan(tracks_table(60) if tracks is None else tracks, classes, LABELS, **options)


def rows(plan, evaluation):
    return plan.fits[evaluation.fit].tests[evaluation.part]


def test_folds_are_those_of_scikit_learn():
    made = plan(folds=5)
    for evaluation, (train, test) in zip(
        made.paper, StratifiedKFold(5).split(CLASSES, CLASSES), strict=True
    ):
        np.testing.assert_array_equal(made.fits[evaluation.fit].train, train)
        np.testing.assert_array_equal(rows(made, evaluation), test)


def test_regression_folds_are_not_stratified():
    made = plan(classes=None, folds=4, seed=3)
    for evaluation, (_, test) in zip(
        made.paper, KFold(4, shuffle=True, random_state=3).split(CLASSES), strict=True
    ):
        np.testing.assert_array_equal(rows(made, evaluation), test)


def test_settings_of_a_fold_are_chosen_on_all_the_other_folds():
    made = plan(folds=5)
    assert len(made.fits) == 5 + 10  # a fit without two folds is used for both
    for outer, inner in zip(made.nested, made.inner, strict=True):
        test = rows(made, outer)
        validated = np.concatenate([rows(made, evaluation) for evaluation in inner])
        np.testing.assert_array_equal(np.sort(validated), made.fits[outer.fit].train)
        for evaluation in inner:
            train = made.fits[evaluation.fit].train
            assert not np.intersect1d(train, test).size
            assert not np.intersect1d(train, rows(made, evaluation)).size


def test_inner_folds_limits_the_number_of_fits():
    made = plan(folds=10, inner_folds=2)
    assert len(made.fits) == 10 + 10
    assert {len(inner) for inner in made.inner} == {2}


def test_given_folds_are_used():
    fold = np.tile([4, 1, 2], 20)
    made = plan(tracks_table(60, fold=fold))
    assert made.folds == [1, 2, 4]
    np.testing.assert_array_equal(rows(made, made.nested[2]), np.flatnonzero(fold == 4))
    assert plan(tracks_table(60, fold=fold), folds=10).description.startswith("10 stratified")


def test_a_given_split_is_used():
    split = np.tile(["train", "train", "val", "test"], 15)
    made = plan(tracks_table(60, split=split))
    [test], [[choice]] = made.nested, made.inner
    np.testing.assert_array_equal(rows(made, test), np.flatnonzero(split == "test"))
    np.testing.assert_array_equal(made.fits[test.fit].train, np.flatnonzero(split != "test"))
    np.testing.assert_array_equal(rows(made, choice), np.flatnonzero(split == "val"))
    np.testing.assert_array_equal(made.fits[choice.fit].train, np.flatnonzero(split == "train"))


def test_a_split_without_val_chooses_settings_by_folds_of_train():
    split = np.tile(["train", "train", "train", "test"], 15)
    made = plan(tracks_table(60, split=split))
    validated = np.concatenate([rows(made, evaluation) for evaluation in made.inner[0]])
    np.testing.assert_array_equal(np.sort(validated), np.flatnonzero(split == "train"))


def test_groups_stay_together_in_the_nested_protocol():
    group = np.repeat([f"song{i}" for i in range(30)], 2)
    made = plan(tracks_table(60, group=group), folds=5)
    for fit in [made.fits[evaluation.fit] for inner in made.inner for evaluation in inner]:
        for test in fit.tests:
            assert not np.intersect1d(group[fit.train], group[test]).size
    first = StratifiedKFold(5).split(CLASSES, CLASSES)
    np.testing.assert_array_equal(rows(made, made.paper[0]), next(first)[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 30}, "Class 'rock' has only 20 tracks; 30 folds need at least 30"),
        ({"folds": 61}, "--folds must be 2 to 60, the number of tracks, not 61"),
        ({"folds": 2}, "Nested cross-validation needs at least 3 folds, not 2"),
        ({"folds": 5, "inner_folds": 5}, "--inner_folds must be 1 to 4"),
        ({"tracks": tracks_table(60, split="train")}, "no test tracks"),
        ({"tracks": tracks_table(60, fold=[1] * 59 + [None])}, "Track 't059' has no fold"),
        (
            {"tracks": tracks_table(60, split=["train"] * 40 + ["test"] * 20)},
            "Class 'folk' has test tracks but no training tracks",
        ),
    ],
)
def test_impossible_folds_are_errors(options, message):
    with pytest.raises(MgcError, match=message):
        plan(**options)
