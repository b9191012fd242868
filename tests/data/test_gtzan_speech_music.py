import os

import pandas as pd
import pytest
from layouts import write_gtzan_speech_music

from mgc.data.gtzan_speech_music import GTZANSpeechMusic
from mgc.errors import MgcError

real = pytest.mark.skipif("MGC_REAL_DATA" not in os.environ, reason="MGC_REAL_DATA is not set")


def test_numbered_clips_of_a_recording_form_a_group(tmp_path):
    write_gtzan_speech_music(tmp_path)
    catalogue = GTZANSpeechMusic(root=str(tmp_path)).read_catalogue().set_index("track")
    assert len(catalogue) == 24
    assert catalogue.loc["speech/dialogue1", "group"] == catalogue.loc["speech/dialogue2", "group"]
    assert catalogue.loc["music/dialogue1", "group"] != catalogue.loc["speech/dialogue1", "group"]
    assert catalogue["group"].nunique() == 22


def test_root_may_be_the_inner_folder(tmp_path):
    write_gtzan_speech_music(tmp_path)
    outside = GTZANSpeechMusic(root=str(tmp_path)).read_catalogue()
    inside = GTZANSpeechMusic(root=str(tmp_path / "music_speech")).read_catalogue()
    pd.testing.assert_frame_equal(outside, inside)


def test_missing_files_are_counted(tmp_path):
    write_gtzan_speech_music(tmp_path)
    problems = GTZANSpeechMusic(root=str(tmp_path)).verify()
    counted = [(p.name, p.detail) for p in problems if p.kind == "missing"]
    assert counted == [("label music", "12 of 64 files"), ("label speech", "12 of 64 files")]


def test_wrong_folder_raises_error(tmp_path):
    with pytest.raises(MgcError, match="no folder music_wav"):
        GTZANSpeechMusic(root=str(tmp_path)).setup()


@real
def test_the_published_list_has_the_expected_counts():
    path = os.path.join(os.environ["MGC_REAL_DATA"], "choi2017", "labels", "gtzan_speechmusic.csv")
    published = pd.read_csv(path)["filepath"].str.split("/").str[-2]
    expected = GTZANSpeechMusic.expected_files["label"]
    assert published.value_counts().to_dict() == {f"{k}_wav": n for k, n in expected.items()}
