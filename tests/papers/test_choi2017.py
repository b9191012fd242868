"""The whole experiment at tiny size: genres by extraction, emotion from released features."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from lightning.pytorch import Trainer
from released_features import write_release

from mgc.checkpoint import DescribeCheckpoint
from mgc.cli import main
from mgc.data.gtzan import GTZAN
from mgc.evaluation.results import Results
from mgc.models.vgg import VGGTagger
from mgc.papers.choi2017 import TARGETS
from mgc.papers.choi2017.claims import RANKINGS, list_claims
from mgc.papers.choi2017.tables import COMBINATIONS
from mgc.transfer.feature_table import FeatureTable

LAYERS = "12345,5,1,mfcc,12345+mfcc"


@pytest.fixture(scope="module")
def genres(tmp_path_factory):
    """Eight tracks of 1 s in each of two genres, with tones of different pitch."""
    root = tmp_path_factory.mktemp("genres")
    random = np.random.default_rng(0)
    for genre, pitch in (("blues", 220), ("disco", 1760)):
        (root / "genres" / genre).mkdir(parents=True)
        for track in range(8):
            tone = np.sin(2 * np.pi * pitch * np.arange(8000) / 8000)
            path = root / "genres" / genre / f"{genre}.{track:05}.wav"
            soundfile.write(path, 0.3 * tone + random.normal(0, 0.1, 8000), 8000)
    return root


@pytest.fixture(scope="module")
def tagger(genres, tmp_path_factory):
    """Checkpoint of a small tagger."""
    path = tmp_path_factory.mktemp("tagger") / "tagger.ckpt"
    trainer = Trainer(
        max_steps=0, logger=False, enable_checkpointing=False, accelerator="cpu",
        callbacks=[DescribeCheckpoint()], enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = GTZAN(str(genres), sample_rate=8000, clip_seconds=1, num_workers=0)
    model = VGGTagger(num_classes=10, sample_rate=8000, channels=2, n_fft=256)
    trainer.fit(model, data)
    trainer.save_checkpoint(path)
    return path


def reproduce(*words):
    main(["reproduce", "choi2017", *map(str, words)])


def test_whole_experiment(genres, tagger, tmp_path, capsys):
    released = write_release(tmp_path / "released", "emomusic", 24)
    Path("scores.csv").write_text("task,layers,estimator,score\ngtzan_genre,5,SVC,0.788\n")
    words = ["--roots.gtzan", genres, "--weights", tagger, "--features", released]
    words += ["--layers", LAYERS, "--classifier", "knn", "--folds", "4", "--jobs", "1"]
    words += ["--published", "scores.csv", "--out", "out"]
    reproduce(*words)
    lines = capsys.readouterr().out.splitlines()
    shown = [line for line in lines if line.startswith("$ mgc ")]
    assert [line.split()[2] for line in shown] == [
        *["extract"] * 3, *["transfer"] * 2, "import", "transfer",
    ]  # fmt: skip
    assert shown[-2].startswith("$ mgc import choi2017-features ")
    assert "--model_args.channels=2 --model_args.n_fft=256" in shown[2]
    tables = Path("out/tables.md").read_text()
    assert (
        "**Not comparable with the paper's scores.** Our data for genres: 16 of the 1000" in tables
    )
    assert "| best convnet feature | 0.656 | " in tables
    assert "| … in section 4.2.4 | 0.633 | | | 0.415 |" in tables
    assert "| state of the art | 94.5 | | |" in tables
    assert "| vgg_tagger | 0.849 | |" in tables
    assert "needs the Million Song Dataset's audio" in tables
    scores = pd.read_csv("out/scores.csv").set_index(["table", "row", "column"])
    genre = scores.loc["Figure 4: genres"]
    assert genre.loc[("5", "genres"), "published"] == 0.788
    assert set(genre.index.get_level_values("column")) == {
        "genres", "nested", "random", "random, nested"
    }  # fmt: skip
    summary = pd.read_csv("out/gtzan/random/summary.csv", dtype={"layers": str})
    summary = summary.set_index("layers")
    assert genre.loc[("1", "random, nested"), "ours"] == summary.loc["1", "nested"]
    assert scores.loc[("Figure 2: accuracy", "best random convnet feature", "genres"), "ours"] == (
        summary["paper"].max()
    )
    claims = pd.read_csv("out/claims.csv").set_index("claim")
    assert claims.loc["Genres: convnet features over MFCCs", "tracks"] == 16
    assert claims.loc["Arousal: all layers over the last one", "tracks"] == 24
    assert claims.loc["Valence: convnet features over random ones", "reason"] == "not run"
    assert claims.loc["Genres: all layers over the last one in genres without tags", "tracks"] == 8
    assert {path.name for path in Path("out").glob("*.png")} == {
        "figure2.png", "figure4_gtzan.png", "figure5_gtzan.png", "figure7_emomusic_arousal.png",
        "figure7_emomusic_valence.png",
    }  # fmt: skip
    # A rerun computes nothing.
    made = {path: path.stat().st_mtime_ns for path in Path("out").glob("*/*/scores.parquet")}
    made |= {path: path.stat().st_mtime_ns for path in Path("out/gtzan").glob("*.parquet")}
    reproduce(*words)
    assert len(made) == 6
    assert all(path.stat().st_mtime_ns == time for path, time in made.items())


def test_tagger_is_scored_from_its_test_results(tmp_path, capsys):
    released = write_release(tmp_path / "released", "gtzan", 12)
    random = np.random.default_rng(0)
    tracks = pd.DataFrame({"track": [f"t{i}" for i in range(40)], "split": "test"})
    tracks["target.rock"] = np.arange(40) % 2
    tracks["probability.rock"] = tracks["target.rock"] * 0.2 + random.uniform(0, 0.5, 40)
    clips = tracks.assign(clip=0, start=0.0)
    Results(clips, tracks, "multilabel", ("rock",), {"model": "x"}).save("tagger/test")
    reproduce(
        "--features", released, "--layers", "1", "--classifier", "knn", "--folds", "3", "--jobs",
        "1", "--tagging", "tagger", "--out", "out",
    )  # fmt: skip
    scores = pd.read_csv("out/scores.csv").set_index("row")
    assert scores.loc["vgg_tagger", "published"] == 0.849
    assert 0.5 < scores.loc["vgg_tagger", "ours"] < 1
    assert "needs the Million Song" not in Path("out/notes.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "No task has data. Add the folder of a data set"),
        ("--roots.gtzn x", "--roots.gtzn: unknown task. Choose from extended_ballroom, gtzan"),
        ("--roots.gtzan x --tasks gtzn", "unknown 'gtzn'"),
        ("--roots.gtzan x --tasks emomusic", "add --roots.emomusic, or --features"),
        ("--features nowhere", "--features nowhere: no such folder"),
        ("--roots.gtzan x", "Extraction needs --weights"),
        ("--roots.gtzan x --weights w.ckpt", "--weights w.ckpt: no such file"),
        ("--roots.gtzan x --weights TAGGER --calibrate x", "omit it with a checkpoint"),
        ("--roots.gtzan x --weights TAGGER --only svm", "unknown 'svm'. Choose from convnet"),
        ("--roots.gtzan x --published x.csv", "--published x.csv: no such file"),
        ("--roots.gtzan x --tagging nowhere", "found no results"),
    ],
)
def test_wrong_settings_are_one_line(words, message, tagger, capsys):
    with pytest.raises(SystemExit) as stopped:
        reproduce(*words.replace("TAGGER", str(tagger)).split())
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_random_network_keeps_its_values_in_range(genres):
    """Running statistics of an untrained network would let them grow with depth."""
    words = ["extract", str(genres), "--data=gtzan", "--model=vgg_tagger", "--sample_rate=8000"]
    words += ["--clip_seconds=1", "--accelerator=cpu", "--devices=1"]
    main([*words, "--out=clip.parquet"])
    main([*words, "--out=batch.parquet", "--model_args.norm=batch"])
    clip, batch = (FeatureTable.load(f"{name}.parquet") for name in ("clip", "batch"))
    assert clip.source["model_args"] == {"norm": "clip"}
    assert np.abs(clip.layers["block5"]).max() < 5 < batch.layers["block5"].max()


def test_claims_name_published_combinations():
    columns = {target.title for target in TARGETS.values()}
    for claim in list_claims():
        assert claim.source.startswith("section ")
        for pair in claim.pairs:
            assert {column for _, column in pair} <= columns | {
                "genres with tags", "genres without tags"
            }  # fmt: skip
            assert pair[0] != pair[1]
    assert len(COMBINATIONS) == 31
    for ranking in RANKINGS:
        assert any(map(ranking.fits, COMBINATIONS))
        assert not all(map(ranking.fits, COMBINATIONS))
