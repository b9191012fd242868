from pathlib import Path

import pandas as pd
import pytest
import torch

from mgc.errors import MgcError
from mgc.evaluation.per_class import confusion_matrix, per_class, plot_confusion, worst_mistakes
from mgc.evaluation.results import Results, make_results

TRACKS = pd.DataFrame({"track": ["one", "two", "three"], "split": "test", "label": ["a", "b", "b"]})


@pytest.fixture
def results() -> Results:
    clips = {
        "logits": torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [1.0, 0.0]]),
        "target": torch.tensor([0, 0, 1, 1]),
        "track": torch.tensor([0, 0, 1, 2]),
        "clip": torch.tensor([0, 1, 0, 0]),
        "start": torch.tensor([0, 4000, 0, 0]),
    }
    return make_results(clips, TRACKS, "multiclass", ("a", "b"), sample_rate=8000)


def test_tables(results: Results) -> None:
    assert results.clips["start"].tolist() == [0.0, 0.5, 0.0, 0.0]
    assert results.clips["decision"].tolist() == ["a", "b", "b", "a"]
    assert results.tracks["track"].tolist() == ["one", "two", "three"]
    assert results.tracks["decision"].tolist() == ["a", "b", "a"]
    assert results.tracks[results.outputs].sum(axis=1).tolist() == pytest.approx([1, 1, 1])


def test_votes_and_classes(results: Results) -> None:
    voted = results.with_votes()
    assert voted.tracks["decision"].tolist() == results.tracks["vote"].tolist()
    of_class = results.of_class("b")
    assert of_class.tracks["track"].tolist() == ["two", "three"]
    assert of_class.clips["track"].tolist() == ["two", "three"]
    assert of_class.labels == results.labels


def test_round_trip(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "test")
    again = Results.load(tmp_path / "test")
    pd.testing.assert_frame_equal(again.tracks, results.tracks)
    pd.testing.assert_frame_equal(again.clips, results.clips)
    assert (again.task, again.labels) == ("multiclass", ("a", "b"))
    assert sorted(p.name for p in (tmp_path / "test").iterdir()) == [
        "clips.parquet",
        "tracks.parquet",
    ]


def test_classes(results: Results, tmp_path: Path) -> None:
    counts = confusion_matrix(results)
    assert counts.loc["b"].tolist() == [1, 1]
    assert per_class(results).loc["b", "recall"] == 0.5
    assert worst_mistakes(results, 5)["track"].tolist() == ["three"]
    plot_confusion(counts, "title", tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_regression_has_predictions() -> None:
    clips = {
        "logits": torch.tensor([[0.5, -1.0], [0.7, 1.0]]),
        "target": torch.tensor([[0.4, -1.0], [0.8, 1.0]]),
        "track": torch.tensor([0, 2]),
        "clip": torch.tensor([0, 0]),
        "start": torch.tensor([0, 0]),
    }
    results = make_results(clips, TRACKS.drop(columns="label"), "regression", ("x", "y"))
    assert results.tracks["prediction.x"].tolist() == pytest.approx([0.5, 0.7])
    assert results.tracks["target.y"].tolist() == [-1.0, 1.0]
    assert per_class(results).loc["y", "r2"] == 1


def test_unreadable_results(tmp_path: Path) -> None:
    with pytest.raises(MgcError, match=r"clips\.parquet does not exist"):
        Results.load(tmp_path)
    (tmp_path / "clips.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(MgcError, match=r"clips\.parquet is damaged, or not a Parquet file"):
        Results.load(tmp_path)
