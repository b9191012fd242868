import numpy as np
import pytest
from generated_tables import mood_table, tracks_table
from sklearn.model_selection import KFold, StratifiedKFold

from mgc.errors import MgcError
from mgc.transfer.feature_table import FeatureTable
from mgc.transfer.folds import make_plan

LABELS = ("rock", "jazz", "folk")
CLASSES = np.arange(60) // 20


def plan(tracks=None, classes=CLASSES, **options):
    tracks = tracks_table(len(classes)) if tracks is None else tracks
    tracks["label"] = np.array(LABELS)[classes]
    return make_plan(FeatureTable(tracks, {}, "multiclass", LABELS), **options)


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
    made = make_plan(mood_table(), folds=4, seed=3)
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
            "class 'folk' has 20 test tracks, but no training tracks. Use --folds N, or drop",
        ),
    ],
)
def test_impossible_folds_are_errors(options, message):
    with pytest.raises(MgcError, match=message):
        plan(**options)


def tags(columns, **tracks):
    table = tracks_table(len(columns), **tracks)
    labels = tuple("xyz"[: columns.shape[1]])
    for name, column in zip(labels, columns.T, strict=True):
        table[f"target.{name}"] = column
    return FeatureTable(table, {}, "multilabel", labels)


def test_folds_are_stratified_by_tag():
    rare = (np.arange(60) < 10).astype(int)
    made = make_plan(tags(rare[:, None]), folds=10)
    assert made.description.startswith("10 stratified folds")
    assert [rare[rows(made, evaluation)].sum() for evaluation in made.paper] == [1] * 10


def test_folds_without_a_score_are_told(caplog):
    columns = np.stack([np.arange(60) < 4, np.arange(60) % 2], axis=1).astype(int)
    make_plan(tags(columns), folds=10)
    assert "in 6 of 10 test folds, labels have no score and are left out" in caplog.text
    assert "all or none of the test tracks have 'x'" in caplog.text


@pytest.mark.parametrize(
    ("positive", "message"),
    [
        (60, "no tag has both training tracks with it and training tracks without it"),
        (1, "no tag has both"),  # in the fit without the fold of the only track
        (2, "no score is defined, because all or none of the test tracks have 'x'"),
    ],
)
def test_tags_that_cannot_be_scored_are_errors(positive, message):
    split = ["train", "train", "train", "test"] * 15 if positive == 2 else None
    column = (np.arange(60) < positive).astype(int)
    with pytest.raises(MgcError, match=message):
        make_plan(tags(column[:, None], split=split), **({} if split else {"folds": 3}))


def test_a_small_given_split_chooses_settings_by_fewer_folds():
    split = ["train"] * 4 + ["test"] * 16
    made = plan(tracks_table(60, split=split * 3))
    assert made.description.endswith("settings chosen by 4 folds of train")
    with pytest.raises(MgcError, match="only 1 training tracks of class 'rock', too few"):
        plan(tracks_table(60, split=["test"] * 19 + ["train"] * 41))


def test_groups_on_both_sides_are_told(caplog):
    plan(tracks_table(60, fold=np.arange(60) % 3, group=["same"] * 2 + [None] * 58))
    assert "in training and test tracks of 2 of 3 folds" in caplog.text
