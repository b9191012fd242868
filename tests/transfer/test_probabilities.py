import numpy as np
import pandas as pd
import pytest
from generated_tables import genre_table, mood_table
from sklearn.metrics import log_loss

from mgc.cli import main
from mgc.errors import MgcError
from mgc.evaluation.fusion import fit_weights, fuse_runs
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import load_runs
from mgc.transfer.classifiers import calibrated_probabilities
from mgc.transfer.folds import plan_like

SETTING = {"kernel": "rbf", "gamma": 0.1, "C": 2.0}


@pytest.fixture
def saved(workdir):
    """Save two tables of the same 60 tracks in three classes."""
    for name, seed in (("one", 0), ("two", 1)):
        genre_table(layers=("penultimate",), seed=seed).save(f"{name}.parquet")
    return workdir


def transfer(name, *words, out=None, classifier="logistic"):
    words = (*words, "--probabilities", "--classifier", classifier, "--jobs", "1")
    main(["transfer", f"{name}.parquet", "--out", out or name, *words])


@pytest.mark.parametrize("classifier", ["svm_rbf", "logistic", "knn"])
def test_every_track_is_in_one_test_fold_and_one_validation_fold(saved, classifier):
    transfer("one", "--folds", "3", classifier=classifier)
    [run] = load_runs(["one"])
    for results in (run.test, run.validation):
        assert sorted(results.tracks["track"]) == [f"t{i:03d}" for i in range(60)]
        values = results.tracks[results.outputs].to_numpy()
        np.testing.assert_allclose(values.sum(1), 1)
        assert (values >= 0).all()
        decided = np.array(results.labels)[values.argmax(1)]
        assert (decided == results.tracks["decision"]).all()
        assert (results.tracks["label"] == decided).mean() > 0.45  # by chance 0.33
    # The next fold validates, as in mgc crossval.
    fold_of = run.test.tracks.set_index("track")["fold"]
    validated = run.validation.tracks
    assert (validated["track"].map(fold_of) == (validated["fold"] + 1) % 3).all()


def test_results_can_be_fused_with_fitted_weights(saved):
    for name in ("one", "two"):
        transfer(name, "--folds", "3")
    runs = load_runs(["one", "two"])
    fused = fuse_runs(runs, "weighted", fit=True)
    accuracy = [
        (results.tracks["label"] == results.tracks["decision"]).mean()
        for results in (fused, *(run.test for run in runs))
    ]
    assert accuracy[0] >= max(accuracy[1:])
    assert len(fit_weights(runs, "weighted")) == 3


def test_folds_of_copies_the_folds_of_a_cross_validation(saved):
    transfer("one", "--folds", "4", "--seed", "5", out="cv")
    transfer("two", "--folds_of", "cv")
    given, ours = (Results.load(f"{folder}/test").tracks for folder in ("cv", "two"))
    columns = ["track", "seed", "fold"]
    pd.testing.assert_frame_equal(
        given[columns].sort_values(columns, ignore_index=True),
        ours[columns].sort_values(columns, ignore_index=True),
    )
    fuse_runs(load_runs(["cv", "two"]), "product", fit=True)


def count_from_one(folder):
    """Number folds from 1, as earlier versions of mgc transfer did."""
    for stage in ("test", "validate"):
        results = Results.load(f"{folder}/{stage}")
        for rows in (results.clips, results.tracks):
            rows["fold"] += 1
        results.save(f"{folder}/{stage}")


def test_older_results_that_count_folds_from_one_are_readable(saved):
    for name in ("one", "two"):
        transfer(name, "--folds", "4", "--seed", "5")
    expected = Results.load("one/test").tracks
    count_from_one("one")
    pd.testing.assert_frame_equal(Results.load("one/test").tracks, expected)
    fuse_runs(load_runs(["one", "two"]), "product", fit=True)
    transfer("two", "--folds_of", "one", out="again")
    assert sorted(Results.load("again/test").tracks["fold"].unique()) == [0, 1, 2, 3]
    fuse_runs(load_runs(["one", "again"]), "product", fit=True)


def test_training_tracks_exclude_test_and_validation_tracks(saved):
    table = genre_table(layers=("penultimate",))
    fold = pd.DataFrame({"track": table.tracks["track"], "seed": 0, "fold": np.arange(60) % 3})
    test, validation = fold[fold["fold"] == 0], fold[fold["fold"] == 1].assign(fold=0)
    plan = plan_like(table, test, validation)
    [outer], [inner] = plan.nested, plan.validation
    numbers = np.arange(60)
    assert plan.fits[outer.fit].tests[outer.part].tolist() == numbers[numbers % 3 == 0].tolist()
    assert plan.fits[outer.fit].train.tolist() == numbers[numbers % 3 != 0].tolist()
    assert plan.fits[inner.fit].tests[inner.part].tolist() == numbers[numbers % 3 == 1].tolist()
    assert plan.fits[inner.fit].train.tolist() == numbers[numbers % 3 == 2].tolist()
    assert plan.inner == [[inner]]


def test_probabilities_are_calibrated():
    """Log-loss is far below that of overconfident probabilities, and confidence is not too high."""
    random = np.random.default_rng(0)
    targets = np.arange(300) % 3
    values = np.eye(3)[targets] + random.normal(size=(300, 3))
    found = calibrated_probabilities(SETTING, values[:200], values[200:], targets[:200])
    right = found.argmax(1) == targets[200:]
    sure = np.where(np.eye(3)[found.argmax(1)], 0.98, 0.01)
    assert log_loss(targets[200:], found) < 0.7 * log_loss(targets[200:], sure)
    assert 0.45 < found.max(1).mean() < right.mean() + 0.05


def test_classes_without_training_tracks_have_probability_zero():
    targets = np.repeat([0, 2], 6)
    values = np.random.default_rng(0).normal(size=(12, 2)) + targets[:, None]
    found = calibrated_probabilities(SETTING, values, values[:3], targets)
    assert found.shape == (3, 3)
    assert (found[:, 1] == 0).all()


def test_a_class_with_one_training_track_is_an_error():
    with pytest.raises(MgcError, match="A class has only 1 training track"):
        calibrated_probabilities(SETTING, np.eye(3), np.eye(3), np.array([0, 0, 1]))


def test_contradicting_options_are_errors(saved, capsys):
    def error(*words):
        with pytest.raises(SystemExit):
            main(["transfer", *words, "--out", "out", "--jobs", "1"])
        return capsys.readouterr().err

    genre_table().save("layers.parquet")
    assert "a single combination of layers" in error("layers.parquet", "--probabilities")
    assert "--folds_of excludes --folds" in error("one.parquet", "--folds_of", "x", "--folds", "3")
    assert "does not exist" in error("one.parquet", "--folds_of", "nowhere")
    mood_table(layers=("penultimate",)).save("mood.parquet")
    words = ("mood.parquet", "--probabilities", "--classifier", "knn", "--folds", "3")
    assert "--probabilities needs a multiclass task, not regression" in error(*words)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="seed"), "expects the output folder of mgc crossval"),
        (lambda rows: pd.concat([rows, rows.assign(seed=1)]), "one seed, not 2"),
        (lambda rows: rows.assign(track="other"), "the feature table lacks 60 of its tracks"),
    ],
)
def test_folds_of_needs_a_cross_validation_of_the_same_tracks(change, message):
    table = genre_table()
    rows = pd.DataFrame({"track": table.tracks["track"], "seed": 0, "fold": np.arange(60) % 3})
    with pytest.raises(MgcError, match=message):
        plan_like(table, change(rows), rows)
