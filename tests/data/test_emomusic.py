import os

import numpy as np
import pandas as pd
import pytest
from layouts import write_emomusic

from mgc.data.emomusic import EmoMusic
from mgc.errors import MgcError

real = pytest.mark.skipif("MGC_REAL_DATA" not in os.environ, reason="MGC_REAL_DATA is not set")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emomusic")
    write_emomusic(folder)
    return folder


def test_targets_are_mean_ratings_divided_by_nine(root):
    data = EmoMusic(root=str(root), sample_rate=8000, clip_seconds=1)
    data.setup()
    targets = dict(zip(data.tracks["track"], data.targets().tolist(), strict=True))
    np.testing.assert_allclose(targets["2"], [1.6 / 9, 8.1 / 9], rtol=1e-6)
    np.testing.assert_allclose(targets["12"], [3.6 / 9, 7.1 / 9], rtol=1e-6)


def test_only_the_first_seconds_are_used(root):
    data = EmoMusic(root=str(root), sample_rate=8000, clip_seconds=0.5, first_seconds=1.25)
    data.setup()
    assert set(data.tracks["length"]) == {10_000}
    # By default 29 s, longer than these clips.
    data = EmoMusic(root=str(root), sample_rate=8000, clip_seconds=0.5)
    data.setup()
    assert set(data.tracks["length"]) == {12_000}


def test_clips_of_an_artist_are_one_group(root):
    catalogue = EmoMusic(root=str(root)).read_catalogue()
    assert catalogue["artist"].iloc[0] == "Artist 0"
    assert catalogue["group"].nunique() == 13


def test_given_split_tests_on_the_evaluation_set(root):
    data = EmoMusic(root=str(root), split="given", sample_rate=8000, clip_seconds=1)
    data.setup()
    sets = data.tracks.groupby("split")["set"].unique().map(list).to_dict()
    assert sets == {"test": ["evaluation"], "train": ["development"], "val": ["development"]}


def test_song_without_artist_raises_error(tmp_path, root):
    (tmp_path / "annotations").mkdir()
    for name in ("static_annotations.csv", "songs_info.csv"):
        (tmp_path / "annotations" / name).write_text((root / "annotations" / name).read_text())
    info = tmp_path / "annotations" / "songs_info.csv"
    lines = info.read_text().splitlines(keepends=True)
    info.write_text("".join(lines[:-1]))
    with pytest.raises(MgcError, match=r"song 27 has ratings, but is not in songs_info\.csv"):
        EmoMusic(root=str(tmp_path)).read_catalogue()
    info.unlink()
    with pytest.raises(MgcError, match=r"no songs_info\.csv"):
        EmoMusic(root=str(tmp_path)).read_catalogue()


@real
def test_published_targets_are_ratings_divided_by_nine():
    """Times nine, they are mean ratings of about ten raters, such as 3.1, 3.5, 5.7."""
    path = os.path.join(os.environ["MGC_REAL_DATA"], "choi2017", "labels", "emoMusic.csv")
    published = pd.read_csv(path)
    assert len(published) == sum(EmoMusic.expected_files["set"].values())
    ratings = published[["label_arousal", "label_valence"]].to_numpy() * 9
    assert ratings.min() >= 1
    assert ratings.max() <= 9
    tenths = np.abs(ratings * 10 - np.round(ratings * 10)) < 1e-6
    assert tenths.mean() > 0.9
