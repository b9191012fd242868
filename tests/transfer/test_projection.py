import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

import mgc
from mgc.cli import main
from mgc.transfer.feature_table import FeatureTable
from mgc.transfer.projection import project as make_projection


def write(path, apart, labels=("jazz", "pop", "rock"), split=None, seed=0, **layers):
    """Save a table with ten tracks per class; `apart` is the distance between classes in stds."""
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


def test_two_tables_in_one_plot(workdir):
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
    # The same seed gives the same plot.
    project("apart.parquet", "mixed.parquet", "--names", "learned,random")
    pd.testing.assert_frame_equal(pd.read_csv("out/projection.csv"), points)


def test_one_split(workdir):
    write("f.parquet", 5, split=["train", "test"] * 15)
    project("f.parquet", "--split", "test")
    assert set(pd.read_csv("out/projection.csv")["split"]) == {"test"}
    assert len(pd.read_csv("out/projection.csv")) == 15


def test_share_of_test_tracks(workdir):
    """An overfitted network places test tracks among other classes."""
    split = np.array((["train"] * 8 + ["test"] * 2) * 3)
    place = np.repeat(np.arange(3), 10)
    place[split == "test"] = (place[split == "test"] + 1) % 3
    noise = np.random.default_rng(0).normal(size=(30, 6))
    write("f.parquet", 0, split=split, hidden=(noise + 12 * place[:, None]).astype(np.float32))
    project("f.parquet")
    (measures,) = pd.read_csv("out/measures.csv").to_dict("records")
    assert measures["same_class"] > 0.5
    assert measures["same_class_of_test"] < 0.25
    write("none.parquet", 5)
    assert make_projection({"none": FeatureTable.load("none.parquet")}).measures[
        "same_class_of_test"
    ].isna().all()  # fmt: skip


def test_neighbours_of_small_classes(workdir):
    """With four tracks per class, a track has at most three neighbours of its class."""
    write("f.parquet", 12, split=(["test"] * 4 + ["train"] * 6) * 3)
    project("f.parquet", "--split", "test")
    (measures,) = pd.read_csv("out/measures.csv").to_dict("records")
    assert measures["neighbours"] == 3
    assert measures["same_class"] == measures["same_class_of_test"] == 1


def test_test_tracks_among_others_have_an_outline(workdir):
    write("f.parquet", 5, split=["test", "train"] * 15)
    table = FeatureTable.load("f.parquet")

    def outlines(split):
        axis = make_projection({"f": table}, split=split).figure.axes[0]
        drawn = [dots for dots in axis.collections if len(dots.get_offsets())]
        return np.concatenate([dots.get_linewidths() for dots in drawn]) > 0

    assert outlines(None).tolist().count(True) == 15
    assert not outlines("test").any()


def test_smallest_number_of_tracks(workdir):
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
        (["one.parquet", "other.parquet"], "other: classes differ from those of the first"),
        (["one.parquet", "one.parquet"], "expected 2 different names"),
        (
            ["one.parquet", "--layers", "conv9"],
            "one: has none of the layers conv9. Choose from hidden",
        ),
        (["one.parquet", "--split", "test"], "needs more than 10 tracks, found 0 in split test"),
        (
            ["few.parquet", "--split", "val"],
            "few: a projection needs more than 10 tracks, found 10 in split val",
        ),
        (["flat.parquet"], "flat: a projection needs two or more features per track, found 1"),
        (["one.parquet", "--perplexity", "0"], "perplexity=0.0: must be a number greater than 0"),
        (["broken.parquet"], "broken: has NaN or infinite values"),
    ],
)
def test_invalid_input_is_an_error(workdir, capsys, words, match):
    write("one.parquet", 5)
    write("other.parquet", 5, labels=("a", "b"))
    write("few.parquet", 5, split=["val", "train", "train"] * 10)
    write("flat.parquet", 5, hidden=np.arange(30, dtype=np.float32)[:, None])
    write("broken.parquet", 5, hidden=np.full((30, 2), np.nan, np.float32))
    with pytest.raises(SystemExit):
        project(*words)
    assert match in capsys.readouterr().err
    assert not (workdir / "out").exists()


def test_umap(workdir, monkeypatch):
    """The number of neighbours is at most a third of the tracks; the seed is passed to UMAP."""
    asked = {}

    class UMAP:
        def __init__(self, **settings):
            asked.update(settings)

        def fit_transform(self, values):
            return values[:, :2]

    write("f.parquet", 5)
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    project("f.parquet", "--method", "umap", "--seed", "3")
    assert asked == {"n_neighbors": 10, "random_state": 3, "n_jobs": 1}
    values = StandardScaler().fit_transform(FeatureTable.load("f.parquet").layers["hidden"])
    np.testing.assert_allclose(pd.read_csv("out/projection.csv")["x"], values[:, 0], rtol=1e-5)


def test_umap_is_optional(workdir, capsys, monkeypatch):
    write("one.parquet", 5)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(SystemExit):
        project("one.parquet", "--method", "umap")
    assert f"pip install '{mgc.DISTRIBUTION}[umap]'" in capsys.readouterr().err
