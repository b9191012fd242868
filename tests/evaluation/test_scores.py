from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics

from mgc.evaluation.intervals import overall, score
from mgc.evaluation.per_class import per_class
from mgc.evaluation.results import Results, make_results
from mgc.evaluation.scores import (
    ClipScores,
    majority_vote,
    mean_by_track,
    measure,
    track_log_odds,
)
from mgc.task import Task


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


def normal(mean: float, spread: float, rows: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, spread, (rows, 2)).astype(np.float32)


#: Targets and predictions of two quantities.
QUANTITIES = {
    "around 0": (normal(0, 1), normal(0, 1, seed=1)),
    "years": (normal(1990, 12), normal(1990, 12, seed=1)),
    "far from 0": (normal(1e4, 1), normal(1e4, 0.7, seed=1)),
    "far from 0, precise": (normal(2000, 0.1), normal(2000, 0.1, seed=1)),
    "large": (normal(1e18, 1e16), normal(1e18, 1e16, seed=1)),
    "two tracks": (normal(1990, 12, 2), normal(1990, 12, 2, seed=1)),
    "constant target": (np.full((5, 2), 1990, np.float32), normal(1990, 12, 5)),
    "constant and right": (np.full((5, 2), 0.1, np.float32), np.full((5, 2), 0.1, np.float32)),
    "constant predictions": (normal(1990, 12), np.full((40, 2), 1990, np.float32)),
}


def results_of(outputs: torch.Tensor, target: torch.Tensor, task: Task) -> Results:
    """Return the results of clips, one per track."""
    rows = torch.arange(len(outputs))
    names = [str(number) for number in rows.tolist()]
    clips = {"logits": outputs, "target": target, "track": rows, "clip": rows * 0, "start": rows}
    labels = tuple("abcdef"[: outputs.shape[1]])
    return make_results(clips, pd.DataFrame({"track": names}), task, labels)


def saved(results: Results, folder: Path) -> Results:
    results.save(folder)
    return Results.load(folder)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", QUANTITIES)
def test_regression_agrees_with_scikit_learn(case: str, tmp_path: Path) -> None:
    target, predicted = QUANTITIES[case]
    exact, outputs = target.astype(np.float64), predicted.astype(np.float64)
    each = metrics.r2_score(exact, outputs, multioutput="raw_values")
    rmse = metrics.root_mean_squared_error(exact.flatten(), outputs.flatten())
    tensors = torch.from_numpy(predicted), torch.from_numpy(target)
    found = measure(*tensors, "regression", "ab")
    assert found["r2"] == pytest.approx(each.mean(), rel=1e-12)
    assert [found["r2_a"], found["r2_b"]] == pytest.approx(each, rel=1e-12)
    assert found["rmse"] == pytest.approx(rmse, rel=1e-12)
    results = saved(results_of(*tensors, "regression"), tmp_path)
    assert overall(results) == pytest.approx(each.mean(), rel=1e-9)
    assert score(results, measure="rmse").value == pytest.approx(rmse, rel=1e-12)
    assert per_class(results)["r2"].tolist() == pytest.approx(each, rel=1e-12)


def logits_of(scale: float, offset: float = 0.0, decimals: int = 9) -> np.ndarray:
    values = np.random.default_rng(0).normal(0, 1, (300, 3)).round(decimals)
    return (values * scale + offset).astype(np.float32)


#: Logits of three tags.
TAGS = {
    "usual": logits_of(2),
    "ties": logits_of(1, decimals=0),
    "constant": np.zeros((300, 3), np.float32),
    "large": logits_of(8),
    "saturated": logits_of(100),
    "all near 1": logits_of(1, 40),
    "all near 0": logits_of(1, -900),
    "extreme": logits_of(1e30),
    "one track": logits_of(1)[:1],
    "two tracks": logits_of(1)[:2],
}


