"""The whole experiment at tiny size, with folds in this process."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgc.cli import main
from mgc.core.yaml_files import read_yaml
from mgc.evaluation.results import Results
from mgc.papers.senac2017 import GENRES
from mgc.papers.senac2017.complementarity import count_correct, plot_correct
from mgc.papers.senac2017.reproduce import list_claims

OVERRIDES = """
    --model.filters 4 --data.sample_rate 8000 --data.clip_seconds 1 --data.hop_seconds 0.5
    --model.map_seconds 0.5 --data.num_workers 0 --trainer.max_epochs 1
    --trainer.limit_train_batches 1 --trainer.logger false --trainer.accelerator cpu
"""


def reproduce(root, *words):
    main(["reproduce", "senac2017", "--root", str(root), "--out", "out", *words])


def options(test_folds="1", *words):
    return ["--test_folds", test_folds, *words, "--", *OVERRIDES.split()]


def test_whole_experiment(folds, tones, capsys, workdir):
    reproduce(tones, *options())
    assert [Path(fold.folder).parents[1].name for fold in folds] == ["net_STFT", "net_MUSIC"]
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("$ mgc ")]
    assert [line.split()[2] for line in shown] == ["crossval"] * 2 + ["fuse"] * 2

    scores = pd.read_csv("out/scores.csv").set_index(["row", "column"])
    systems = ["net_STFT", "net_MUSIC", "FUSION1", "FUSION2"]
    accuracies = scores.loc[[(name, "accuracy") for name in systems]]
    assert accuracies["published"].tolist() == pytest.approx([0.878, 0.896, 0.905, 0.91])
    assert set(accuracies["tracks"]) == {10}
    assert scores.loc[("rock", "net_MUSIC"), "published"] == 0.62
    assert scores.loc[("rock", "net_MUSIC"), "tracks"] == 1
    # Networks decide by the votes of their clips.
    results = Results.load("out/net_MUSIC/test")
    right = (results.tracks["vote"] == results.tracks["label"]).mean()
    assert accuracies.loc[("net_MUSIC", "accuracy"), "ours"] == pytest.approx(right)
    assert results.clips.groupby("track").size().tolist() == [3] * 10

    claims = pd.read_csv("out/claims.csv").set_index("claim")
    assert claims.loc["net_MUSIC over net_STFT", "published"] == pytest.approx(0.018)
    assert claims.loc["net_STFT over net_MUSIC on rock", "published"] == pytest.approx(0.18)
    assert claims.loc["net_STFT over net_MUSIC on rock", "tracks"] == 1

    counts = pd.read_csv("out/complementarity.csv").set_index("class")
    assert counts.loc["all", "tracks"] == 10
    assert (counts.iloc[:, 1:].sum(axis=1) == counts["tracks"]).all()
    assert Path("out/complementarity.png").read_bytes().startswith(b"\x89PNG")
    tables = Path("out/tables.md").read_text()
    assert "| net_STFT | 87.8 ± 1.8 |" in tables
    assert "of 10 tracks, both networks are right on" in tables
    assert "(complementarity.png)" in tables
    assert f"Tested: {', '.join(systems)}: 1 of 10 folds, 3 clips per track." in tables
    assert pd.read_csv("out/report/systems.csv")["published"].notna().all()

    # Random clips are another part, and add rows to the tables. Nothing else is trained.
    reproduce(tones, *options("1", "--only", "random_clips,report"))
    assert [Path(fold.folder).parents[1].name for fold in folds[2:]] == [
        "net_STFT_random_clips",
        "net_MUSIC_random_clips",
    ]
    for name, random in (("net_MUSIC", False), ("net_MUSIC_random_clips", True)):
        config = read_yaml(Path("out", name, "seed0", "fold0", "config.yaml"))
        assert config["data"]["init_args"]["random_clips"] is random
    rows = pd.read_csv("out/scores.csv").query("column == 'accuracy'")["row"].tolist()
    assert rows == [*systems, "net_STFT with random clips", "net_MUSIC with random clips"]
    changed = OVERRIDES.split()
    notes = Path("out/notes.md").read_text()
    assert f"`{' '.join(changed)}` (net_STFT, net_MUSIC)" in notes
    assert f"`{' '.join(changed)} --data.random_clips=true` (net_STFT with random clips, " in notes

    # A rerun trains nothing.
    reproduce(tones, *options("1", "--only", "all"))
    assert len(folds) == 4


def test_one_network(folds, tones, workdir):
    """Tables have empty cells for systems that have not run."""
    reproduce(tones, *options("1", "--only", "net_STFT,report"))
    scores = pd.read_csv("out/scores.csv").set_index(["row", "column"])["ours"]
    assert np.isfinite(scores["net_STFT", "accuracy"])
    assert np.isnan(scores["net_MUSIC", "accuracy"])
    assert "not run" in Path("out/tables.md").read_text()
    assert not Path("out/complementarity.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "net_stft"], "--only net_stft: unknown 'net_stft'. Choose from net_STFT,"),
        (["--only", "report"], "out has no results of net_STFT, net_MUSIC,"),
        (["--only", "fusion"], "found no results"),
        (["--", "--model.maps=both"], "--model.maps is set by mgc reproduce senac2017"),
    ],
)
def test_errors(words, message, capsys, workdir, tones):
    with pytest.raises(SystemExit) as stopped:
        reproduce(tones, *words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_claims_have_the_order_of_the_published_tables():
    claims = {claim.title for claim in list_claims()}
    assert {
        "net_MUSIC over net_STFT",
        "FUSION2 over FUSION1",
        "net_MUSIC over net_STFT on blues",
        "net_STFT over net_MUSIC on rock",
    } <= claims
    # Recalls of classical and jazz are equal.
    assert not [title for title in claims if "classical" in title or "jazz" in title]


def test_complementarity():
    tracks = pd.DataFrame({"track": list("abcde"), "label": ["rock", "rock", "rock", "pop", "pop"]})

    def decided(*labels):
        rows = tracks.assign(decision=labels)
        return Results(rows, rows, "multiclass", GENRES)

    one = decided("rock", "rock", "pop", "rock", "pop")
    two = decided("rock", "pop", "rock", "rock", "pop")
    counts = count_correct({"A": one, "B": two})
    assert list(counts) == ["tracks", "both", "only A", "only B", "none"]
    assert counts.loc["rock"].tolist() == [3, 1, 1, 1, 0]
    assert counts.loc["pop"].tolist() == [2, 1, 0, 0, 1]
    assert counts.loc["blues"].tolist() == [0] * 5
    assert counts.loc["all"].tolist() == [5, 2, 1, 1, 1]
    (axes,) = plot_correct(counts).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == [*GENRES, "all"]
