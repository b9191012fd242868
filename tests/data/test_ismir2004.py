import os
from pathlib import Path

import pandas as pd
import pytest
import soundfile
from layouts import write_ismir2004, write_tone

from mgc.data.ismir2004 import GENRES, ISMIR2004
from mgc.errors import MgcError

real = pytest.mark.skipif("MGC_REAL_DATA" not in os.environ, reason="MGC_REAL_DATA is not set")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ismir2004")
    write_ismir2004(folder)
    return folder


def test_reads_all_three_list_formats(root):
    catalogue = ISMIR2004(root=str(root)).read_catalogue()
    counts = pd.crosstab(catalogue["list"], catalogue["label"])
    assert counts.index.tolist() == ["development", "evaluation", "training"]
    assert (counts[list(GENRES)] == [12, 3, 3, 3, 3, 3]).all(axis=None)


def test_finds_files_whose_names_differ_from_the_list(root):
    catalogue = ISMIR2004(root=str(root)).read_catalogue().set_index("track")
    renamed = {
        "training/classical/name_0/album/5-it's_here": "5-it_s_here.mp3",
        "evaluation/classical/name_1/album/5-kruhov\ufffd_objazd": "05-kruhovy_objazd.mp3",
    }
    for track, file in renamed.items():
        assert Path(catalogue.loc[track, "path"]).name == file
        assert Path(catalogue.loc[track, "path"]).is_file()


def test_given_split_tests_on_the_development_list(root):
    data = ISMIR2004(root=str(root), sample_rate=8000, clip_seconds=1)
    data.setup()
    lists = data.tracks.groupby("split")["list"].unique().map(list).to_dict()
    assert lists == {"train": ["training"], "val": ["training"], "test": ["development"]}


def test_artist_filtered_split_uses_both_lists_with_names(root):
    data = ISMIR2004(root=str(root), split="artist_filtered", sample_rate=8000, clip_seconds=1)
    data.setup()
    assert set(data.tracks["list"]) == {"training", "evaluation"}
    assert len(data.tracks) == 54


def test_wav_copies_have_other_lists(tmp_path):
    write_ismir2004(tmp_path)
    for path in list((tmp_path / "audio").rglob("*.mp3")):
        path.unlink()
        write_tone(path.with_suffix(".wav"), 440)
    for path in list((tmp_path / "metadata").rglob("tracklist.csv")):
        text = path.read_text(encoding="utf-8").replace(".mp3", ".wav")
        path.with_name("tracklistwav.csv").write_text(text, encoding="utf-8")
        path.unlink()
    data = ISMIR2004(root=str(tmp_path), sample_rate=8000, clip_seconds=1)
    data.setup()
    assert len(data.tracks) == 54
    assert not data.broken


def test_missing_list_of_a_split_raises_error(root, tmp_path):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "training").symlink_to(root / "metadata" / "training")
    with pytest.raises(MgcError, match=r"split='given' needs metadata/development/tracklist\.csv"):
        ISMIR2004(root=str(tmp_path)).setup()


def test_wrong_folder_raises_error(tmp_path):
    with pytest.raises(MgcError, match=r"no metadata/training/tracklist\.csv"):
        ISMIR2004(root=str(tmp_path)).setup()


def test_missing_songs_count_as_broken(tmp_path):
    write_ismir2004(tmp_path)
    next((tmp_path / "audio" / "training").rglob("5-song_8.mp3")).unlink()
    data = ISMIR2004(root=str(tmp_path), sample_rate=8000, clip_seconds=1, max_broken=0.05)
    data.setup()
    assert list(data.broken) == ["training/classical/name_8/album/5-song_8"]
    assert data.broken["training/classical/name_8/album/5-song_8"].endswith(": missing")
    with pytest.raises(MgcError, match="1 of 54 tracks cannot be read"):
        ISMIR2004(root=str(tmp_path)).setup()
    problems = [p for p in data.verify() if p.detail.endswith("not in the folder")]
    assert [p.kind for p in problems] == ["missing"]


def test_clips_of_long_songs_are_read_without_the_rest(tmp_path, monkeypatch):
    """A clip at the end of a song is read as fast as one at the start."""
    write_ismir2004(tmp_path)
    song = next((tmp_path / "audio" / "development").rglob("artist_1_album_1_track_1.mp3"))
    write_tone(song, 440, seconds=60)
    data = ISMIR2004(root=str(tmp_path), sample_rate=8000, clip_seconds=1)
    data.setup("test")
    decoded = []
    read = soundfile.SoundFile.read

    def count(self, frames=-1, *args, **kwargs):
        decoded.append(frames)
        return read(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", count)
    clips = data.datasets["test"]
    track = int(data.tracks.index[data.tracks["path"] == str(song)][0])
    last = max(i for i in range(len(clips)) if clips.tracks[i] == track)
    batch = clips.__getitems__([(0, last)])
    assert batch["start"].item() > 50 * 8000
    # Half a second more for the frames that the first one depends on, and the start of a frame.
    assert max(decoded) <= 12000 + 576


@real
def test_counts_of_the_real_lists():
    root = os.path.join(os.environ["MGC_REAL_DATA"], "ismir2004")
    catalogue = ISMIR2004(root=root).read_catalogue()
    counts = pd.crosstab(catalogue["list"], catalogue["label"])[list(GENRES)]
    assert counts.loc["training"].tolist() == [320, 115, 26, 45, 101, 122]
    assert counts.loc["development"].tolist() == [320, 114, 26, 45, 102, 122]
    assert counts.loc["evaluation"].tolist() == [319, 115, 26, 45, 101, 123]
    assert catalogue["track"].is_unique
    assert catalogue["path"].is_unique
    artists = catalogue.groupby("list")["artist"].unique().map(set)
    assert len(artists["training"] & artists["evaluation"]) == 127
    for column, expected in ISMIR2004.expected_files.items():
        assert catalogue[column].value_counts().to_dict() == expected


@real
@pytest.mark.parametrize("split", ["artist_filtered", "fold"])
@pytest.mark.parametrize("fold", range(5))
def test_artists_of_the_real_lists_stay_in_one_split(split, fold):
    root = os.path.join(os.environ["MGC_REAL_DATA"], "ismir2004")
    data = ISMIR2004(root=root, split=split, fold=fold)
    catalogue = data.read_catalogue()
    catalogue["split"] = data.assign_split(catalogue)
    used = catalogue[catalogue["split"] != ""]
    assert len(used) == 1458
    assert (used.groupby("artist")["split"].nunique() == 1).all()
    assert (pd.crosstab(used["split"], used["label"]) > 0).all(axis=None)


@real
def test_given_split_of_the_real_lists_holds_out_whole_artists():
    root = os.path.join(os.environ["MGC_REAL_DATA"], "ismir2004")
    data = ISMIR2004(root=root)
    catalogue = data.read_catalogue()
    catalogue["split"] = data.assign_split(catalogue)
    counts = pd.crosstab(catalogue["split"], catalogue["label"])
    assert counts.loc["test", list(GENRES)].tolist() == [320, 114, 26, 45, 102, 122]
    assert counts.loc[["train", "val"]].sum().sum() == 729
    assert (counts > 0).all(axis=None)
    training = catalogue[catalogue["list"] == "training"]
    assert (training.groupby("artist")["split"].nunique() == 1).all()
