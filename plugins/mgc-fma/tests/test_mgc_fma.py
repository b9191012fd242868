import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mgc_fma import FMA, GENRES, SMALL

from mgc.cli import main
from mgc.errors import MgcError
from mgc.testing import DATA_CHECKS, DataCase

CONFIG = Path(__file__).parents[1] / "configs" / "vgg_fma.yaml"

#: Some of the 52 columns of the real catalogue.
HEADER = (
    ("", ""),
    ("album", "comments"),
    ("album", "information"),
    ("artist", "id"),
    ("artist", "name"),
    ("set", "split"),
    ("set", "subset"),
    ("track", "genre_top"),
    ("track", "title"),
)


def write_fma(root: Path) -> None:
    """Write ten artists per genre with two tracks each, and a track without a genre."""
    rng = np.random.default_rng(0)
    rows, track = [], 1
    for genre in GENRES:
        for artist in range(10):
            split = {8: "validation", 9: "test"}.get(artist, "training")
            subset = "small" if genre in SMALL else "medium"
            for part in range(2):
                track += 1
                name = f"{genre} {artist}"
                text = 'First line,\n"second" line'
                rows.append([track, 0, text, name, name, split, subset, genre, f"Song {part}"])
                if subset == "small":
                    path = root / "fma_small" / f"{track:06}"[:3] / f"{track:06}.mp3"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    soundfile.write(path, 0.1 * rng.normal(size=12000).clip(-3, 3), 8000)
    rows.append([track + 1, 0, "", 1, "Nobody", "training", "large", "", "Song"])
    path = root / "fma_metadata" / "tracks.csv"
    path.parent.mkdir()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(zip(*HEADER, strict=True))
        writer.writerow(["track_id", *[""] * (len(HEADER) - 1)])
        writer.writerows(rows)


@pytest.fixture(scope="module")
def fma(tmp_path_factory):
    root = tmp_path_factory.mktemp("fma")
    write_fma(root)
    return root


@pytest.mark.parametrize("check", DATA_CHECKS)
def test_contract(check, fma):
    check(DataCase(FMA, fma))


def test_the_small_subset_has_the_split_of_the_paper(fma):
    data = FMA(str(fma), sample_rate=8000, clip_seconds=1.0)
    data.setup()
    assert len(data.tracks) == 8 * 20
    assert data.tracks["split"].value_counts().to_dict() == {"train": 128, "val": 16, "test": 16}
    assert data.tracks["track"].str.len().eq(6).all()


def test_larger_subsets_hold_the_smaller_ones():
    assert set(SMALL) < set(GENRES)


def test_subsets(fma):
    counts = {
        name: len(FMA(str(fma), subset=name).read_catalogue()) for name in ("small", "medium")
    }
    assert counts == {"small": 8 * 20, "medium": 16 * 20}
    # The track without a genre is dropped.
    assert len(FMA(str(fma), subset="large").read_catalogue()) == 16 * 20


def test_verify_counts_the_small_subset(fma):
    missing = [p for p in FMA(str(fma)).verify() if p.kind == "missing"]
    assert ("label Rock", "20 of 1000 files") in [(p.name, p.detail) for p in missing]


@pytest.mark.parametrize("text", ["", "a,b\n", "a,b\nc\n", "track_id,title\n1,Song\n2,Song\n"])
def test_damaged_catalogue(text, tmp_path):
    path = tmp_path / "fma_metadata" / "tracks.csv"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(MgcError, match=r"tracks\.csv: cannot be read"):
        FMA(str(tmp_path)).read_catalogue()


def test_missing_data(tmp_path):
    with pytest.raises(MgcError, match=r"tracks\.csv: no such file.*mgc data prepare fma"):
        FMA(str(tmp_path)).setup()
    with pytest.raises(MgcError, match="choose one of small, medium, large"):
        FMA(subset="tiny")


def test_trains_with_its_configuration(fma, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = f"fit --config {CONFIG} --data.root {fma}"
    words += " --data.batch_size 2 --data.num_workers 0 --model.channels 4 --trainer.max_epochs 1"
    words += " --trainer.limit_train_batches 1 --trainer.limit_val_batches 1"
    main([*words.split(), "--trainer.logger=false", "--trainer.accelerator=cpu"])
    assert list(tmp_path.rglob("best.ckpt"))
