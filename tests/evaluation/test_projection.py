import sys

import numpy as np
import pandas as pd
import pytest

from mgc.cli import main
from mgc.evaluation.tables import FeatureTable


def write(path, apart, labels=("jazz", "pop", "rock"), split=None, seed=0, **layers):
    """Ten tracks a class whose features lie so many deviations apart."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(len(labels)), 10)
    tracks = pd.DataFrame({"track": [f"t{i}" for i in range(len(number))], "group": None})
    tracks["split"], tracks["fold"] = split, None
    tracks["label"] = np.array(labels)[number]
    values = rng.normal(size=(len(number), 6)).astype(np.float32)
    values += apart * number[:, None]
    layers = layers or {"hidden": values}
    FeatureTable(tracks, layers, "multiclass", tuple(labels)).save(path)


def project(*words):
    main(["report", "projection", *words, "--out", "out"])


def test_tables_side_by_side(workdir):
    write("apart.parquet", 12)
    write("mixed.parquet", 0)
    project("apart.parquet", "mixed.parquet", "--names", "learned,random")
    assert {path.name for path in workdir.glob("out/*")} == {
        "projection.png",
        "projection.csv",
        "measures.csv",
    }
    measures = pd.read_csv("out/measures.csv").set_index("features")
    assert measures.loc["learned", "same_class"] == 1
    assert measures.loc["learned", "same_class_in_picture"] == 1
    assert measures.loc["random", "same_class_in_picture"] < 0.6
    points = pd.read_csv("out/projection.csv")
    assert points.groupby("features").size().to_dict() == {"learned": 30, "random": 30}
    # The same seed gives the same picture.
    project("apart.parquet", "mixed.parquet", "--names", "learned,random")
    pd.testing.assert_frame_equal(pd.read_csv("out/projection.csv"), points)


def test_one_split(workdir):
    write("f.parquet", 5, split=["train", "test"] * 15)
    project("f.parquet", "--split", "test")
    assert set(pd.read_csv("out/projection.csv")["split"]) == {"test"}
    assert len(pd.read_csv("out/projection.csv")) == 15


def test_the_fewest_tracks_that_make_a_picture(workdir):
    write("f.parquet", 5, split=["test"] * 11 + ["train"] * 19)
    project("f.parquet", "--split", "test")
    assert len(pd.read_csv("out/projection.csv")) == 11


def test_logged_to_wandb(workdir):
    from wandb_offline import read_run

    write("f.parquet", 5)
    project("f.parquet", "--wandb")
    (folder,) = workdir.rglob("offline-run-*")
    run = read_run(folder)
    assert run["job_type"] == "report"
    assert {"projection", "projection_measures"} <= {key for step in run["history"] for key in step}


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["one.parquet", "other.parquet"], "other: has other classes than the first"),
        (["one.parquet", "one.parquet"], "Give 2 different names"),
        (["one.parquet", "--layers", "conv9"], "one: has none of the layers conv9, but hidden"),
        (["one.parquet", "--split", "test"], "0 tracks of the split test are too few"),
        (["few.parquet", "--split", "val"], "few: 10 tracks of the split val are too few"),
        (["flat.parquet"], "flat: one number a track makes no picture"),
        (["one.parquet", "--perplexity", "0"], "perplexity=0: must be greater than 0"),
        (["broken.parquet"], "broken: holds values that are not finite"),
    ],
)
def test_what_is_refused(workdir, capsys, words, match):
    write("one.parquet", 5)
    write("other.parquet", 5, labels=("a", "b"))
    write("few.parquet", 5, split=["val", "train", "train"] * 10)
    write("flat.parquet", 5, hidden=np.arange(30, dtype=np.float32)[:, None])
    write("broken.parquet", 5, hidden=np.full((30, 2), np.nan, np.float32))
    with pytest.raises(SystemExit):
        project(*words)
    assert match in capsys.readouterr().err
    assert not (workdir / "out").exists()


def test_umap_is_optional(workdir, capsys, monkeypatch):
    write("one.parquet", 5)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(SystemExit):
        project("one.parquet", "--method", "umap")
    assert "pip install 'mgc[umap]'" in capsys.readouterr().err
