import shutil

import h5py
import numpy as np
import pytest
from generate_msd import generate_msd

from mgc.data.msd.files import find_tracks, read_track
from mgc.errors import MgcError


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    root = tmp_path_factory.mktemp("msd")
    return root, generate_msd(root, tracks=4, duplicates=0)


@pytest.fixture
def one(generated, tmp_path):
    """A copy of one track file."""
    root, tracks = generated
    path = tmp_path / f"{tracks[0].track}.h5"
    shutil.copy(next(root.rglob(path.name)), path)
    return path


def test_files_are_found_in_order_in_any_layout(generated, tmp_path):
    root, tracks = generated
    names = sorted(track.track for track in tracks)
    assert [path.stem for path in find_tracks(root)] == names
    assert [path.stem for path in find_tracks(root / "data")] == names
    for path in find_tracks(root):
        shutil.copy(path, tmp_path)
        # macOS creates such files beside others.
        (tmp_path / f"._{path.name}").touch()
    assert [path.stem for path in find_tracks(tmp_path)] == names


def test_folder_without_tracks_raises_error(tmp_path):
    with pytest.raises(MgcError, match="no track files"):
        find_tracks(tmp_path)


def test_two_files_of_one_track_raise_error(one, tmp_path):
    (tmp_path / "copy").mkdir()
    shutil.copy(one, tmp_path / "copy")
    with pytest.raises(MgcError, match="the same track"):
        find_tracks(tmp_path)


def test_all_fields_are_read(generated):
    root, tracks = generated
    expected = tracks[3]
    path = next(root.rglob(f"{expected.track}.h5"))
    track = read_track(path)
    assert track.track == expected.track
    assert (track.artist, track.title) == ("Artist 3", "Title 3")
    assert (track.key, track.mode, track.year) == (expected.key, 1, 1963)
    assert track.mbtags == [expected.genre, "american", "hip hop rnb and dance hall"]
    assert track.mbtags_count == [2, 1, 1]
    assert track.terms == ["electronica", "60s"]
    with h5py.File(path) as file:
        analysis = file["analysis"]
        np.testing.assert_array_equal(track.beats_start, analysis["beats_start"])
        np.testing.assert_array_equal(track.segments_start, analysis["segments_start"])
        np.testing.assert_allclose(track.chroma, analysis["segments_pitches"], rtol=1e-6)
        np.testing.assert_allclose(track.timbre, analysis["segments_timbre"], rtol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["analysis/segments_timbre", "analysis/songs", "metadata/songs", "musicbrainz/artist_mbtags"],
)
def test_missing_dataset_raises_error(one, name):
    with h5py.File(one, "a") as file:
        del file[name]
    with pytest.raises(MgcError, match=f"{one.name}: lacks {name}"):
        read_track(one)


def test_missing_column_raises_error(one):
    with h5py.File(one, "a") as file:
        del file["metadata/songs"]
        file["metadata/songs"] = np.zeros(1, [("artist_id", "S32"), ("song_id", "S32")])
    with pytest.raises(MgcError, match="metadata/songs lacks artist_name, title, track_7digitalid"):
        read_track(one)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("analysis/beats_start", np.empty(0), "no beats"),
        ("analysis/beats_start", np.array([3.0, 2.0]), "not ascending"),
        ("analysis/segments_pitches", np.zeros((7, 12)), "differ in length"),
        ("analysis/segments_pitches", np.zeros((7, 11)), "has shape"),
        ("analysis/segments_start", np.array([b"x"]), "is damaged or has a different type"),
        ("musicbrainz/artist_mbtags_count", np.array([1]), "differ in length"),
    ],
)
def test_inconsistent_content_raises_error(one, name, values, message):
    with h5py.File(one, "a") as file:
        del file[name]
        file[name] = values
    with pytest.raises(MgcError, match=message):
        read_track(one)


def test_values_that_are_not_finite_raise_error(one):
    with h5py.File(one, "a") as file:
        file["analysis/segments_timbre"][1, 3] = np.nan
    with pytest.raises(MgcError, match="not finite"):
        read_track(one)


def test_truncated_file_raises_error(one):
    one.write_bytes(one.read_bytes()[: one.stat().st_size // 2])
    with pytest.raises(MgcError, match="not a readable HDF5 file"):
        read_track(one)


def test_damaged_data_raises_error(one):
    content = bytearray(one.read_bytes())
    with h5py.File(one) as file:
        chunk = file["analysis/segments_timbre"].id.get_chunk_info(0)
    start = chunk.byte_offset
    content[start : start + chunk.size] = bytes(chunk.size)
    one.write_bytes(content)
    with pytest.raises(MgcError, match="analysis/segments_timbre is damaged"):
        read_track(one)


def test_missing_file_raises_error(tmp_path):
    with pytest.raises(MgcError, match="no such file"):
        read_track(tmp_path / "TRAAAAA128F0000000.h5")


def test_wrong_file_name_raises_error(one):
    other = one.rename(one.with_name("TRAAAAA128F0000000.h5"))
    with pytest.raises(MgcError, match="unlike its file name"):
        read_track(other)


def structure(path):
    with h5py.File(path) as file:
        found = {}
        file.visititems(
            lambda name, item: (
                found.update({name: (item.dtype, item.ndim)})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
        return found


def test_generated_files_have_the_structure_of_real_ones(generated, real_data):
    root = real_data / "msd"
    assert structure(find_tracks(generated[0])[0]) == structure(find_tracks(root)[0])


def test_all_real_files_are_read(real_data):
    paths = find_tracks(real_data / "msd")
    assert len(paths) == 69
    for path in paths:
        track = read_track(path)
        with h5py.File(path) as file:
            songs, metadata = file["analysis/songs"][0], file["metadata/songs"][0]
            assert (track.key, track.duration) == (songs["key"], songs["duration"])
            assert (track.artist_id, track.title) == (
                metadata["artist_id"].decode(),
                metadata["title"].decode(),
            )
            assert track.year == file["musicbrainz/songs"][0]["year"]
            assert len(track.terms) == len(file["metadata/artist_terms"])
            np.testing.assert_allclose(track.timbre, file["analysis/segments_timbre"], rtol=1e-6)


def test_broken_real_files_raise_error(real_data):
    folder = real_data / "bad_h5"
    for path in find_tracks(folder):
        with pytest.raises(MgcError, match="lacks analysis/songs"):
            read_track(path)


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title])
def test_track_files_are_found_in_any_case(tmp_path, spell):
    generate_msd(tmp_path, tracks=2, duplicates=0)
    before = find_tracks(tmp_path)
    for path in before:
        path.rename(path.with_name(spell(path.name)))
    (tmp_path / "data").rename(tmp_path / spell("data"))
    found = find_tracks(tmp_path)
    assert [path.name for path in found] == [spell(path.name) for path in before]
    assert [read_track(path).track for path in found] == [path.stem for path in before]
