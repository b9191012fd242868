import shutil

import h5py
import numpy as np
import pytest
from generate_msd import generate_msd, id_at_7digital, lastfm_tags

from mgc.data.msd.beat_store import pack
from mgc.data.msd.tagging import TAGS, MSDTagging
from mgc.errors import MgcError

SETTINGS = {"clip_seconds": 1.0, "batch_size": 4}


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    root = tmp_path_factory.mktemp("msd")
    tracks = generate_msd(root, tracks=30, duplicates=0, previews=25)
    pack(root, root / "beats")
    return root, tracks


def setup(root, stage=None, **kwargs):
    data = MSDTagging(str(root), **{**SETTINGS, **kwargs})
    data.setup(stage)
    return data


def test_tracks_with_a_preview_follow_the_split_lists(generated):
    root, tracks = generated
    data = setup(root)
    assert set(data.tracks["track"]) == {track.track for track in tracks[:25]}
    split_of = data.tracks.set_index("track")["split"]
    for track in tracks[:25]:
        assert split_of[track.track] == {8: "val", 9: "test"}.get(track.number % 10, "train")


def test_missing_previews_are_counted(generated, caplog):
    with caplog.at_level("INFO"):
        setup(generated[0], "test")
    assert "5 of 30 tracks have no preview" in caplog.text


def test_targets_are_tags_above_the_weight(generated):
    root, tracks = generated
    for min_weight in (0, 50, 90):
        data = setup(root, "test", min_weight=min_weight)
        targets = dict(zip(data.tracks["track"], data.targets().numpy(), strict=True))
        for track in tracks[:25]:
            expected = {tag for tag, weight in lastfm_tags(track) if weight > min_weight} & set(
                TAGS
            )
            assert {TAGS[i] for i in np.flatnonzero(targets[track.track])} == expected


def test_batches_contain_the_audio_of_the_track(generated):
    root, tracks = generated
    artist = {track.track: track.artist for track in tracks}
    data = setup(root)
    for batch in data.test_dataloader():
        assert batch["audio"].shape[1:] == (12000,)
        assert batch["target"].shape[1:] == (50,)
        spectrum = batch["audio"].numpy().__abs__() > 0
        assert spectrum.any(axis=1).all()
        pitch = np.abs(np.fft.rfft(batch["audio"].numpy())).argmax(axis=1)
        names = data.tracks["track"].iloc[batch["track"].numpy()]
        expected = [220 + 40 * artist[name] for name in names]
        np.testing.assert_allclose(pitch, expected, atol=2)


def test_summary_file_maps_7digital_ids_to_tracks(generated, tmp_path):
    root, tracks = generated
    shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns("beats", "data"))
    with pytest.raises(MgcError, match=r"requires a store.*or msd_summary_file.h5"):
        setup(tmp_path / "copy")
    with h5py.File(tmp_path / "copy" / "msd_summary_file.h5", "w") as file:
        names = [(track.track.encode(),) for track in tracks]
        file["analysis/songs"] = np.array(names, [("track_id", "S32")])
        numbers = [(id_at_7digital(track),) for track in tracks]
        file["metadata/songs"] = np.array(numbers, [("track_7digitalid", "i4")])
    columns = ["track", "split", "label", *(f"target.{tag}" for tag in TAGS)]
    columns.remove("label")
    first, second = setup(root).tracks, setup(tmp_path / "copy").tracks
    assert first[columns].equals(second[columns])


def test_previews_may_be_named_by_track(generated, tmp_path):
    root, tracks = generated
    shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns("beats", "data"))
    audio = tmp_path / "copy" / "audio"
    for track in tracks[:25]:
        path = next(audio.rglob(f"{id_at_7digital(track)}.clip.mp3"))
        path.rename(audio / f"{track.track}.mp3")
    assert set(setup(tmp_path / "copy").tracks["track"]) == {t.track for t in tracks[:25]}


def test_broken_preview_is_skipped(generated, tmp_path):
    root, tracks = generated
    shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns("data"))
    next(tmp_path.rglob(f"{id_at_7digital(tracks[3])}.clip.mp3")).write_bytes(b"")
    data = setup(tmp_path / "copy", max_broken=0.1)
    assert set(data.broken) == {tracks[3].track}
    assert len(data.tracks) == 24
    problems = {(problem.kind, problem.name) for problem in data.verify()}
    assert ("broken", tracks[3].track) in problems
    assert {("missing", track.track) for track in tracks[25:]} <= problems


def test_missing_files_raise_error(generated, tmp_path):
    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns("data", "audio", "lastfm*")
    shutil.copytree(generated[0], copy, ignore=ignored)
    with pytest.raises(MgcError, match="no previews"):
        setup(copy)
    shutil.copytree(generated[0] / "audio", copy / "audio")
    with pytest.raises(MgcError, match=r"no Last\.fm tags"):
        setup(copy)
    test_list = copy / "tagging_split_test.txt"
    content = test_list.read_text()
    test_list.write_text(content + (copy / "tagging_split_train.txt").read_text()[:19])
    with pytest.raises(MgcError, match="in two of the split lists"):
        setup(copy)
    test_list.unlink()
    with pytest.raises(MgcError, match=r"tagging_split_test\.txt not found"):
        setup(copy)


def test_labels_need_no_files():
    data = MSDTagging("nowhere")
    assert (data.num_classes, data.task, data.sample_rate) == (50, "multilabel", 12000)
    assert data.clip_samples == 348_000
