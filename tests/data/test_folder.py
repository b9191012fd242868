import pytest
import torch
from layouts import write_folder, write_lines

from mgc.data.audio import find_files
from mgc.data.folder import Folder
from mgc.errors import MgcError

SETTINGS = {"sample_rate": 8000, "clip_seconds": 1.0}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    write_folder(folder)
    return folder


def paths(root):
    return [str(path.relative_to(root)) for path in find_files(root)]


def write_table(root, header, row):
    """Write a table with a row per file; ``row`` maps the file's index to its cells."""
    lines = [header] + [f"{path},{row(n)}" for n, path in enumerate(paths(root))]
    write_lines(root / "tracks.csv", lines)
    return {"root": str(root), "table": "tracks.csv", **SETTINGS}


def test_sub_folders_are_labels(root):
    data = Folder(root=str(root), **SETTINGS)
    assert data.labels == ("jazz", "rock")
    data.setup()
    assert data.tracks["label"].value_counts().to_dict() == {"jazz": 12, "rock": 12}
    assert data.tracks["track"].iloc[0] == "jazz/album0/00.wav"


def test_labels_argument_needs_no_files():
    data = Folder(root="nowhere", labels=["rock", "jazz"])
    assert (data.labels, data.num_classes) == (("rock", "jazz"), 2)


def test_labels_argument_selects_and_orders(root):
    data = Folder(root=str(root), labels=["rock"], **SETTINGS)
    data.setup()
    assert set(data.tracks["label"]) == {"rock"}
    data = Folder(root=str(root), labels=["rock", "jazz"], **SETTINGS)
    data.setup()
    assert data.targets()[data.tracks["label"] == "rock"].tolist() == [0] * 12


def test_label_without_tracks_raises_error(root):
    with pytest.raises(MgcError, match="no track has the label 'rokc'"):
        Folder(root=str(root), labels=["jazz", "rokc"], **SETTINGS).setup()


def test_empty_group_is_the_file(root):
    settings = write_table(
        root, "path,label,group", lambda n: f"a,{'g' if n < 2 else ' ' * (n % 2)}"
    )
    groups = Folder(**settings).read_catalogue()["group"].tolist()
    assert groups == ["g", "g", *paths(root)[2:]]


def test_multiclass_table(root):
    settings = write_table(root, "path,label,group", lambda n: f"{'ab'[n % 2]},g{n // 2}")
    data = Folder(**settings)
    assert data.labels == ("a", "b")
    data.setup()
    assert (data.tracks.groupby("group")["split"].nunique() == 1).all()
    assert data.tracks["group"].nunique() == 12


def test_multilabel_table_with_separator(root):
    settings = write_table(root, "path,labels", lambda n: ("x|y", "y", "")[n % 3])
    data = Folder(task="multilabel", **settings)
    assert data.labels == ("x", "y")
    data.setup()
    assert data.targets()[:3].tolist() == [[1, 1], [0, 1], [0, 0]]
    chosen = Folder(task="multilabel", labels=["y"], **settings)
    chosen.setup()
    assert chosen.targets()[:3].tolist() == [[1], [1], [0]]


def test_column_label_may_hold_several_labels(root):
    settings = write_table(root, "path,label", lambda n: ["rock|loud", "jazz"][n % 2])
    assert Folder(task="multilabel", **settings).labels == ("jazz", "loud", "rock")
    with pytest.raises(MgcError, match=r"'rock\|loud' has several labels. Set data.task"):
        Folder(**settings).setup()


def test_multilabel_table_with_columns(root):
    settings = write_table(root, "path,x,y", lambda n: f"{n % 2},1")
    data = Folder(task="multilabel", **settings)
    assert data.labels == ("x", "y")
    data.setup()
    assert data.targets()[:2].tolist() == [[0, 1], [1, 1]]
    settings = write_table(root, "path,x,y", lambda n: f"{n},1")
    with pytest.raises(MgcError, match="column 'x' must contain only 0 and 1"):
        Folder(task="multilabel", **settings).setup()


def test_regression_table(root):
    settings = write_table(root, "path,energy,title", lambda n: f"{n / 10},Song {n}")
    with pytest.raises(MgcError, match=r"'Song 0' of jazz/album0/00\.wav in column 'title'"):
        Folder(task="regression", **settings).setup()
    data = Folder(task="regression", labels=["energy"], **settings)
    data.setup()
    assert torch.allclose(data.targets()[:3], torch.tensor([[0.0], [0.1], [0.2]]))


def test_given_split_of_a_table(root):
    names = ("train", "Training", "valid", "test", "")
    settings = write_table(root, "path,label,split", lambda n: f"{'ab'[n % 2]},{names[n % 5]}")
    data = Folder(split="given", **settings)
    data.setup()
    assert data.tracks["split"].value_counts().to_dict() == {"train": 10, "val": 5, "test": 5}
    settings = write_table(root, "path,label,split", lambda n: "a,tset")
    with pytest.raises(MgcError, match=r"unknown split 'tset'\. Use train, val or test"):
        Folder(split="given", **settings).setup()


def test_given_folds_of_a_table(root):
    settings = write_table(root, "path,label,fold", lambda n: f"{'ab'[n % 2]},{n % 4}")
    data = Folder(split="fold", fold=3, **settings)
    data.setup()
    assert set(data.tracks.loc[data.tracks["split"] == "test", "fold"]) == {3}


def test_excerpts_of_files(root):
    lines = ["path,label,begin,end"]
    for path in paths(root):
        lines += [f"{path},quiet,,0.5", f"{path},loud,0.5,"]
    write_lines(root / "tracks.csv", lines)
    data = Folder(root=str(root), table="tracks.csv", **SETTINGS)
    data.setup()
    assert data.tracks["length"][:2].tolist() == [4000, 8000]
    assert data.tracks["offset"][:2].tolist() == [0, 4000]
    # Excerpts of a file stay in one split.
    assert (data.tracks.groupby("path")["split"].nunique() == 1).all()


def test_classes_smaller_than_the_number_of_folds(tmp_path):
    write_folder(tmp_path, labels=("a", "b", "c", "d"), tracks=5)
    data = Folder(root=str(tmp_path), **SETTINGS)
    data.setup()
    assert data.tracks["split"].value_counts().to_dict() == {"train": 16, "val": 2, "test": 2}


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("file,label", "a", "no column 'path'"),
        ("path,genre", "a", "task='multiclass' needs a column 'label'"),
        ("path,label", "", "has no label"),
    ],
)
def test_incomplete_table_raises_error(root, header, row, message):
    settings = write_table(root, header, lambda n: row)
    with pytest.raises(MgcError, match=message):
        Folder(**settings).setup()


def test_repeated_file_raises_error(root):
    write_lines(root / "tracks.csv", ["path,label", *["jazz/album0/00.wav,a"] * 2])
    with pytest.raises(MgcError, match=r"jazz/album0/00\.wav is listed twice"):
        Folder(root=str(root), table="tracks.csv").setup()


def test_inconsistent_settings_raise_error(tmp_path):
    with pytest.raises(MgcError, match="task='multilabel' needs a table"):
        Folder(root=str(tmp_path), task="multilabel")
    with pytest.raises(MgcError, match="split='given' needs a table"):
        Folder(root=str(tmp_path), split="given")
    with pytest.raises(MgcError, match="no labels found"):
        Folder(root=str(tmp_path)).setup()
    with pytest.raises(MgcError, match=r"tracks\.csv: no such file"):
        Folder(root=str(tmp_path), table="tracks.csv").setup()
