"""The library functions on objects and folders."""

import inspect
import shutil
from pathlib import Path

import pandas as pd
import pytest
from generated_tables import genre_table

import mgc
from mgc.evaluation.tested_runs import load_run
from mgc.experiments.crossval import Summary
from mgc.transfer import files
from mgc.transfer.extraction import extract_audio
from mgc.transfer.outcome import Transfer

SETTINGS = {"classifier": "knn", "folds": 3, "jobs": 1}


def table(seed=0):
    return genre_table(layers=("penultimate",), seed=seed)


def test_loading_restores_everything(tmp_path):
    result = mgc.transfer(table(), tmp_path / "out", probabilities=True, **SETTINGS)
    loaded = Transfer.load(tmp_path / "out")
    assert loaded.folder == result.folder == tmp_path / "out"
    assert loaded.meta == result.meta
    for name in ("scores", "summary", "predictions"):
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(result, name))
    for stage in ("test", "validation"):
        ours, theirs = getattr(result, stage), getattr(loaded, stage)
        pd.testing.assert_frame_equal(theirs.tracks, ours.tracks)
        pd.testing.assert_frame_equal(theirs.clips, ours.clips)
        assert (theirs.task, theirs.labels) == (ours.task, ours.labels)


@pytest.mark.parametrize("change", [{"folds": 4}, {"classifier": "logistic"}, {"seed": 1}])
def test_probabilities_of_an_earlier_experiment_are_removed(tmp_path, change):
    mgc.transfer(table(), tmp_path, probabilities=True, **SETTINGS)
    mgc.transfer(table(), tmp_path, **SETTINGS)
    assert Transfer.load(tmp_path).test is not None
    other = mgc.transfer(table(), tmp_path, **SETTINGS | change)
    assert not list(tmp_path.glob("*/*.parquet"))
    loaded = Transfer.load(tmp_path)
    assert loaded.test is loaded.validation is None
    pd.testing.assert_frame_equal(load_run(tmp_path, "run").test.tracks, other.results.tracks)


def test_probabilities_of_an_earlier_experiment_are_not_loaded(tmp_path):
    """Even if they were copied back."""
    mgc.transfer(table(), tmp_path / "one", probabilities=True, **SETTINGS)
    other = mgc.transfer(table(1), tmp_path / "two", probabilities=True, **SETTINGS)
    shutil.copytree(tmp_path / "one" / "test", tmp_path / "two" / "test", dirs_exist_ok=True)
    assert Transfer.load(tmp_path / "two").test is None
    assert load_run(tmp_path / "two", "run").test.source == other.meta["source"]


def test_finished_experiment_is_loaded(tmp_path, monkeypatch):
    settings = {"out": tmp_path, **SETTINGS}
    one = mgc.transfer(table(), **settings)
    calls = []
    original = files.run_transfer
    monkeypatch.setattr(files, "run_transfer", lambda *a, **k: calls.append(1) or original(*a, **k))
    again = mgc.transfer(table(), **settings)
    assert not calls
    pd.testing.assert_frame_equal(again.predictions, one.predictions)
    for number, change in enumerate(
        ({"nested": False}, {}, {"probabilities": True}, {"folds": 4}, {"classifier": "logistic"}),
        1,
    ):
        mgc.transfer(table(), **settings | change)
        assert len(calls) == number
    other = table()
    other.source = {"model": "another"}
    assert mgc.transfer(other, **settings).meta["source"] == other.source


def test_results_of_other_commands_are_kept(tmp_path):
    one = mgc.transfer(table(), probabilities=True, **SETTINGS)
    one.test.source = {"model": "net"}
    one.test.save(tmp_path / "run" / "test")
    (tmp_path / "cv").mkdir()
    (tmp_path / "cv" / "summary.csv").write_text("of mgc crossval")
    for folder in ("run", "cv"):
        with pytest.raises(mgc.MgcError, match="was not written by mgc transfer"):
            mgc.transfer(table(), tmp_path / folder, **SETTINGS)


def test_results_are_those_of_the_folder(tmp_path):
    """Without probabilities, results are the decisions of the nested protocol."""
    result = mgc.transfer(table(), tmp_path / "out", **SETTINGS)
    loaded = Transfer.load(tmp_path / "out")
    assert result.test is loaded.test is loaded.validation is None
    pd.testing.assert_frame_equal(loaded.results.tracks, result.results.tracks)
    several = mgc.transfer(genre_table(), nested=True, **SETTINGS)
    with pytest.raises(mgc.MgcError, match="one combination of layers, found 12, 1, 2, mfcc"):
        _ = several.results


def crossval(result, folder):
    """Create a return value of mgc.cross_validate from the results of a transfer experiment."""
    nothing = pd.DataFrame()
    return Summary(result.test, result.validation, nothing, nothing, "", folder)


def test_fuse_takes_experiments(tmp_path):
    one = mgc.transfer(table(), probabilities=True, **SETTINGS)
    two = mgc.transfer(table(1), tmp_path / "two", probabilities=True, **SETTINGS)
    by_object = mgc.fuse([crossval(one, Path("one")), two], "product", fit_weights="validation")
    one.test.save(tmp_path / "one" / "test")
    one.validation.save(tmp_path / "one" / "validate")
    by_folder = mgc.fuse([tmp_path / "one", tmp_path / "two"], "product", fit_weights="validation")
    pd.testing.assert_frame_equal(by_object.tracks, by_folder.tracks)
    assert by_object.report == by_folder.report
    assert "product of one, two" in by_object.report


def test_compare_takes_experiments(tmp_path):
    one = mgc.transfer(table(), probabilities=True, **SETTINGS)
    two = mgc.transfer(table(1), tmp_path / "two", **SETTINGS)
    compared = mgc.compare({"one": crossval(one, None), "two": two})
    by_folder = mgc.compare({"one": one.test, "two": tmp_path / "two"})
    pd.testing.assert_frame_equal(compared.table, by_folder.table)
    accuracy = two.summary["nested"].item()
    assert compared.table.loc["two", "test/track_accuracy"].startswith(f"{accuracy:.3f}")
    assert list(mgc.compare([one, two]).table.index)[1] == "two"


def test_extract_names_its_options():
    options = inspect.signature(mgc.extract).parameters
    assert all(option.kind is not option.VAR_KEYWORD for option in options.values())
    expected = inspect.signature(extract_audio).parameters
    assert set(options) == set(expected) - {"ckpt"}
    for name in set(options) - {"audio", "out", "model", "devices"}:
        assert options[name].default == expected[name].default, name
