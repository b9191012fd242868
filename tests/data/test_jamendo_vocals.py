import numpy as np
import pytest
import soundfile
from layouts import write_jamendo_vocals

from mgc.data.jamendo_vocals import JamendoVocals
from mgc.errors import MgcError


def test_tracks_are_annotated_segments(tmp_path):
    write_jamendo_vocals(tmp_path)
    data = JamendoVocals(root=str(tmp_path), sample_rate=8000, clip_seconds=1)
    data.setup()
    song = data.tracks[data.tracks["group"] == "00 - Song of train"]
    assert song["label"].tolist() == ["nosing", "sing", "nosing"]
    assert song["offset"].tolist() == [0, 10_000, 20_000]
    assert song["length"].tolist() == [10_000, 10_000, 4_000]


def test_clips_stay_within_their_segment(tmp_path):
    write_jamendo_vocals(tmp_path)
    time = np.arange(24_000) / 8000
    audio = np.where((time >= 1.25) & (time < 2.5), 0.5 * np.sin(2 * np.pi * 440 * time), 0)
    (tmp_path / "test" / "00 - Song of test.ogg").unlink()
    soundfile.write(tmp_path / "test" / "00 - Song of test.wav", audio, 8000)
    data = JamendoVocals(root=str(tmp_path), sample_rate=8000, clip_seconds=1)
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    loud = batch["audio"].abs().amax(dim=1) > 0.1
    assert loud.tolist() == (batch["target"] == 1).tolist() == [False, True, False]


def test_lists_assign_sets_if_all_songs_are_in_one_folder(tmp_path):
    write_jamendo_vocals(tmp_path)
    (tmp_path / "audio").mkdir()
    for name in ("train", "valid", "test"):
        songs = list((tmp_path / name).iterdir())
        lines = "".join(f"{path.stem}.trs\n" for path in songs)
        (tmp_path / f"jam_{name}_list.txt").write_text(lines)
        for path in songs:
            path.rename(tmp_path / "audio" / path.name)
    data = JamendoVocals(root=str(tmp_path), sample_rate=8000, clip_seconds=1)
    data.setup()
    songs = data.tracks.groupby("split")["group"].nunique().to_dict()
    assert songs == {"train": 4, "val": 2, "test": 1}


def test_invalid_annotations_raise_error_with_file_and_line(tmp_path):
    write_jamendo_vocals(tmp_path)
    lab = tmp_path / "jamendo_lab" / "00 - Song of test.lab"
    data = JamendoVocals(root=str(tmp_path))
    lab.write_text("0 1.5 sing\n1.5 oops sing\n")
    with pytest.raises(MgcError, match=r"Song of test\.lab: line 2 must be 'begin end label'"):
        data.read_catalogue()
    lab.write_text("0 1.5 humming\n")
    with pytest.raises(MgcError, match="line 1: unknown label 'humming'"):
        data.read_catalogue()
    lab.unlink()
    with pytest.raises(MgcError, match=r"no annotation 00 - Song of test\.lab"):
        data.read_catalogue()


def test_song_without_a_set_raises_error(tmp_path):
    write_jamendo_vocals(tmp_path)
    (tmp_path / "test").rename(tmp_path / "more")
    with pytest.raises(MgcError, match="neither in a folder train, valid or test nor in a list"):
        JamendoVocals(root=str(tmp_path)).read_catalogue()
