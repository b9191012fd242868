import numpy as np
import pytest
import torch
from sklearn import metrics

from mgc.evaluation.scores import ClipScores, majority_vote, mean_by_track, measure


def batch(track: list[int], clip: list[int]) -> dict[str, torch.Tensor]:
    return {
        "target": torch.tensor(track),
        "track": torch.tensor(track),
        "clip": torch.tensor(clip),
        "start": torch.tensor(clip) * 10,
    }


def test_clips_count_once_and_broken_clips_are_ignored() -> None:
    scores = ClipScores()
    scores.update(torch.tensor([[1.0], [2.0], [9.0]]), batch([1, 0, -1], [0, 1, 0]))
    scores.update(torch.tensor([[0.0], [1.0]]), batch([0, 1], [0, 0]))
    clips = scores.compute()
    assert clips["track"].tolist() == [0, 0, 1]
    assert clips["clip"].tolist() == [0, 1, 0]
    assert clips["logits"].flatten().tolist() == [0.0, 2.0, 1.0]


def test_mean_by_track() -> None:
    tracks, means = mean_by_track(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([4, 7, 7]))
    assert tracks.tolist() == [4, 7]
    assert means.flatten().tolist() == [0.0, 2.0]


def test_majority_vote_and_mean_can_differ() -> None:
    clips = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.0, 1.0]])
    track = torch.zeros(3, dtype=torch.long)
    assert majority_vote(clips, track).tolist() == [0]
    assert mean_by_track(clips, track)[1].argmax().item() == 1


def test_tied_votes_are_decided_by_the_mean() -> None:
    clips = torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0]])
    assert majority_vote(clips, torch.zeros(2, dtype=torch.long)).tolist() == [1]


def test_measures_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    outputs = torch.from_numpy(rng.random((200, 4), np.float32))
    classes = torch.from_numpy(rng.integers(0, 4, 200))
    found = measure(outputs, classes, "multiclass", "abcd")
    decisions = outputs.argmax(dim=1)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(classes, decisions))
    assert found["f1"] == pytest.approx(metrics.f1_score(classes, decisions, average="macro"))

    tags = torch.from_numpy(rng.integers(0, 2, (200, 4)).astype(np.float32))
    found = measure(outputs, tags, "multilabel", "abcd")
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(tags, outputs), abs=1e-5)
    expected = metrics.average_precision_score(tags, outputs)
    assert found["average_precision"] == pytest.approx(expected, abs=1e-5)

    values = outputs + torch.from_numpy(rng.normal(0, 0.1, (200, 4)).astype(np.float32))
    found = measure(outputs, values, "regression", "abcd")
    assert found["r2"] == pytest.approx(metrics.r2_score(values, outputs), abs=1e-5)
    assert found["r2_a"] == pytest.approx(metrics.r2_score(values[:, 0], outputs[:, 0]), abs=1e-5)
    assert found["rmse"] == pytest.approx(
        metrics.root_mean_squared_error(values.flatten(), outputs.flatten())
    )


def test_tags_that_do_not_occur_are_ignored() -> None:
    outputs = torch.tensor([[0.9, 0.1], [0.1, 0.2], [0.8, 0.3]])
    target = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert measure(outputs, target, "multilabel", "ab")["auroc"] == 1
    assert np.isnan(measure(outputs, target * 0, "multilabel", "ab")["auroc"])
