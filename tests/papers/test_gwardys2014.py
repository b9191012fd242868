"""The whole experiment at tiny size, with folds in this process."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from mgc.cli import main
from mgc.data.gtzan import GENRES
from mgc.evaluation.alignment import align
from mgc.evaluation.tested_runs import load_run
from mgc.papers.gwardys2014 import ACCURACY, CONFUSION
from mgc.papers.reproducing import describe_data

OVERRIDES = """
    --model.backbone test_resnet --model.pretrained false --model.image_size 32
    --model.n_fft 256 --model.hop_length 256 --model.harmonic_length 9 --model.percussive_length 9
    --data.sample_rate 8000 --data.clip_seconds 2 --data.num_workers 0
    --trainer.max_epochs 1 --trainer.limit_train_batches 1 --trainer.logger false
    --trainer.accelerator cpu
"""


def test_whole_experiment(folds, tones, capsys, workdir):
    words = ["reproduce", "gwardys2014", "--root", str(tones), "--out", "out"]
    words += ["--", *OVERRIDES.split()]
    main(words)
    assert [Path(fold.folder).parents[1].name for fold in folds] == [
        "finetuned_original",
        "finetuned_harmonic",
        "finetuned_percussive",
    ]
    tables = Path("out/tables.md").read_text()
    lines = [line.split(" | ") for line in tables.splitlines() if line.startswith("| ")]
    published = {(line[0][2:], line[1]) for line in lines}
    assert {("Original", "68"), ("Percussive", "65"), ("Percussive", "64")} <= published
    assert {("Original + harmonic + percussive", "78"), ("… multiplied", "76")} <= published
    scores = pd.read_csv("out/scores.csv")
    assert scores["ours"].notna().sum() == 21
    claims = pd.read_csv("out/claims.csv").set_index("claim")
    assert claims.loc["Merged SVMs over the original one", "published"] == pytest.approx(0.1)
    assert set(claims["tracks"]) == {10}
    assert f"of its 1000 tracks, {tones} has 0 (identified by name and length) among 100." in tables
    systems = pd.read_csv("out/report/systems.csv").set_index("system")
    assert len(systems) == 21
    assert systems.loc["svm_all", "published"] == 0.78
    # Equal, also in the paper: the harmonic component has weight 0.
    for column in ("accuracy", "published"):
        merged, alone = (
            systems.loc[f"finetuned_{name}", column]
            for name in ("harmonic_percussive", "percussive")
        )
        assert merged == alone
    # Networks and SVMs have the same test tracks; the SVMs have different outputs.
    runs = {name: load_run(f"out/{name}", name) for name in systems.index}
    tracks = {tuple(sorted(run.test.tracks["track"])) for run in runs.values()}
    assert len(tracks) == 1
    machines = [
        runs[f"svm_{name}"].test
        for name in ("original", "harmonic", "percussive", "all", "all_product")
    ]
    # Both networks of this test have random weights, of the same seed.
    assert systems.loc["random_all", "accuracy"] == systems.loc["svm_all", "accuracy"]
    outputs = {tuple(align(test).tracks[test.outputs[0]]) for test in machines}
    assert len(outputs) == 5
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("$ mgc ")]
    assert [line.split()[2] for line in shown] == [
        *["crossval"] * 3,
        *["extract", "transfer"] * 6,
        *["fuse"] * 12,
    ]
    # A rerun computes nothing. Without the report, it does not draw 21 matrices again.
    written = Path("out/original.parquet").stat().st_mtime_ns
    main([*words[:6], "--only", "finetuned,svm,random,fusion", *words[6:]])
    assert len(folds) == 3
    assert Path("out/original.parquet").stat().st_mtime_ns == written


def test_published_matrices_count_10_tracks_of_each_genre():
    for system, rows in CONFUSION.items():
        assert [sum(row) for row in rows] == [100] * len(GENRES), system
        assert np.trace(rows) / len(GENRES) == ACCURACY[system][0]


@pytest.mark.parametrize(("tracks", "compares"), [(100, True), (99, True), (98, False)])
def test_describe_data(tracks, compares, tmp_path):
    for genre in GENRES:
        (tmp_path / "genres" / genre).mkdir(parents=True)
        for track in range(tracks):
            path = tmp_path / "genres" / genre / f"{genre}.{track:05}.wav"
            soundfile.write(path, np.zeros(3000), 100)
    text = describe_data(str(tmp_path))
    assert f"{10 * tracks} " in text
    assert ("not comparable" not in text) == compares


@pytest.mark.parametrize("word", ["--model.component=harmonic", "--data.root=x"])
def test_reserved_options_are_refused(word, capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", "gwardys2014", "--root", "x", "--", word])
    assert "is set by mgc reproduce gwardys2014" in capsys.readouterr().err