@pytest.mark.parametrize("case", TAGS)
def test_tags_agree_with_scikit_learn(case: str, tmp_path: Path) -> None:
    logits = TAGS[case]
    target = (logits_of(1)[: len(logits)] + normal(0, 1, 450).reshape(300, 3)[: len(logits)]) > 0
    target[:, 2] = False  # a tag that no track has
    known = [tag for tag in range(3) if 0 < target[:, tag].sum() < len(target)]
    expected = {
        name: np.mean([metric(target[:, tag], logits[:, tag]) for tag in known]) if known else nan
        for name, metric in (
            ("auroc", metrics.roc_auc_score),
            ("average_precision", metrics.average_precision_score),
        )
    }
    tensors = torch.from_numpy(logits), torch.from_numpy(target.astype(np.float32))
    found = measure(*tensors, "multilabel", "abc")
    results = saved(results_of(*tensors, "multilabel"), tmp_path)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12, nan_ok=True)
        assert score(results, measure=name).value == pytest.approx(value, abs=1e-12, nan_ok=True)
        each = per_class(results)[name].dropna()
        assert (each.mean() if len(each) else nan) == pytest.approx(value, abs=1e-12, nan_ok=True)


def test_tracks_are_ranked_by_their_mean_probability() -> None:
    logits = torch.tensor([[-2.0], [3.0], [0.5], [0.5], [0.5], [50.0], [60.0], [45.0], [-1e4]])
    track = torch.tensor([0, 0, 1, 1, 2, 3, 3, 4, 5])
    odds = track_log_odds(logits, track).flatten()
    means = mean_by_track(logits.double().sigmoid(), track)[1].flatten()
    torch.testing.assert_close(odds[:3], means[:3].logit())
    assert odds[1] == odds[2]
    assert means[3] == means[4] == 1
    assert odds[3] > odds[4]
    assert odds[3:].tolist() == pytest.approx([50.693102, 45, -1e4])


#: Outputs and targets of three classes.
CLASSES = {
    "usual": (logits_of(2), np.arange(300) % 3),
    "ties": (logits_of(1, decimals=0), np.arange(300) % 3),
    "class without tracks": (logits_of(1), np.arange(300) % 2),
    "never decided": (logits_of(1) * [1, 1, 0] - [0, 0, 99], np.arange(300) % 3),
    "saturated": (logits_of(1e4), np.arange(300) % 3),
    "one track": (logits_of(1)[:1], np.array([2])),
}


@pytest.mark.parametrize("case", CLASSES)
def test_classes_agree_with_scikit_learn(case: str, tmp_path: Path) -> None:
    logits, target = CLASSES[case]
    logits = logits.astype(np.float32)
    decided = logits.argmax(axis=1)
    accuracy = metrics.accuracy_score(target, decided)
    f1 = metrics.f1_score(target, decided, average="macro")
    tensors = torch.from_numpy(logits), torch.from_numpy(target)
    found = measure(*tensors, "multiclass", "abc")
    assert found == pytest.approx({"accuracy": accuracy, "f1": f1}, rel=1e-12)
    results = saved(results_of(*tensors, "multiclass"), tmp_path)
    assert score(results).value == pytest.approx(accuracy, rel=1e-12)
    assert score(results, measure="f1").value == pytest.approx(f1, rel=1e-12)


def test_nan_never_wins() -> None:
    outputs = torch.tensor([[0.9, 0.1], [torch.nan, torch.nan], [torch.nan, 0.2]])
    assert measure(outputs, torch.tensor([0, 0, 0]), "multiclass", "ab")["accuracy"] == 1 / 3
    for task, name in (("multilabel", "auroc"), ("regression", "r2")):
        target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        assert np.isnan(measure(outputs, target, task, "ab")[name])


def test_tags_that_do_not_occur_are_ignored() -> None:
    outputs = torch.tensor([[0.9, 0.1], [0.1, 0.2], [0.8, 0.3]])
    target = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert measure(outputs, target, "multilabel", "ab")["auroc"] == 1
    assert np.isnan(measure(outputs, target * 0, "multilabel", "ab")["auroc"])
