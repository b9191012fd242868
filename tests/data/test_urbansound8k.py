import os

import numpy as np
import pandas as pd
import pytest
from layouts import write_urbansound8k

from mgc.data.urbansound8k import UrbanSound8K
from mgc.errors import MgcError

real = pytest.mark.skipif("MGC_REAL_DATA" not in os.environ, reason="MGC_REAL_DATA is not set")


def real_root():
    return os.path.join(os.environ["MGC_REAL_DATA"], "urbansound8k")


def test_a_header_line_makes_no_difference(tmp_path):
    catalogues = []
    for header in (False, True):
        write_urbansound8k(tmp_path, header=header)
        catalogues.append(UrbanSound8K(root=str(tmp_path)).read_catalogue())
    pd.testing.assert_frame_equal(*catalogues)
    assert len(catalogues[0]) == 20


@pytest.mark.parametrize("fold", [0, 9])
def test_given_folds_are_used(tmp_path, fold):
    write_urbansound8k(tmp_path)
    data = UrbanSound8K(root=str(tmp_path), fold=fold)
    data.setup()
    tested = data.tracks.loc[data.tracks["split"] == "test", "path"]
    assert {os.path.basename(os.path.dirname(path)) for path in tested} == {f"fold{fold + 1}"}


def test_short_slices_are_repeated(tmp_path):
    write_urbansound8k(tmp_path)
    data = UrbanSound8K(root=str(tmp_path), sample_rate=8000, clip_seconds=1)
    data.setup("test")
    audio = next(iter(data.test_dataloader()))["audio"][0].numpy()
    np.testing.assert_array_equal(audio[3200:6400], audio[:3200])


def test_incomplete_copy_raises_error(tmp_path):
    write_urbansound8k(tmp_path)
    for path in (tmp_path / "audio" / "fold3").iterdir():
        path.unlink()
    with pytest.raises(MgcError, match=r"2 of 20 tracks cannot be read \(10\.00%.*: missing"):
        UrbanSound8K(root=str(tmp_path)).setup()
    data = UrbanSound8K(root=str(tmp_path), max_broken=0.1)
    data.setup()
    assert len(data.tracks) == 18


def test_invalid_catalogue_raises_error(tmp_path):
    write_urbansound8k(tmp_path)
    table = tmp_path / "metadata" / "UrbanSound8K.csv"
    table.write_text(table.read_text().replace("dog_bark", "cat_meow"))
    with pytest.raises(MgcError, match="unknown class 'cat_meow'"):
        UrbanSound8K(root=str(tmp_path)).read_catalogue()
    table.write_text("a,b\n1,2\n")
    with pytest.raises(MgcError, match="unreadable"):
        UrbanSound8K(root=str(tmp_path)).read_catalogue()
    table.unlink()
    with pytest.raises(MgcError, match=r"UrbanSound8K\.csv: no such file"):
        UrbanSound8K(root=str(tmp_path)).read_catalogue()


@real
def test_counts_of_the_real_catalogue():
    catalogue = UrbanSound8K(root=real_root()).read_catalogue()
    assert len(catalogue) == 8732
    folds = catalogue["fold"].value_counts().sort_index().tolist()
    assert folds == [873, 888, 925, 990, 936, 823, 838, 806, 816, 837]
    assert catalogue["label"].value_counts().to_dict() == UrbanSound8K.expected_files["label"]


@real
def test_recordings_in_two_of_the_real_folds():
    catalogue = UrbanSound8K(root=real_root()).read_catalogue()
    folds = catalogue.groupby("group")["fold"].nunique()
    assert len(folds) == 1297
    twice = folds.index[folds > 1]
    assert set(twice) == {"77751", "106905", "132016", "176638", "180937"}
    assert catalogue["group"].isin(twice).sum() == 152


@real
def test_recordings_stay_in_one_stratified_split():
    data = UrbanSound8K(root=real_root(), split="stratified")
    catalogue = data.read_catalogue()
    split = pd.Series(data.assign_split(catalogue))
    assert (split.groupby(catalogue["group"]).nunique() == 1).all()
