import shutil

import numpy as np
import pandas as pd
import pytest
from generate_msd import generate_msd, lastfm_tags

from mgc.data.msd.catalogue import (
    GENRES,
    KEYS,
    TAGS,
    TAGTRAUM_GENRES,
    find_genre,
    find_genres,
    make_artist_labels,
    read_duplicates,
    read_lastfm,
    read_tagtraum,
    read_track_list,
    remove_duplicates,
    select_artists,
    select_genres,
    select_keys,
    select_tagtraum,
)
from mgc.errors import MgcError


def name(number):
    return f"TRAAAAA128F{number:07X}"


def make_index(rows):
    """Create an index of tracks with MusicBrainz tags and their counts."""
    return pd.DataFrame(
        {
            "track": [name(i) for i in range(len(rows))],
            "mbtags": [list(row) for row in rows],
            "mbtags_count": [list(row.values()) for row in rows],
        }
    )


@pytest.mark.parametrize(
    ("tag", "genre"),
    [
        ("hip-hop", "hip hop"),
        ("Hip Hop", "hip hop"),
        ("hiphop", "hip hop"),
        ("r&b", "rnb"),
        ("R & B", "rnb"),
        ("rnb", "rnb"),
        ("r and b", "rnb"),
        ("Rhythm and Blues", "rnb"),
        ("new-wave", "new wave"),
        ("punk", "punk"),
        ("punk rock", None),
        ("hip hop rnb and dance hall", None),
        ("british", None),
        ("américain", None),
        ("", None),
    ],
)
def test_spellings_of_genres(tag, genre):
    assert find_genre(tag) == genre


def genres(*rows):
    """Return the genre of each track, or None."""
    found = find_genres(make_index(rows))
    return [found.get(name(i)) for i in range(len(rows))]


def test_genre_is_the_tag_given_by_most_users():
    assert genres({"rock": 1, "folk": 2}, {"british": 9, "rock": 3, "folk": 1}, {"folk": 1}) == [
        "folk",
        "rock",
        "folk",
    ]


def test_ties_go_to_the_rarer_genre():
    assert genres({"rock": 1, "punk": 1}, {"rock": 1}) == ["punk", "rock"]
    assert genres({"rock": 1, "punk": 1}, {"punk": 1}) == ["rock", "punk"]


def test_two_spellings_count_once():
    assert genres({"hip-hop": 1, "hip hop": 1, "pop": 2}) == ["pop"]


def test_tracks_without_a_genre_have_none():
    assert genres({"british": 1}, {}, {"punk rock": 1}, {"soul": 1}) == [None, None, None, "soul"]


def test_genres_are_balanced_and_do_not_depend_on_the_order():
    index = make_index([{GENRES[i % 20]: 1, "american": 3} for i in range(200)])
    selected = select_genres(index, per_genre=7, seed=5)
    assert selected["label"].value_counts().to_dict() == dict.fromkeys(GENRES, 7)
    shuffled = select_genres(index.sample(frac=1, random_state=0), per_genre=7, seed=5)
    pd.testing.assert_frame_equal(selected, shuffled)
    other = select_genres(index, per_genre=7, seed=6)
    assert set(other["track"]) != set(selected["track"])


def test_too_few_tracks_of_a_genre_raises_error():
    index = make_index([{genre: 1} for genre in GENRES for _ in range(3) if genre != "soul"])
    with pytest.raises(MgcError, match=r"tracks_per_class=2.*only 0 tracks of 'soul'"):
        select_genres(index, per_genre=2)


def test_artists_with_the_most_tracks_are_selected():
    counts = {"ARA": 3, "ARB": 9, "ARC": 5, "ARD": 5}
    ids = [artist for artist, count in counts.items() for _ in range(count)]
    index = pd.DataFrame({"track": [name(i) for i in range(len(ids))], "artist_id": ids})
    selected = select_artists(index, artists=2, per_artist=4)
    pairs = selected.groupby("label")["artist_id"].unique().map(list).to_dict()
    assert pairs == {"artist 01": ["ARB"], "artist 02": ["ARC"]}
    assert selected["label"].value_counts().to_dict() == {"artist 01": 4, "artist 02": 4}
    assert make_artist_labels(2) == ("artist 01", "artist 02")
    with pytest.raises(MgcError, match="only 4 artists"):
        select_artists(index, artists=5, per_artist=1)
    with pytest.raises(MgcError, match="only 5 tracks of 'artist 02'"):
        select_artists(index, artists=2, per_artist=6)


def test_tracks_with_the_highest_key_confidence_are_selected():
    rng = np.random.default_rng(0)
    index = pd.DataFrame(
        {
            "track": [name(i) for i in range(120)],
            "key": np.arange(120) % 12,
            "key_confidence": rng.random(120),
        }
    )
    selected = select_keys(index, per_key=3)
    assert selected["label"].value_counts().to_dict() == dict.fromkeys(KEYS, 3)
    for key, label in enumerate(KEYS):
        best = index[index["key"] == key].nlargest(3, "key_confidence")["track"]
        assert set(selected.loc[selected["label"] == label, "track"]) == set(best)


LIST = """# msd duplicates
# comment
%1 Some artist - Some title
{0}
{1} 0.31
%2
{2}
{3}
{4}
%-1 shares a track with the first
{1}
{5}
"""


