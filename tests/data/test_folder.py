import os
import sys

import numpy as np
import pytest
import soundfile
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


def tone(path, frequency=440.0, seconds=2.0, rate=8000, gains=(1.0,)):
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    mono = 0.5 * np.sin(2 * np.pi * frequency * time)
    soundfile.write(path, np.stack([gain * mono for gain in gains], 1), rate)


def given(root, header, *rows, **settings):
    write_lines(root / "tracks.csv", [header, *rows])
    return Folder(root=str(root), table="tracks.csv", **(SETTINGS | settings))


@pytest.mark.parametrize("spelling", ["./a.wav", "sub/../a.wav", "{root}/a.wav", "link.wav"])
def test_two_spellings_of_a_path_are_one_file(tmp_path, spelling):
    for name in ("a.wav", "b.wav"):
        tone(tmp_path / name)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    second = spelling.format(root=tmp_path)
    rows = ["a.wav,jazz,train", f"{second},jazz,test", "b.wav,rock,train"]
    data = given(tmp_path, "path,label,split", *rows, split="given")
    with pytest.raises(MgcError, match=rf"tracks\.csv: a\.wav and {second} is listed twice"):
        data.setup()


def test_excerpts_of_one_file_stay_in_one_split(tmp_path):
    rows = []
    for number in range(20):
        tone(tmp_path / f"{number}.wav", 200 + 20 * number)
        label = ("jazz", "rock")[number % 2]
        rows += [f"{number}.wav,{label},0,1", f"./{number}.wav,{label},1,2"]
    data = given(tmp_path, "path,label,begin,end", *rows)
    data.setup()
    assert (data.tracks.groupby("path")["split"].nunique() == 1).all()
    assert len(data.tracks) == 40


def test_files_of_the_same_content_stay_in_one_split(tmp_path, caplog):
    for number in range(20):
        tone(tmp_path / ("jazz", "rock")[number % 2] / f"{number}.wav", 200 + 20 * number)
    for number in range(10):
        copy = tmp_path / "rock" / f"copy{number}.wav"
        original = tmp_path / ("jazz", "rock")[number % 2] / f"{number}.wav"
        copy.write_bytes(original.read_bytes())
    data = Folder(root=str(tmp_path), **SETTINGS)
    data.setup()
    splits = dict(zip(data.tracks["track"], data.tracks["split"], strict=True))
    for number in range(10):
        folder = ("jazz", "rock")[number % 2]
        assert splits[f"{folder}/{number}.wav"] == splits[f"rock/copy{number}.wav"]
    assert "10 files are duplicates" in caplog.text


def test_groups_of_copies_are_joined(tmp_path):
    """An artist's songs stay together, and with a copy on somebody else's album."""
    rows = []
    for number in range(12):
        tone(tmp_path / f"{number}.wav", 200 + 20 * (number % 11))
        rows.append(f"{number}.wav,{('jazz', 'rock')[number % 2]},artist{number % 6}")
    data = given(tmp_path, "path,label,group", *rows)
    catalogue = data.read_catalogue().set_index("track")["group"]
    # 0 and 11 have the same content, so that the artists 0 and 5 are one group.
    assert catalogue["0.wav"] == catalogue["5.wav"] == catalogue["6.wav"] == catalogue["11.wav"]
    assert catalogue.nunique() == 5


@pytest.mark.parametrize(
    ("begin", "end", "message"),
    [
        ("-1", "1", "has begin=-1 and end=1"),
        ("1", "1", "has begin=1 and end=1"),
        ("nan", "1", "'nan' of a.wav in column 'begin' is not a number"),
        ("inf", "", "has begin=inf"),
        ("0", "-2", "has begin=0 and end=-2"),
    ],
)
def test_a_begin_or_end_outside_the_song_is_refused(tmp_path, begin, end, message):
    tone(tmp_path / "a.wav")
    tone(tmp_path / "b.wav", 500)
    data = given(tmp_path, "path,label,begin,end", f"a.wav,jazz,{begin},{end}", "b.wav,rock,0,1")
    with pytest.raises(MgcError, match=message):
        data.setup()


@pytest.mark.parametrize(("begin", "end"), [(0, 2.5), (2.5, 3)])
def test_an_excerpt_behind_the_end_of_its_file_is_named(tmp_path, begin, end):
    tone(tmp_path / "a.wav")
    tone(tmp_path / "b.wav", 500)
    rows = f"a.wav,jazz,train,{begin},{end}", "b.wav,rock,train,0,2.05"
    data = given(tmp_path, "path,label,split,begin,end", *rows, split="given")
    with pytest.raises(MgcError, match=r"1 of 2 .*a\.wav: the file ends at 2\.00 s.*a\.wav@"):
        data.setup()


