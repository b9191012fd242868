"""Released features of Choi et al. (2017) as feature tables."""

import numpy as np
import pandas as pd
import pytest
from released_features import write_release

import mgc
from mgc.cli import main
from mgc.papers.choi2017 import TASKS
from mgc.papers.choi2017.features import read_features
from mgc.transfer.feature_table import FeatureTable


@pytest.mark.parametrize("task", TASKS)
def test_each_task_becomes_a_table(task, tmp_path):
    folder = write_release(tmp_path / "release", task)
    main(["import", "choi2017-features", str(folder), "--task", task, "--out", "table.parquet"])
    table = FeatureTable.load("table.parquet")
    widths = {name: values.shape for name, values in table.layers.items()}
    assert widths == {**{f"block{i}": (6, 32) for i in range(1, 6)}, "mfcc": (6, 120)}
    assert table.targets.shape[0] == 6
    assert table.tracks["track"].is_unique


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("gtzan", {"track": "blues.00000", "label": "blues"}),
        ("gtzan_speech_music", {"track": "music/voice0", "label": "music", "group": "music/voice"}),
        ("jamendo_vocals", {"track": "train/01 - Song_0", "split": "train", "group": "01 - Song"}),
        ("urbansound8k", {"track": "100032-3-0-0", "fold": 0, "group": "100032"}),
        ("extended_ballroom", {"track": "100000", "label": "Waltz"}),
        ("emomusic", {"track": "10"}),
    ],
)
def test_tracks_are_named_as_by_the_data_set(task, columns, tmp_path):
    first = read_features(write_release(tmp_path, task), task).tracks.iloc[0]
    assert {name: first[name] for name in columns} == columns


def test_identical_files_of_gtzan_form_a_group(tmp_path):
    folder = write_release(tmp_path, "gtzan")
    path = folder / "labels" / "gtzan_genre.csv"
    path.write_text(
        path.read_text()
        .replace("rock/rock", "disco/disco")
        .replace("00003", "00098")
        .replace("00004", "00099")
    )
    tracks = read_features(folder, "gtzan").tracks.set_index("track")
    assert tracks.loc["disco.00099", "group"] == "disco.00098"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "no file gtzan_genre_layer_2.npy, also not in a subfolder"),
        (lambda path: np.save(path, np.zeros((5, 32))), "expected 6 rows as in .*, found 5 of 32"),
        (lambda path: np.save(path, np.zeros((6, 31))), "of 32 numbers, found 6 of 31"),
        (lambda path: np.save(path, np.zeros(6)), "expected a matrix of floats"),
        (lambda path: np.save(path, np.full((6, 32), "x")), "expected a matrix of floats"),
        (lambda path: np.save(path, np.full((6, 32), np.nan)), "row 1 has NaN or infinite values"),
        (lambda path: np.save(path, np.array([{}])), "not a .npy file of numbers"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), "truncated"),
        (lambda path: path.write_bytes(b""), "truncated"),
        (lambda path: path.write_text("<html>"), "not a .npy file of numbers"),
        (lambda path: path.with_suffix(".npz").rename(path), "expected a matrix of floats"),
        (lambda path: (path.parents[1] / path.name).write_bytes(b""), "Keep one of them"),
    ],
)
def test_wrong_feature_file_is_one_line(change, message, tmp_path, capsys):
    folder = write_release(tmp_path / "release", "gtzan")
    path = folder / "features" / "gtzan_genre_layer_2.npy"
    np.savez(path.with_suffix(".npz"), x=np.zeros((6, 32)))
    change(path)
    with pytest.raises(SystemExit) as stopped:
        main(["import", "choi2017-features", str(folder), "--task", "gtzan", "--out", "x.parquet"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert pd.Series([error]).str.contains(message).all(), error


@pytest.mark.parametrize(
    ("task", "old", "new", "message"),
    [
        ("gtzan", "filepath", "path", "no column 'filepath'"),
        ("gtzan", "rock/", "rok/", "row 4: filepath .* is not in a folder blues, classical"),
        ("gtzan", "blues.00001", "blues.00000", "'blues.00000' is listed twice"),
        ("gtzan_speech_music", ",1\n", ",7\n", "row 4: label '7' is not 0 to 1"),
        ("jamendo_vocals", ",valid", ",dev", "row 2: category 'dev' is not train, valid, test"),
        ("urbansound8k", ",10\n", ",11\n", "row 4: fold '11' is not 1 to 10"),
        ("emomusic", "label_valence", "valence", "no column 'label_valence'"),
    ],
)
def test_wrong_list_is_named(task, old, new, message, tmp_path):
    folder = write_release(tmp_path, task)
    (path,) = (folder / "labels").iterdir()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(mgc.MgcError, match=message):
        read_features(folder, task)


def test_published_scores_are_reproduced(real_data):
    folder = real_data / "choi2017"
    table = read_features(folder, "gtzan_speech_music")
    result = mgc.transfer(table, layers="1,5,mfcc", nested=False, jobs=1)
    published = pd.read_csv(folder / "published_scores" / "scores.csv", dtype={"layers": str})
    published = published[published["task"] == "gtzan_speechmusic"].set_index("layers")["score"]
    ours = result.summary.set_index("layers")["paper"]
    # One of 128 tracks: the versions of LIBSVM differ.
    np.testing.assert_allclose(ours, published[ours.index], atol=1.01 / 128)
