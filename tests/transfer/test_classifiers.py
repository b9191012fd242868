import numpy as np
import pytest
from generated_tables import genre_table, mood_table, tag_table
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.svm import SVC, SVR

from mgc.errors import MgcError
from mgc.transfer.classifiers import get_classifier

TRAIN, TEST = np.arange(60) % 4 > 0, np.arange(60) % 4 == 0


def sweep(name, table, **options):
    """Return (setting, decision) pairs, and the features of training and test tracks."""
    features = np.concatenate(list(table.layers.values()), axis=1, dtype=float)
    classifier = get_classifier(name)
    settings = classifier.settings(features.shape[1])
    parts = features[TRAIN], features[TEST]
    decided = dict(classifier.sweep(settings, *parts, table.targets[TRAIN], table.task, **options))
    assert sorted(decided) == list(range(len(settings)))
    return [(setting, decided[i]) for i, setting in enumerate(settings)], *parts


def plain(setting):
    """Drop NaN values, to pass a setting to scikit-learn."""
    return {name: value for name, value in setting.items() if value == value}


def test_the_grid_is_that_of_the_paper():
    settings = get_classifier("svm").settings(160)
    assert len(settings) == 7 * 4 + 4
    assert {s["gamma"] for s in settings if s["kernel"] == "rbf"} == {
        *(2.0**-power for power in (3, 5, 7, 9, 11, 13)),
        1 / 160,
    }
    assert len(get_classifier("svm").settings(32)) == 6 * 4 + 4  # 1/32 is in the list already


def test_every_svm_setting_predicts_like_scikit_learn():
    table = genre_table()
    decided, train, test = sweep("svm", table)
    for setting, decision in decided:
        reference = SVC(**plain(setting)).fit(train, table.targets[TRAIN])
        np.testing.assert_array_equal(decision.value, reference.predict(test), err_msg=setting)


def test_scores_agree_with_the_decisions():
    decided, *_ = sweep("svm", genre_table(), scores=True)
    for _, decision in decided:
        assert decision.scores.shape == (15, 3)
        assert (
            decision.scores.argmax(1) == decision.value
        ).mean() > 0.9  # pairwise votes may be tied


def test_two_classes_have_two_scores():
    decided, *_ = sweep("svm", genre_table(classes=2), scores=True)
    for _, decision in decided:
        np.testing.assert_array_equal(decision.scores.argmax(1), decision.value)


def test_svm_regression_predicts_like_scikit_learn():
    table = mood_table()
    decided, train, test = sweep("svm", table)
    for setting, decision in decided:
        # Linear regression has an exact solver; libsvm needs a small tolerance to match it.
        tight = {"tol": 1e-6} if setting["kernel"] == "linear" else {}
        for column in range(2):
            reference = SVR(**plain(setting), **tight).fit(train, table.targets[TRAIN, column])
            np.testing.assert_allclose(
                decision.value[:, column], reference.predict(test), atol=1e-4, err_msg=setting
            )


def test_each_tag_has_its_own_machine():
    table = tag_table()
    decided, train, test = sweep("svm", table)
    for setting, decision in decided:
        assert decision.value.shape == (15, 3)
        reference = SVC(**plain(setting)).fit(train, table.targets[TRAIN, 1])
        np.testing.assert_allclose(
            decision.value[:, 1], reference.decision_function(test), atol=1e-9
        )
        assert not decision.value[:, 2].any()  # no track has this tag


def test_neighbours_predict_like_scikit_learn():
    table, moods = genre_table(), mood_table()
    decided, train, test = sweep("knn", table)
    for setting, decision in decided:
        reference = KNeighborsClassifier(**setting).fit(train, table.targets[TRAIN])
        np.testing.assert_allclose(decision.scores, reference.predict_proba(test))
    decided, train, test = sweep("knn", moods)
    for setting, decision in decided:
        reference = KNeighborsRegressor(**setting).fit(train, moods.targets[TRAIN])
        np.testing.assert_allclose(decision.value, reference.predict(test))


def test_linear_models_predict_like_scikit_learn():
    table, moods, tags = genre_table(), mood_table(), tag_table()
    decided, train, test = sweep("logistic", table)
    for setting, decision in decided:
        reference = LogisticRegression(**setting, max_iter=5000).fit(train, table.targets[TRAIN])
        np.testing.assert_array_equal(decision.value, reference.predict(test))
        np.testing.assert_allclose(decision.scores.sum(1), 1)
    decided, train, test = sweep("logistic", moods)
    for setting, decision in decided:
        reference = Ridge(1 / setting["C"]).fit(train, moods.targets[TRAIN])
        np.testing.assert_allclose(decision.value, reference.predict(test))
    for _, decision in sweep("logistic", tags)[0]:
        assert decision.are_probabilities
        assert ((decision.value >= 0) & (decision.value <= 1)).all()


def test_an_unknown_classifier_is_an_error():
    expected = r"Unknown classifier 'tree'.*Choose from svm, svm_rbf, knn, logistic"
    with pytest.raises(MgcError, match=expected):
        get_classifier("tree")