def test_groups_of_duplicates_are_merged_and_removed(tmp_path):
    path = tmp_path / "msd_duplicates.txt"
    path.write_text(LIST.format(*(name(i) for i in range(6))))
    groups = read_duplicates(path)
    assert groups == [[name(0), name(1), name(5)], [name(2), name(3), name(4)]]
    # Track 2 is missing, so the next one of its group is kept.
    index = pd.DataFrame({"track": [name(i) for i in (7, 5, 4, 3, 1, 0)]})
    assert remove_duplicates(index, groups)["track"].tolist() == [name(7), name(3), name(0)]


@pytest.mark.parametrize("text", ["TRAAAAA128F0000001\n", "%1\nno track\n"])
def test_invalid_list_of_duplicates_raises_error(tmp_path, text):
    path = tmp_path / "msd_duplicates.txt"
    path.write_text(text)
    with pytest.raises(
        MgcError, match=r"msd_duplicates.txt, line [12]: expected a track id in a group"
    ):
        read_duplicates(path)
    with pytest.raises(MgcError, match="No such file"):
        read_duplicates(tmp_path / "nothing")


def test_tagtraum_list_is_read(tmp_path):
    path = tmp_path / "msd_tagtraum.cls"
    path.write_text(f"# comment\n{name(0)}\tJazz\n{name(1)}\tJazz\tVocal\n")
    genres = read_tagtraum(path)
    assert genres["genre"].tolist() == ["Jazz", "Jazz"]
    assert genres["second"].tolist() == ["", "Vocal"]
    path.write_text(f"{name(0)} Jazz\n")
    with pytest.raises(MgcError, match="line 1: expected a track id and one or two genres"):
        read_tagtraum(path)


def test_tagtraum_selection_skips_tracks_with_two_genres():
    rows = [(name(i), TAGTRAUM_GENRES[i % 13], "Vocal" if i < 13 else "") for i in range(39)]
    genres = pd.DataFrame(rows, columns=["track", "genre", "second"])
    selected = select_tagtraum(genres[["track"]], genres, per_genre=2)
    assert len(selected) == 26
    assert not set(selected["track"]) & {name(i) for i in range(13)}


def test_track_list_is_read(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(f"{name(2)}\n{name(1)}\n")
    assert read_track_list(path) == [name(2), name(1)]
    path.write_text(f"{name(2)}\nrock\n")
    with pytest.raises(MgcError, match="line 2: 'rock' is not a track id"):
        read_track_list(path)
    path.write_text(f"{name(2)}\n{name(2)}\n")
    with pytest.raises(MgcError, match="listed twice"):
        read_track_list(path)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    root = tmp_path_factory.mktemp("msd")
    return root, generate_msd(root, tracks=20, duplicates=0)


@pytest.mark.parametrize("source", ["lastfm_tags.db", ""])
@pytest.mark.parametrize("min_weight", [0, 20, 50, 90])
def test_lastfm_tags_above_the_weight_are_read(generated, source, min_weight):
    root, tracks = generated
    names = [*(track.track for track in tracks[5:15]), name(0)]
    targets = read_lastfm(root / source, names, TAGS, min_weight)
    assert targets.shape == (11, 50)
    for row, track in enumerate(tracks[5:15]):
        expected = {tag for tag, weight in lastfm_tags(track) if weight > min_weight} & set(TAGS)
        assert {TAGS[i] for i in np.flatnonzero(targets[row])} == expected
    assert not targets[10].any()


def test_invalid_lastfm_sources_raise_error(generated, tmp_path):
    root, tracks = generated
    with pytest.raises(MgcError, match=r"no Last\.fm tags"):
        read_lastfm(tmp_path / "nothing", [name(0)], TAGS)
    (tmp_path / "wrong.db").write_bytes(b"no database at all, and long enough to be one")
    with pytest.raises(MgcError, match=r"is not the Last\.fm tag database"):
        read_lastfm(tmp_path / "wrong.db", [name(0)], TAGS)
    shutil.copytree(root / "lastfm_train", tmp_path / "lastfm_train")
    track = tracks[0].track
    next(tmp_path.rglob(f"{track}.json")).write_text('{"tags": [["rock"')
    with pytest.raises(MgcError, match=f"{track}.json is not a Last.fm track"):
        read_lastfm(tmp_path, [track], TAGS)


def test_real_lists(real_data):
    labels = real_data / "msd" / "labels"
    sizes = {"train": 201_680, "valid": 12_634, "test": 28_540}
    lists = {split: read_track_list(labels / f"tagging_split_{split}.txt") for split in sizes}
    assert {split: len(tracks) for split, tracks in lists.items()} == sizes
    assert len(set().union(*lists.values())) == sum(sizes.values())
    assert tuple((labels / "lastfm_top50_tags.txt").read_text().split("\n")[:50]) == TAGS
    genres = read_tagtraum(labels / "msd_tagtraum_cd1.cls")
    assert len(genres) == 133_676
    assert set(genres["genre"]) == set(TAGTRAUM_GENRES)
    assert (genres["second"] != "").sum() == 35_527


def test_selection_from_the_real_tagtraum_list(real_data):
    labels = real_data / "msd" / "labels"
    genres = read_tagtraum(labels / "msd_tagtraum_cd1.cls")
    fewest = genres[genres["second"] == ""]["genre"].value_counts().min()
    selected = select_tagtraum(genres[["track"]], genres, per_genre=fewest)
    assert selected["label"].value_counts().to_dict() == dict.fromkeys(TAGTRAUM_GENRES, fewest)
    with pytest.raises(MgcError, match=f"only {fewest} tracks of 'Vocal'"):
        select_tagtraum(genres[["track"]], genres, per_genre=fewest + 1)
