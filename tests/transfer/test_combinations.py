import numpy as np
import pytest
from generated_tables import genre_table

from mgc.errors import MgcError
from mgc.transfer.combinations import load_tables, name_combination, parse_combinations

LAYERS = ["block1", "block2", "block3", "block4", "block5", "mfcc"]


def test_all_is_every_combination_of_blocks_and_other_layers_alone_and_with_all_blocks():
    chosen = parse_combinations("all", LAYERS)
    assert len(chosen) == 31 + 2
    assert next(iter(chosen)) == "12345"
    assert chosen["135"] == ("block1", "block3", "block5")
    assert chosen["mfcc"] == ("mfcc",)
    assert chosen["12345+mfcc"] == tuple(LAYERS)


def test_with_each_adds_a_layer_to_each_combination():
    chosen = parse_combinations("all", LAYERS, with_each="mfcc")
    assert len(chosen) == 31 + 1 + 31
    assert chosen["24+mfcc"] == ("block2", "block4", "mfcc")


def test_digits_name_blocks_and_other_layers_keep_their_names():
    chosen = parse_combinations("123, 531,mfcc,mfcc+12,block4", LAYERS)
    assert list(chosen) == ["123", "135", "mfcc", "12+mfcc", "4"]
    assert name_combination(("mfcc", "block2"), LAYERS) == "2+mfcc"


def test_without_blocks_all_is_each_layer_and_all_together():
    assert list(parse_combinations("all", ["low", "high"])) == ["low", "high", "low+high"]


@pytest.mark.parametrize("wanted", ["6", "120", "mfc", "12345+chroma", ""])
def test_an_unknown_layer_is_an_error_that_lists_the_layers(wanted):
    with pytest.raises(MgcError, match=r"No layer .*block1, .*mfcc, digits 1 to 5"):
        parse_combinations(wanted, LAYERS)


def save(table, folder, name):
    table.save(folder / name)
    return folder / name


def two_tables(folder):
    blocks = genre_table(layers=("block1", "block2"))
    mfcc = genre_table(layers=("mfcc",), seed=1)
    return blocks, mfcc, save(blocks, folder, "blocks.parquet")


def test_tables_are_joined_by_track(tmp_path):
    _, mfcc, first = two_tables(tmp_path)
    order = np.random.default_rng(0).permutation(60)
    shuffled = genre_table(layers=())
    shuffled.tracks = mfcc.tracks.iloc[order]
    shuffled.layers = {"mfcc": mfcc.layers["mfcc"][order]}
    joined = load_tables([first, save(shuffled, tmp_path, "mfcc.parquet")])
    assert list(joined.layers) == ["block1", "block2", "mfcc"]
    np.testing.assert_array_equal(joined.layers["mfcc"], mfcc.layers["mfcc"])


def test_a_missing_track_is_named(tmp_path):
    _, mfcc, first = two_tables(tmp_path)
    mfcc.tracks = mfcc.tracks.drop(index=[7, 9])
    mfcc.layers["mfcc"] = np.delete(mfcc.layers["mfcc"], [7, 9], axis=0)
    second = save(mfcc, tmp_path, "mfcc.parquet")
    with pytest.raises(MgcError, match=r"mfcc\.parquet lacks 2 tracks .*'t007'"):
        load_tables([first, second])
    with pytest.raises(MgcError, match=r"mfcc\.parquet lacks 2 tracks .*'t007'"):
        load_tables([second, first])


def test_different_targets_are_an_error(tmp_path):
    _, mfcc, first = two_tables(tmp_path)
    mfcc.tracks.loc[3, "label"] = "c"
    with pytest.raises(MgcError, match=r"different targets for track 't003'"):
        load_tables([first, save(mfcc, tmp_path, "mfcc.parquet")])


def test_different_labels_are_an_error(tmp_path):
    _, _, first = two_tables(tmp_path)
    other = genre_table(classes=2, layers=("mfcc",))
    with pytest.raises(MgcError, match="differ in their labels"):
        load_tables([first, save(other, tmp_path, "mfcc.parquet")])


def test_a_duplicate_layer_is_an_error(tmp_path):
    _, _, first = two_tables(tmp_path)
    other = genre_table(layers=("block2",))
    with pytest.raises(MgcError, match="Layer 'block2'"):
        load_tables([first, save(other, tmp_path, "other.parquet")])


def test_nan_is_an_error(tmp_path):
    table = genre_table()
    table.layers["block2"][5, 1] = np.nan
    with pytest.raises(MgcError, match=r"'block2' has NaN .* in 1 tracks, for example 't005'"):
        load_tables([save(table, tmp_path, "bad.parquet")])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MgcError, match=r"nowhere\.parquet does not exist"):
        load_tables([tmp_path / "nowhere.parquet"])


def test_absurd_features_are_named():
    table = genre_table()
    table.layers["block2"][7, 2] = -3e30
    with pytest.raises(MgcError, match=r"layer 'block2' has the value -3e.30 for track 't007'"):
        load_tables([table])
