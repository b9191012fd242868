"""All commands print the same interval for the same accuracy."""

import contextlib
import io
from dataclasses import replace

import pytest
import torch
from generated_tables import genre_table
from scipy.stats import binomtest

from mgc import checkpoint
from mgc.cli import main
from mgc.core.fingerprint import hash_file
from mgc.data.folder import Folder
from mgc.evaluation.intervals import describe_score
from mgc.evaluation.results import Results
from mgc.experiments.crossval import compute_summary
from mgc.models.vgg import VGGTagger
from mgc.reports.model_card import model_card


def run(*words):
    """Run a command and return its output."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main([*map(str, words)])
    return printed.getvalue()


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """Folder with results on 120 tracks and a checkpoint, the results, and transfer's output."""
    folder = tmp_path_factory.mktemp("tested")
    genre_table(120).save(folder / "features.parquet")
    words = ["--layers", "12", "--classifier", "knn", "--folds", "10", "--inner_folds", "2"]
    words += ["--probabilities", "--jobs", "1", "--out", folder / "transfer"]
    printed = run("transfer", folder / "features.parquet", *words)
    model = VGGTagger(num_classes=3, sample_rate=8000, channels=4)
    data = Folder("nowhere", labels=["a", "b", "c"], sample_rate=8000, clip_seconds=1.0)
    content = {"state_dict": model.state_dict(), checkpoint.HYPER: dict(model.hparams)}
    torch.save({**content, checkpoint.KEY: checkpoint.describe(model, data)}, folder / "best.ckpt")
    results = Results.load(folder / "transfer" / "test")
    digest = hash_file(folder / "best.ckpt", content_only=True)
    results.source = {"checkpoint": "best.ckpt", "sha256": digest, "folds": 10}
    for name in ("one", "two"):
        results.save(folder / name)
    return folder, results, printed


COMMANDS = {
    "transfer": lambda folder, results, printed: printed,
    "report transfer": lambda folder, results, printed: run(
        "report", "transfer", folder / "transfer", "--out", "report"
    ),
    "test": lambda folder, results, printed: describe_score(results),
    "crossval": lambda folder, results, printed: compute_summary(results, results).text,
    "compare": lambda folder, results, printed: run("compare", folder / "one", folder / "two"),
    "fuse": lambda folder, results, printed: run(
        "fuse", folder / "one", folder / "two", "--method", "weighted", "--out", "fused"
    ),
    "report experiment": lambda folder, results, printed: run(
        "report", "experiment", folder / "one", folder / "two", "--out", "report"
    ),
    "card": lambda folder, results, printed: model_card(folder / "best.ckpt", test=folder / "one"),
    "compare transfer": lambda folder, results, printed: run(
        "compare", folder / "one", folder / "transfer"
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_the_same_interval(command, tested):
    tracks = tested[1].tracks
    right = int((tracks["label"] == tracks["decision"]).sum())
    assert 60 < right < 120
    reference = binomtest(right, 120).proportion_ci(0.95, "wilson")
    text = COMMANDS[command](*tested)
    assert f"{right / 120:.3f}" in text
    assert f"{reference.low:.3f} to {reference.high:.3f}" in text
    assert "95 % Wilson interval over 120 tracks" in text


@pytest.mark.parametrize("command", ["test", "crossval", "compare", "fuse", "report experiment"])
def test_accuracy_without_errors_has_an_interval(command, tmp_path):
    tracks = genre_table(40).tracks[["track", "label"]]
    tracks = tracks.assign(decision=tracks["label"], vote=tracks["label"])
    for label in "abc":
        tracks[f"probability.{label}"] = (tracks["label"] == label).astype(float)
    clips = tracks.drop(columns="vote").assign(clip=0, start=0.0)
    results = Results(clips, tracks, "multiclass", ("a", "b", "c"), {"folds": 1})
    for name in ("one", "two"):
        results.save(tmp_path / name)
    text = COMMANDS[command](tmp_path, replace(results), "")
    assert "1.000" in text
    assert "0.912 to 1.000" in text
    assert "1.000 to 1.000" not in text
    assert "nan" not in text
