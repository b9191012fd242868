import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from mgc.data.gtzan import DUPLICATES, GENRES, GTZAN
from mgc.errors import MgcError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 1000 files of the collection, 0.1 s each."""
    root = tmp_path_factory.mktemp("gtzan")
    one = root / "one.wav"
    soundfile.write(one, np.full(800, 0.1), 8000)
    for genre in GENRES:
        folder = root / "genres" / genre
        folder.mkdir(parents=True)
        for number in range(100):
            (folder / f"{genre}.{number:05}.wav").hardlink_to(one)
    return root


def splits(module: GTZAN) -> dict[str, set[str]]:
    module.setup()
    return {split: set(rows["track"]) for split, rows in module.tracks.groupby("split")}


def test_stratified_split_is_balanced_and_keeps_duplicates_together(whole: Path) -> None:
    module = GTZAN(str(whole), sample_rate=8000)
    found = splits(module)
    assert {name: len(tracks) for name, tracks in found.items()} == pytest.approx(
        {"train": 800, "val": 100, "test": 100}, abs=4
    )
    for pair in DUPLICATES:
        assert sum(bool(tracks & set(pair)) for tracks in found.values()) == 1
    by_genre = module.tracks.groupby(["split", "label"]).size()
    assert by_genre["test"].between(8, 12).all()
    assert by_genre["train"].between(78, 82).all()


def test_folds_test_each_track_once(whole: Path) -> None:
    tracks = GTZAN(str(whole)).read_catalogue()
    splits = [GTZAN(str(whole), split="fold", fold=n).assign_split(tracks) for n in range(10)]
    assert (np.sum(np.array(splits) == "test", axis=0) == 1).all()
    assert len(tracks) == 1000


def test_fault_filtered_split_has_published_sizes(whole: Path) -> None:
    found = splits(GTZAN(str(whole), split="fault_filtered"))
    assert {name: len(tracks) for name, tracks in found.items()} == {
        "train": 443,
        "val": 197,
        "test": 290,
    }
    for first, second in DUPLICATES:
        sides = [name for name, tracks in found.items() for t in (first, second) if t in tracks]
        assert len(set(sides)) <= 1


def test_fault_filtered_split_matches_published_lists(whole: Path, real_data: Path) -> None:
    found = splits(GTZAN(str(whole), split="fault_filtered"))
    for name, file in [("train", "train"), ("val", "valid"), ("test", "test")]:
        lines = (real_data / "gtzan_lists" / f"{file}_filtered.txt").read_text().split()
        assert {Path(line).stem for line in lines} == found[name]


@pytest.mark.parametrize("folder", ["genres", "genres_original", "."])
@pytest.mark.parametrize("extension", ["au", "wav"])
def test_folder_layouts(tmp_path: Path, folder: str, extension: str) -> None:
    (tmp_path / folder / "blues").mkdir(parents=True)
    for number in range(3):
        path = tmp_path / folder / "blues" / f"blues.{number:05}.{extension}"
        soundfile.write(path, np.full(800, 0.1), 8000)
    catalogue = GTZAN(str(tmp_path)).read_catalogue()
    assert catalogue["track"].tolist() == ["blues.00000", "blues.00001", "blues.00002"]
    assert set(catalogue["label"]) == {"blues"}


def test_missing_and_empty_folders_raise_error(tmp_path: Path) -> None:
    with pytest.raises(MgcError, match="no such folder"):
        GTZAN(str(tmp_path / "nowhere")).setup()
    with pytest.raises(MgcError, match=r"no folder of a GTZAN genre.*Set data\.root"):
        GTZAN(str(tmp_path)).setup()
    (tmp_path / "genres" / "blues").mkdir(parents=True)
    with pytest.raises(MgcError, match="no tracks of GTZAN"):
        GTZAN(str(tmp_path)).setup()


def test_broken_files_are_skipped_and_counted(
    tones: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = shutil.copytree(tones, tmp_path / "copy")
    for number in (2, 3, 4):
        (root / "genres" / "jazz" / f"jazz.{number:05}.wav").write_bytes(b"\x01\x02" * 4000)
    with pytest.raises(
        MgcError, match=r"3 of 100 tracks cannot be read \(3\.00%.*jazz\.00002\.wav"
    ):
        GTZAN(str(root), sample_rate=8000).setup()
    caplog.clear()
    module = GTZAN(str(root), sample_rate=8000, max_broken=0.05)
    with caplog.at_level("INFO", logger="mgc"):
        module.setup()
    assert len(module.tracks) == 97
    assert caplog.text.count("jazz.00002.wav") == 1
    assert "3 broken" in caplog.text


def test_file_broken_during_training_is_reported_once(
    tones: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = shutil.copytree(tones, tmp_path / "copy")
    module = GTZAN(str(root), sample_rate=8000, clip_seconds=1.0, batch_size=64)
    module.setup("fit")
    lost = Path(module.tracks.query("split == 'train'")["path"].iloc[0])
    lost.write_bytes(b"gone")
    caplog.clear()
    for _ in range(2):
        for batch in module.train_dataloader():
            kept = module.on_before_batch_transfer(batch, 0)
            assert "broken" not in kept
    assert caplog.messages == [f"{lost}: unreadable, skipped (1 tracks so far)."]


def test_only_rank_zero_reports(
    tones: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = GTZAN(str(tones), sample_rate=8000)
    module.setup("fit")
    caplog.clear()
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    module.on_before_batch_transfer({"broken": torch.tensor([3, -1])}, 0)
    assert module.broken == {str(module.tracks["track"].iloc[3]): "unreadable"}
    assert not caplog.messages


def test_incomplete_copy_is_reported(
    tones: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    GTZAN(str(tones), sample_rate=8000).setup("fit")
    assert caplog.text.count("900 of 1000 tracks are missing") == 1
    caplog.clear()
    root = shutil.copytree(tones, tmp_path / "copy")
    (root / "synthesis.json").touch()
    GTZAN(str(root), sample_rate=8000).setup("fit")
    assert not caplog.messages


def test_invalid_settings_raise_error(tmp_path: Path) -> None:
    with pytest.raises(MgcError, match="sample_rate=12: must be a whole number from 1000"):
        GTZAN(str(tmp_path), sample_rate=12)
    with pytest.raises(MgcError, match="choose one of stratified, fold, fault_filtered"):
        GTZAN(str(tmp_path), split="random")
    with pytest.raises(MgcError, match="greater than 0"):
        GTZAN(str(tmp_path), clip_seconds=0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: must be a whole number from 1"),
        ({"num_workers": -1}, "num_workers=-1: must be a whole number from 0"),
        ({"seed": -1}, "seed=-1: must be a whole number from 0"),
        ({"max_broken": 1.5}, r"max_broken=1\.5: must be a number from 0 to 1"),
        ({"max_broken": float("nan")}, "max_broken=nan: must be a number from 0 to 1"),
        ({"clips_per_track": 0}, "clips_per_track=0: must be a whole number from 1"),
        ({"channel": -1}, "channel=-1: must be a whole number from 0"),
        ({"short": "loop"}, "short='loop': choose one of repeat, pad"),
        ({"clip_seconds": 1e-5}, "clip_seconds=1e-05 at 22050 Hz: must be from 1 to"),
        ({"hop_seconds": 1e-5}, "hop_seconds=1e-05 at 22050 Hz: must be from 1 to"),
    ],
)
def test_settings_out_of_range_raise_error(setting: dict, message: str) -> None:
    with pytest.raises(MgcError, match=message):
        GTZAN("nowhere", **setting)


def test_fixed_training_clips(tones: Path) -> None:
    """Training clips start at multiples of the hop, in a new order each epoch."""
    settings = {"sample_rate": 8000, "clip_seconds": 1.0, "hop_seconds": 0.5}
    data = GTZAN(str(tones), random_clips=False, **settings)
    data.setup("fit")
    loader = data.train_dataloader()
    orders = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        starts = torch.cat([batch["start"] for batch in batches])
        assert set(starts.tolist()) == {clip * 4000 for clip in range(3)}
        orders.append(torch.cat([batch["track"] for batch in batches]).tolist())
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    with pytest.raises(MgcError, match="clips_per_track=2 is for random clips"):
        GTZAN(str(tones), random_clips=False, clips_per_track=2)


def test_impossible_resampling_raises_error(tones: Path) -> None:
    with pytest.raises(MgcError, match=r"100 of 100 tracks .*Set sample_rate=8008"):
        GTZAN(str(tones), sample_rate=8009).setup()


def test_batches_of_real_clips(real_data: Path) -> None:
    module = GTZAN(str(real_data / "gtzan_mini"), sample_rate=22050, clip_seconds=3.0)
    module.setup()
    assert len(module.tracks) == 100
    batch = next(iter(module.test_dataloader()))
    assert batch["audio"].shape == (32, 66150)
    assert 0.01 < batch["audio"].abs().max() <= 1
