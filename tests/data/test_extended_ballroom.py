import os

import pandas as pd
import pytest
from layouts import write_extended_ballroom, write_tone

from mgc.data.extended_ballroom import ExtendedBallroom
from mgc.errors import MgcError

real = pytest.mark.skipif("MGC_REAL_DATA" not in os.environ, reason="MGC_REAL_DATA is not set")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extended_ballroom")
    write_extended_ballroom(folder)
    return folder


def real_root():
    return os.path.join(os.environ["MGC_REAL_DATA"], "extended_ballroom")


def test_linked_songs_are_one_group(root):
    catalogue = ExtendedBallroom(root=str(root)).read_catalogue()
    waltz = catalogue[catalogue["label"] == "Waltz"].set_index("track")["group"]
    # 0 and 1 are linked, and 1 and 2, so all three form a group.
    assert waltz.tolist() == ["111000", "111000", "111000", "111003"]


def test_verify_reports_wrong_checksums(tmp_path):
    write_extended_ballroom(tmp_path)
    write_tone(tmp_path / "Waltz" / "111003.mp3", 100)
    problems = ExtendedBallroom(root=str(tmp_path)).verify()
    assert [p.name for p in problems if p.kind == "checksum"] == ["111003"]


def test_verify_reports_missing_files(tmp_path):
    write_extended_ballroom(tmp_path)
    (tmp_path / "Waltz" / "111003.mp3").unlink()
    (tmp_path / "Waltz" / "999.mp3").write_bytes(b"")
    problems = ExtendedBallroom(root=str(tmp_path)).verify()
    found = {(p.kind, p.name) for p in problems}
    assert ("missing", "111003") in found
    assert ("unexpected", str(tmp_path / "Waltz" / "999.mp3")) in found
    with pytest.raises(MgcError, match=r"1 of 52 tracks cannot be read .*111003\.mp3: missing"):
        ExtendedBallroom(root=str(tmp_path)).setup()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<ballroom><Waltz>", "unreadable"),
        ("<ballroom><Polka/></ballroom>", "unknown dance 'Polka'"),
        ("<ballroom><Waltz><song/></Waltz></ballroom>", "a song in Waltz has no id"),
    ],
)
def test_invalid_catalogue_raises_error(tmp_path, text, message):
    (tmp_path / "extendedballroom_v1.1.xml").write_text(text)
    with pytest.raises(MgcError, match=message):
        ExtendedBallroom(root=str(tmp_path)).read_catalogue()


def test_wrong_folder_raises_error(tmp_path):
    with pytest.raises(MgcError, match=r"no extendedballroom_v1\.1\.xml"):
        ExtendedBallroom(root=str(tmp_path)).setup()


@real
def test_counts_of_the_real_catalogue():
    catalogue = ExtendedBallroom(root=real_root()).read_catalogue()
    assert len(catalogue) == 4180
    assert catalogue["track"].is_unique
    assert catalogue["label"].value_counts().to_dict() == {
        "Waltz": 529,
        "Tango": 464,
        "Viennesewaltz": 252,
        "Foxtrot": 507,
        "Quickstep": 497,
        "Chacha": 455,
        "Samba": 468,
        "Rumba": 470,
        "Pasodoble": 53,
        "Jive": 350,
        "Salsa": 47,
        "Slowwaltz": 65,
        "Wcswing": 23,
    }
    assert catalogue["group"].nunique() == 3724


@real
@pytest.mark.parametrize("fold", [0, 9])
def test_repetitions_in_the_real_catalogue_stay_in_one_split(fold):
    data = ExtendedBallroom(root=real_root(), fold=fold)
    catalogue = data.read_catalogue()
    split = pd.Series(data.assign_split(catalogue), catalogue["track"])
    assert (split.groupby(catalogue["group"].to_numpy()).nunique() == 1).all()
    # The catalogue links 101003 as another version of 101018.
    assert split["101003"] == split["101018"]
    shares = pd.crosstab(split.to_numpy(), catalogue["label"], normalize="columns")
    assert (shares.loc["test"] - 0.1).abs().max() < 0.06


@real
def test_ungrouped_folds_are_balanced_and_cross_groups():
    data = ExtendedBallroom(root=real_root(), split="fold_ungrouped")
    catalogue = data.read_catalogue()
    split = pd.Series(data.assign_split(catalogue))
    assert (split.groupby(catalogue["group"]).nunique() > 1).sum() > 100