def test_an_index_of_pandas_is_no_quantity(tmp_path, caplog):
    rows = []
    for number in range(20):
        tone(tmp_path / f"{number}.wav", 200 + 20 * number)
        rows.append(f"{number},{number}.wav,{number / 10}")
    data = given(tmp_path, ",path,valence", *rows, task="regression")
    assert data.labels == ("valence",)
    assert "ignored a column without a name" in caplog.text


@pytest.mark.parametrize(
    ("header", "cells", "message"),
    [
        ("path,label,label", "jazz,rock", "two columns are named 'label'"),
        ("path,label,fold", "jazz,inf", "fold 'inf' of"),
        ("path,label,fold", "jazz,0.5", r"fold '0\.5' of"),
        ("path,label,fold", "jazz,-1", "fold '-1' of"),
        ("path,label,fold", "jazz,x", "'x' of .* is not a number"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(root, header, cells, message):
    with pytest.raises(MgcError, match=message):
        Folder(**write_table(root, header, lambda n: cells)).setup()


def test_linked_albums_are_read_once(tmp_path):
    tone(tmp_path / "elsewhere" / "album" / "a.wav")
    music = tmp_path / "music"
    (music / "jazz").mkdir(parents=True)
    (music / "jazz" / "album").symlink_to(tmp_path / "elsewhere" / "album")
    (music / "jazz" / "again").symlink_to(tmp_path / "elsewhere" / "album")
    (music / "jazz" / "loop").symlink_to(music)
    assert paths(music) == ["jazz/again/a.wav"]


def test_a_name_that_is_not_utf8_is_named_and_left_out(tmp_path, caplog):
    for number in range(20):
        tone(tmp_path / ("jazz", "rock")[number % 2] / f"{number}.wav", 200 + 20 * number)
    tone(tmp_path / "rock" / "caf.wav")
    os.rename(tmp_path / "rock" / "caf.wav", os.fsencode(tmp_path / "rock") + b"/caf\xe9.wav")
    data = Folder(root=str(tmp_path), **SETTINGS)
    data.setup()
    assert len(data.tracks) == 20
    assert r"rock/caf\xe9.wav: the file name is not UTF-8" in caplog.text


def test_music_that_is_silent_in_the_mean_of_its_channels_is_found(tmp_path):
    tone(tmp_path / "jazz" / "a.wav", gains=(1.0, -1.0))
    tone(tmp_path / "rock" / "b.wav", 500, gains=(1.0, -0.5))
    problems = Folder(root=str(tmp_path), **SETTINGS).verify()
    assert [(p.kind, p.name) for p in problems] == [("silent", "jazz/a.wav")]
    assert "the mean of its channels is silent" in problems[0].detail
    assert Folder(root=str(tmp_path), channel=0, **SETTINGS).verify() == []


def test_a_pipe_is_refused(tmp_path):
    tone(tmp_path / "jazz" / "a.wav")
    os.mkfifo(tmp_path / "jazz" / "b.wav")
    (problem,) = Folder(root=str(tmp_path), labels=["jazz"], **SETTINGS).verify()
    assert "b.wav: not a regular file" in problem.detail


def test_a_folder_without_audio_is_named(tmp_path, caplog):
    tone(tmp_path / "jazz" / "a.wav")
    (tmp_path / "covers").mkdir()
    (tmp_path / "covers" / "a.jpg").write_bytes(b"")
    assert Folder(root=str(tmp_path), **SETTINGS).labels == ("jazz",)
    assert "covers: no audio files" in caplog.text


def test_files_of_formats_that_need_a_library_are_named_in_a_fit(tmp_path, monkeypatch):
    for number in range(4):
        tone(tmp_path / "jazz" / f"{number}.wav", 300 + number)
        (tmp_path / "rock").mkdir(exist_ok=True)
        (tmp_path / "rock" / f"{number}.m4a").write_bytes(b"\0\0\0 ftypM4A " + bytes(number + 50))
    monkeypatch.setitem(sys.modules, "av", None)
    data = Folder(root=str(tmp_path), folds=3, split="fold", **SETTINGS)
    with pytest.raises(MgcError, match=r"4 of 8 tracks cannot be read.*m4a: MPEG-4 .*\[av\]"):
        data.setup()
