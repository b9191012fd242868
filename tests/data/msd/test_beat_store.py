import errno
import fcntl
import json
import os
import pickle
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from generate_msd import generate_msd

from mgc.core.parquet import META_KEY
from mgc.data.msd import beat_store, files
from mgc.data.msd.beat_store import BeatStore, check_sources, merge, pack
from mgc.data.msd.beats import beat_align, normalise_timbre
from mgc.data.msd.files import find_tracks, read_track
from mgc.errors import MgcError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("msd")
    generate_msd(root, tracks=11, duplicates=0)
    return root


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(beat_store, "PART_TRACKS", 3)


@pytest.fixture
def damaged(root, tmp_path):
    """A copy of the dataset with two unreadable files."""
    copy = tmp_path / "damaged"
    shutil.copytree(root, copy)
    files = find_tracks(copy)
    files[4].write_bytes(b"not HDF5")
    files[10].write_bytes(files[10].read_bytes()[:1000])
    return copy


def content(store):
    return {path.name: path.read_bytes() for path in sorted(store.iterdir())}


def test_store_contains_the_features_of_every_track(root, tmp_path):
    pack(root, tmp_path)
    store = BeatStore(tmp_path)
    assert len(store) == 11
    for row, path in enumerate(find_tracks(root)):
        track = read_track(path)
        timing = (track.segments_start, track.beats_start)
        chroma, timbre = store.read(row)
        assert chroma.dtype == timbre.dtype == np.float32
        assert len(chroma) == len(timbre) == store.beats[row] == len(track.beats_start)
        expected = beat_align(*timing, track.chroma, track.duration)
        np.testing.assert_allclose(chroma, expected, atol=5e-4)
        expected = normalise_timbre(beat_align(*timing, track.timbre, track.duration))
        np.testing.assert_allclose(timbre, expected, rtol=1e-3, atol=1e-4)


def test_timbre_before_normalisation(root, tmp_path):
    pack(root, tmp_path)
    store = pickle.loads(pickle.dumps(BeatStore(tmp_path, normalise_timbre=False)))
    for row, path in enumerate(find_tracks(root)):
        track = read_track(path)
        expected = beat_align(track.segments_start, track.beats_start, track.timbre, track.duration)
        np.testing.assert_allclose(store.read(row)[1], expected, rtol=1e-3, atol=0.05)


def test_a_store_of_an_earlier_version_has_normalised_timbre_only(root, tmp_path):
    pack(root, tmp_path)
    table = pq.read_table(tmp_path / "index.parquet")
    table = table.drop_columns(["timbre_mean", "timbre_deviation"])
    settings = json.loads(table.schema.metadata[META_KEY]) | {"version": 2}
    table = table.replace_schema_metadata({META_KEY: json.dumps(settings)})
    pq.write_table(table, tmp_path / "index.parquet")
    assert len(BeatStore(tmp_path).read(0)[1])
    with pytest.raises(MgcError, match="by an earlier version of mgc"):
        BeatStore(tmp_path, normalise_timbre=False)
    with pytest.raises(MgcError, match="packed by another version of mgc"):
        pack(root, tmp_path)


def test_pandas_reads_the_index(root, tmp_path):
    pack(root, tmp_path)
    index = pd.read_parquet(tmp_path / "index.parquet")
    first = read_track(find_tracks(root)[0])
    assert index["track"].tolist() == [path.stem for path in find_tracks(root)]
    for name in ("artist_id", "artist", "title", "song", "key", "key_confidence", "mode", "year"):
        assert index[name][0] == getattr(first, name)
    for name in ("mbtags", "mbtags_count", "terms"):
        assert index[name][0].tolist() == getattr(first, name)
    assert (index["offset"] == index["beats"].cumsum() - index["beats"]).all()


