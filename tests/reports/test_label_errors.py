"""Report of wrong labels."""

import os
import re
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

import mgc
from mgc.cli import main
from mgc.core.csv import read_csv
from mgc.errors import MgcError
from mgc.evaluation.results import Results
from mgc.reports.label_errors import find_audio, find_label_errors

LABELS = ("jazz", "pop", "rock")


def classify(wrong: int = 20, tracks: int = 200, noise: int = 0) -> Results:
    """Return results of a model that knows the true classes; the first labels are wrong."""
    rng = np.random.default_rng(noise)
    true = np.arange(tracks) % 3
    logits = rng.normal(0, 1, (tracks, 3)) + 4 * np.eye(3)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    given = np.where(np.arange(tracks) < wrong, (true + 1) % 3, true)
    rows = pd.DataFrame({"track": [f"t{i:03}" for i in range(tracks)], "split": "test"})
    rows["label"] = np.array(LABELS, object)[given]
    rows["decision"] = np.array(LABELS, object)[probabilities.argmax(1)]
    rows[[f"probability.{label}" for label in LABELS]] = probabilities
    return Results.from_tracks(rows, "multiclass", LABELS, {"stage": "test"})


def tag(wrong: int = 10, tracks: int = 200) -> Results:
    """Return results for two tags; the first tracks wrongly lack the tag ``rock``."""
    rng = np.random.default_rng(0)
    true = rng.random((tracks, 2)) < 0.5
    true[:wrong, 1] = True
    logits = rng.normal(0, 0.7, true.shape) + np.where(true, 3, -3)
    given = true.copy()
    given[:wrong, 1] = False
    rows = pd.DataFrame({"track": [f"t{i:03}" for i in range(tracks)], "split": "test"})
    rows[["target.guitar", "target.rock"]] = given.astype(float)
    rows[["probability.guitar", "probability.rock"]] = 1 / (1 + np.exp(-logits))
    return Results.from_tracks(rows, "multilabel", ("guitar", "rock"), {})


def test_wrong_labels_are_ranked_first_and_suspected() -> None:
    table = find_label_errors([classify(wrong=20)]).tracks
    assert {f"t{i:03}" for i in range(20)} >= set(table["track"][:15])
    assert 15 <= table["suspected"].sum() <= 25
    assert table["suspected"].is_monotonic_decreasing
    suspected = table[table["suspected"]]
    assert (suspected["label"] != suspected["suggested"]).all()
    assert (suspected["probability_label"] < suspected["probability_suggested"]).all()


@pytest.mark.parametrize("wrong", [10, 20, 40])
def test_interval_of_the_share_contains_the_truth(wrong: int) -> None:
    share = find_label_errors([classify(wrong)]).share
    assert share.interval.low <= wrong / 200 <= share.interval.high
    assert share.interval.low <= share.value <= share.interval.high


def test_classes_are_counted_with_what_is_suggested() -> None:
    classes = find_label_errors([classify(wrong=30)]).classes.set_index("label")
    assert classes["tracks"].sum() == 200
    assert classes.loc["pop", "suggested"].startswith("jazz (")


def test_probabilities_of_several_models_are_averaged() -> None:
    one, two = classify(noise=1), classify(noise=2)
    table = find_label_errors({"one": one, "two": two}).tracks.set_index("track")
    label = one.tracks["label"][0]
    means = [r.tracks[f"probability.{label}"][0] for r in (one, two)]
    assert table.loc["t000", "probability_label"] == pytest.approx(np.mean(means))


def test_probabilities_of_several_seeds_are_averaged() -> None:
    seeds = [classify(noise=seed).tracks.assign(seed=seed, fold=seed) for seed in (0, 1)]
    rows = pd.concat(seeds, ignore_index=True)
    errors = find_label_errors([Results.from_tracks(rows, "multiclass", LABELS, {})])
    assert len(errors.tracks) == 200
    mean = rows.loc[rows["track"] == "t000", "probability.pop"].mean()
    assert errors.tracks.set_index("track").loc["t000", "probability_label"] == pytest.approx(mean)


def test_wrong_tags_are_found() -> None:
    errors = find_label_errors([tag()])
    assert set(errors.tracks["track"][:8]) <= {f"t{i:03}" for i in range(10)}
    first = errors.tracks.iloc[0]
    assert first["tag"] == "rock"
    assert first["suggested"] in ("rock", "guitar|rock")
    assert "rock" not in first["label"]
    assert errors.classes.set_index("tag").loc["rock", "to add"] >= 8
    low, high = errors.share.interval
    assert low <= 10 / 400 <= high


def test_a_tag_of_no_track_is_not_suspected() -> None:
    results = tag(wrong=0)
    results.tracks["target.rock"] = 0.0
    errors = find_label_errors([results])
    assert errors.classes.set_index("tag").loc["rock", "suspected"] == 0


def test_labels_without_contradiction_are_not_suspected() -> None:
    results = classify(wrong=0)
    results.tracks["label"] = results.tracks["decision"]
    errors = find_label_errors([results])
    assert not errors.tracks["suspected"].any()
    assert errors.share.value == 0
    assert "Suspected: 0 of 200 tracks. The models agree with 100.0% of the labels." in errors.text