def test_two_shards_equal_one(damaged, tmp_path):
    assert pack(damaged, tmp_path / "one")
    assert not pack(damaged, tmp_path / "two", shard=(1, 2))
    with pytest.raises(MgcError, match="2 of 4 parts are missing, the first is 00000"):
        merge(tmp_path / "two")
    # The last machine to finish merges.
    assert pack(damaged, tmp_path / "two", shard=(0, 2))
    assert content(tmp_path / "one") == content(tmp_path / "two")
    files = {"features.npy", "index.parquet", "broken.csv", "sources.parquet"}
    assert set(content(tmp_path / "one")) == files


def test_two_processes_equal_one(root, tmp_path):
    pack(root, tmp_path / "one")
    pack(root, tmp_path / "two", processes=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_parts_from_separate_disks_are_merged(root, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(root / "data", copy / "data")
    pack(root, tmp_path / "one")
    pack(root, tmp_path / "a", shard=(0, 2))
    pack(copy, tmp_path / "b", shard=(1, 2))
    shutil.copytree(tmp_path / "b", tmp_path / "a", dirs_exist_ok=True)
    merge(tmp_path / "a")
    assert content(tmp_path / "a") == content(tmp_path / "one")


def test_interrupted_packing_is_resumed(root, tmp_path, monkeypatch):
    pack(root, tmp_path / "whole")
    seen = []

    def read_and_stop(path):
        seen.append(path)
        if len(seen) == 8:
            raise KeyboardInterrupt
        return read_track(path)

    monkeypatch.setattr(beat_store, "read_track", read_and_stop)
    with pytest.raises(KeyboardInterrupt):
        pack(root, tmp_path / "store")
    with pytest.raises(MgcError, match="incomplete"):
        BeatStore(tmp_path / "store")
    assert not list(tmp_path.rglob("*.partial"))
    pack(root, tmp_path / "store")
    # Two parts of three tracks were complete, so six tracks are not read again.
    assert len(seen) == 8 + 5
    assert content(tmp_path / "store") == content(tmp_path / "whole")


def test_complete_store_is_not_packed_again(root, tmp_path, monkeypatch):
    pack(root, tmp_path)
    monkeypatch.setattr(beat_store, "read_track", lambda path: pytest.fail("read again"))
    assert pack(root, tmp_path)
    merge(tmp_path)


def test_broken_files_are_skipped_and_listed(damaged, tmp_path):
    files = find_tracks(damaged)
    pack(damaged, tmp_path / "store")
    assert len(BeatStore(tmp_path / "store")) == 9
    broken = pd.read_csv(tmp_path / "store" / "broken.csv")
    assert broken["track"].tolist() == [files[4].stem, files[10].stem]
    assert broken["file"].tolist() == [str(files[i].relative_to(damaged)) for i in (4, 10)]
    assert broken["reason"].tolist() == ["not a readable HDF5 file"] * 2


def test_no_readable_file_raises_error(damaged, tmp_path):
    for path in find_tracks(damaged):
        path.write_bytes(b"")
    with pytest.raises(MgcError, match="none of the 11 track files is readable"):
        pack(damaged, tmp_path / "store")


def test_store_of_other_tracks_is_not_overwritten(root, damaged, tmp_path):
    pack(root, tmp_path / "done")
    pack(root, tmp_path / "begun", shard=(0, 2))
    find_tracks(damaged)[0].unlink()
    with pytest.raises(MgcError, match="packed from different track files"):
        pack(damaged, tmp_path / "done")
    with pytest.raises(MgcError, match="parts of different track files"):
        pack(damaged, tmp_path / "begun", shard=(1, 2))


@pytest.mark.parametrize("check", ["sampled", "full"])
def test_changed_track_files_are_reported(damaged, tmp_path, check):
    store = tmp_path / "store"
    pack(damaged, store)
    path = find_tracks(damaged)[0]
    os.utime(path, (1, 1))
    assert pack(damaged, store, check=check)
    check_sources(damaged, store)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(MgcError, match=f"1 track files have changed .*{path.name}"):
        pack(damaged, store, check=check)
    path.unlink()
    check_sources(damaged, store)  # the store replaces it


def test_parts_of_changed_track_files_are_packed_again(damaged, tmp_path):
    store = tmp_path / "store"
    assert not pack(damaged, store, shard=(0, 2))
    shutil.copyfile(find_tracks(damaged)[1], find_tracks(damaged)[0])
    assert not pack(damaged, store, shard=(0, 2))
    assert pack(damaged, store)
    assert content(store)["features.npy"] == content(pack_again(damaged, tmp_path))["features.npy"]


def pack_again(root, tmp_path):
    pack(root, tmp_path / "again")
    return tmp_path / "again"


@pytest.mark.parametrize("name", ["features.npy", "sources.parquet"])
def test_a_damaged_store_is_reported(root, tmp_path, name):
    pack(root, tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    path.write_bytes(bytes(len(content) // 2) + content[len(content) // 2 :])
    with pytest.raises(MgcError, match=r"damaged.*Remove .* and pack again"):
        pack(root, tmp_path)


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_invalid_shard_raises_error(root, tmp_path, shard):
    with pytest.raises(MgcError, match="shard="):
        pack(root, tmp_path, shard=shard)


def test_damaged_store_raises_error(root, tmp_path):
    pack(root, tmp_path)
    np.save(tmp_path / "features.npy", np.zeros((3, 24), np.float16))
    with pytest.raises(MgcError, match="do not match"):
        BeatStore(tmp_path)
    (tmp_path / "features.npy").unlink()
    with pytest.raises(MgcError, match="missing or damaged"):
        BeatStore(tmp_path)
    (tmp_path / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(MgcError, match="is damaged"):
        BeatStore(tmp_path)


def test_pickled_store_contains_no_features(root, tmp_path):
    pack(root, tmp_path)
    store = BeatStore(tmp_path)
    message = pickle.dumps(store)
    assert len(message) < 500
    np.testing.assert_array_equal(pickle.loads(message).read(2), store.read(2))


def test_all_real_files_are_packed(tmp_path, real_data):
    real = tmp_path / "real"
    for folder in ("msd/data", "bad_h5"):
        shutil.copytree(real_data / folder, real / folder)
    pack(real, tmp_path / "store")
    store = BeatStore(tmp_path / "store")
    assert len(store) == 69
    for track in range(69):
        chroma, timbre = store.read(track)
        assert chroma.min() >= 0
        assert chroma.max() <= 1
        np.testing.assert_allclose(timbre.mean(axis=0), 0, atol=1e-3)
        np.testing.assert_allclose(timbre.std(axis=0), 1, atol=1e-3)
    assert len(pd.read_csv(tmp_path / "store" / "broken.csv")) == 2


def hold_lock(path):
    """Lock a file as another program does."""
    file = path.open("rb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def test_locked_files_are_packed(root, tmp_path):
    with hold_lock(find_tracks(root)[0]):
        pack(root, tmp_path / "locked")
    assert len(BeatStore(tmp_path / "locked")) == 11


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EAGAIN])
def test_files_that_could_not_be_read_are_tried_again(
    root, damaged, tmp_path, monkeypatch, finished, error
):
    lost = find_tracks(damaged)[7]

    def fail(path, read=files.open_hdf5):
        if path == lost:
            raise OSError(error, "Unable to open file")
        return read(path)

    monkeypatch.setattr(files, "open_hdf5", fail)
    store = tmp_path / "store"
    assert pack(damaged, store, shard=(0, 1) if finished else (0, 2)) == finished
    if finished:
        assert len(BeatStore(store)) == 8
        reason = beat_store.read_broken(store)[str(lost.relative_to(damaged))]
        assert reason == f"cannot be read ({os.strerror(error)})"
    monkeypatch.undo()
    monkeypatch.setattr(beat_store, "PART_TRACKS", 3)
    pack(damaged, store)
    assert content(store) == content(pack_again(damaged, tmp_path))


def test_broken_files_may_be_replaced(root, damaged, tmp_path):
    store = tmp_path / "store"
    pack(damaged, store)
    for track in (4, 10):
        shutil.copyfile(find_tracks(root)[track], find_tracks(damaged)[track])
    pack(damaged, store)
    assert len(BeatStore(store)) == 11
    assert content(store) == content(pack_again(damaged, tmp_path))