def test_report_doubts_models_that_contradict_most_labels() -> None:
    assert "probably errors of the models" not in find_label_errors([classify(20)]).text
    assert "probably errors of the models" in find_label_errors([classify(150)]).text


def regression() -> Results:
    rows = pd.DataFrame({"track": ["a"], "target.energy": [1.0], "prediction.energy": [1.0]})
    return Results.from_tracks(rows, "regression", ("energy",), {})


def training() -> Results:
    results = classify()
    results.tracks["split"] = "train"
    return results


def decisions() -> Results:
    results = classify()
    results.tracks = results.tracks.drop(columns="probability.pop")
    return results


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (regression, "regression"),
        (training, "no test tracks"),
        (decisions, r"no probabilities \(probability.pop\)"),
    ],
)
def test_unsuitable_results_are_refused(results, message: str) -> None:
    with pytest.raises(MgcError, match=message):
        find_label_errors([results()])


def test_runs_must_have_the_same_labels() -> None:
    other = classify()
    other.tracks.loc[5, "label"] = "pop" if other.tracks["label"][5] != "pop" else "jazz"
    with pytest.raises(MgcError, match="the label of track 't005'"):
        find_label_errors({"one": classify(), "two": other})


def write_music(folder: Path, results: Results) -> None:
    """Write a short file for the first tracks, and name the tracks as the data set does."""
    samples = 0.1 * np.random.default_rng(0).normal(size=4000)
    names = {}
    for i, label in enumerate(results.tracks["label"][:6]):
        path = folder / label / f"a #{i} <b> & 'c'.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, 8000)
        names[results.tracks["track"][i]] = path.relative_to(folder).as_posix()
    for rows in (results.tracks, results.clips):
        rows["track"] = rows["track"].replace(names)


@pytest.fixture
def run(workdir: Path) -> Path:
    """Run on a folder of music, with its configuration."""
    results = classify()
    write_music(Path("music"), results)
    results.save("run/test")
    data = {"class_path": "mgc.data.folder.Folder", "init_args": {"root": "music"}}
    Path("run/config.yaml").write_text(yaml.safe_dump({"data": data}))
    return Path("run")


def test_command_writes_table_report_and_page(run: Path, capsys) -> None:
    main(["report", "labels", str(run), "--out", "deep/report", "--top", "30"])
    assert "Estimated share of wrong labels" in capsys.readouterr().out
    assert {p.name for p in Path("deep/report").iterdir()} == {
        "labels.csv",
        "report.md",
        "labels.html",
    }
    table = read_csv("deep/report/labels.csv", text=("track", "label", "suggested"))
    assert list(table["suspected"].unique()) == ["true", "false"]
    assert table["exclude"].isna().all()
    page = Path("deep/report/labels.html").read_text()
    assert page.count("<section>") == 30
    assert not re.search(r"https?:|//", re.sub(r"base64,[\w+/=]*", "", page))
    links = [unescape(link) for link in re.findall(r'src="([^"]*)"', page)]
    players = [link for link in links if not link.startswith("data:")]
    assert len(players) == page.count("data:image/png;base64,") == 6
    assert all(Path("deep/report", unquote(link)).is_file() for link in players)


def test_excerpts_are_played_alone(workdir: Path) -> None:
    results = classify()
    soundfile.write("song.wav", 0.1 * np.random.default_rng(0).normal(size=16000), 8000)
    files = pd.DataFrame({"track": ["t000"], "path": ["song.wav"], "begin": [0.5], "end": [1.5]})
    find_label_errors([results]).save("out", files)
    assert '"../song.wav#t=0.5,1.5"' in Path("out/labels.html").read_text()


def test_page_without_files_has_no_players(run: Path, capsys) -> None:
    os.rename("music", "moved")
    main(["report", "labels", str(run), "--out", "report"])
    assert "labels.html has no players: music: no such folder" in capsys.readouterr().out
    page = Path("report/labels.html").read_text()
    assert "<audio" not in page
    assert "This page has no players. music: no such folder" in page
    main(["report", "labels", str(run), "--out", "report", "--root", "moved"])
    assert "<audio" in Path("report/labels.html").read_text()


def test_broken_files_have_no_spectrogram(run: Path) -> None:
    for path in Path("music").rglob("*.wav"):
        path.write_bytes(b"RIFF")
    find_label_errors([run]).save("report", find_audio([run]))
    page = Path("report/labels.html").read_text()
    assert page.count("No spectrogram: ") == page.count("<audio") == 6


def test_data_set_needs_a_root(run: Path, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["report", "labels", str(run), "--out", "report", "--data", "folder"])
    assert stop.value.code == 2
    assert "--data folder also needs --root" in capsys.readouterr().err
    assert not Path("report").exists()


def test_cleanlab_is_optional(run: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(SystemExit):
        main(["report", "labels", str(run), "--out", "report"])
    assert f"pip install '{mgc.DISTRIBUTION}[labels]'" in capsys.readouterr().err
