import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from generate_msd import generate_msd
from lightning.pytorch import Trainer
from sklearn.linear_model import LogisticRegression

from mgc.data.msd import MSDArtist, MSDGenre, MSDKey, MSDUnlabelled
from mgc.data.msd.catalogue import GENRES, KEYS, TAGTRAUM_GENRES, read_duplicates
from mgc.data.verification import Problem
from mgc.errors import MgcError
from mgc.models.base import MusicModel


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    root = tmp_path_factory.mktemp("msd")
    tracks = generate_msd(root, tracks=320, artists=32, beats=24, duplicates=20)
    MSDKey(str(root)).prepare_data()
    return root, tracks


SETTINGS = [
    (MSDGenre, {"tracks_per_class": 10}, 20),
    (MSDGenre, {"tracks_per_class": 10, "source": "tagtraum"}, 13),
    (MSDArtist, {"artists": 10, "tracks_per_class": 10}, 10),
    (MSDKey, {"tracks_per_class": 20}, 12),
]


def setup(cls, root, stage=None, **kwargs):
    data = cls(str(root), **kwargs)
    data.setup(stage)
    return data


@pytest.mark.parametrize(("cls", "settings", "classes"), SETTINGS)
def test_splits_are_balanced(generated, cls, settings, classes):
    data = setup(cls, generated[0], **settings)
    assert data.num_classes == classes
    per_class = settings["tracks_per_class"]
    counts = data.tracks.groupby(["split", "label"]).size().unstack("split")
    assert set(counts.index) == set(data.labels)
    assert (counts["val"] == per_class // 10).all()
    assert (counts["test"] == per_class // 10).all()
    assert (counts["train"] == per_class * 8 // 10).all()


@pytest.mark.parametrize(("cls", "settings", "classes"), SETTINGS)
def test_splits_are_the_same_every_time(generated, cls, settings, classes):
    first = setup(cls, generated[0], seed=4, **settings).tracks
    second = setup(cls, generated[0], "test", seed=4, **settings).tracks
    assert first.equals(second)
    other = setup(cls, generated[0], seed=5, **settings).tracks
    test_tracks = [set(t.loc[t["split"] == "test", "track"]) for t in (first, other)]
    assert test_tracks[0] != test_tracks[1]


@pytest.mark.parametrize(("cls", "settings", "classes"), SETTINGS)
def test_no_duplicate_crosses_a_split(generated, cls, settings, classes):
    root, _ = generated
    tracks = set(setup(cls, root, **settings).tracks["track"])
    for group in read_duplicates(root / "msd_duplicates.txt"):
        assert len(tracks & set(group)) <= 1


def test_labels_need_no_files():
    assert MSDGenre("nowhere").labels == GENRES
    assert MSDGenre("nowhere", source="tagtraum").labels == TAGTRAUM_GENRES
    assert MSDKey("nowhere").labels == KEYS
    assert MSDArtist("nowhere", artists=3).labels == ("artist 01", "artist 02", "artist 03")
    assert MSDUnlabelled("nowhere").num_classes == 0
    assert MSDGenre("nowhere").kind == "beats"


def test_labels_match_the_tracks(generated):
    root, tracks = generated
    by_id = {track.track: track for track in tracks}
    genre = setup(MSDGenre, root, tracks_per_class=10).tracks
    assert all(
        by_id[t].genre == label for t, label in zip(genre["track"], genre["label"], strict=True)
    )
    key = setup(MSDKey, root, tracks_per_class=20).tracks
    assert all(
        KEYS[by_id[t].key] == label for t, label in zip(key["track"], key["label"], strict=True)
    )
    artist = setup(MSDArtist, root, artists=10, tracks_per_class=10).tracks
    assert (artist.groupby("label")["artist"].nunique() == 1).all()
    assert artist["artist"].nunique() == 10


def test_batches_are_padded_tracks(generated):
    data = setup(MSDKey, generated[0], tracks_per_class=20, batch_size=16)
    batch = next(iter(data.train_dataloader()))
    assert set(batch) == {"chroma", "timbre", "length", "target", "track"}
    longest = int(batch["length"].max())
    assert batch["chroma"].shape == batch["timbre"].shape == (16, longest, 12)
    assert batch["chroma"].dtype == batch["timbre"].dtype == torch.float32
    assert (batch["length"] < longest).any()
    for i, length in enumerate(batch["length"]):
        row = data.tracks.iloc[int(batch["track"][i])]
        chroma, timbre = data.datasets["train"].store.read(row["row"])
        assert len(chroma) == length
        np.testing.assert_array_equal(batch["chroma"][i, :length], chroma)
        np.testing.assert_array_equal(batch["timbre"][i, :length], timbre)
        assert not batch["chroma"][i, length:].any()
        assert not batch["timbre"][i, length:].any()
        assert data.labels[batch["target"][i]] == row["label"]


def test_workers_give_the_same_batches(generated):
    settings = {"tracks_per_class": 20, "batch_size": 8}
    first = setup(MSDKey, generated[0], "test", **settings)
    second = setup(MSDKey, generated[0], "test", num_workers=2, **settings)
    pairs = zip(first.test_dataloader(), second.test_dataloader(), strict=True)
    for batch, other in pairs:
        assert all(torch.equal(batch[name], other[name]) for name in batch)
    # Workers get the path of the features, not the features.
    assert len(pickle.dumps(first.datasets["test"].store)) < 500


def test_key_can_be_learned_from_chroma(generated):
    data = setup(MSDKey, generated[0], tracks_per_class=20, batch_size=1000)
    train, test = (
        next(iter(loader)) for loader in (data.train_dataloader(), data.test_dataloader())
    )
    mean = [(b["chroma"].sum(1) / b["length"][:, None]).numpy() for b in (train, test)]
    model = LogisticRegression(max_iter=1000, C=100).fit(mean[0], train["target"])
    assert model.score(mean[1], test["target"]) > 0.9


class MeanChroma(MusicModel):
    """Logistic regression on the mean chroma of a track."""

    kind = "beats"

    def __init__(self, num_classes, task="multiclass", sample_rate=0, lr=0.1):
        super().__init__(num_classes, task, sample_rate, lr)
        self.head = torch.nn.Linear(12, num_classes)

    def logits(self, batch):
        return self.head(10 * batch["chroma"].sum(1) / batch["length"][:, None])


@pytest.mark.parametrize("devices", [1, 2])
def test_model_learns_the_key(generated, tmp_path, devices):
    data = MSDKey(str(generated[0]), tracks_per_class=20, batch_size=9)
    model = MeanChroma(data.num_classes)
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, data)
    result = trainer.test(model, data, verbose=False)[0]
    assert result["test/track_accuracy"] > 0.9
    tracks = pd.read_parquet(tmp_path / "test" / "tracks.parquet")
    assert len(tracks) == 24
    assert (tracks["label"] == tracks["decision"]).mean() == result["test/track_accuracy"]


def test_artists_stay_in_one_split(generated):
    data = setup(MSDGenre, generated[0], tracks_per_class=10, split="artist", folds=10)
    assert data.tracks["artist_id"].nunique() == 32
    assert (data.tracks.groupby("artist_id")["split"].nunique() == 1).all()
    assert set(data.tracks["split"]) == {"train", "val", "test"}


def test_folds_test_every_track_once(generated):
    tested = []
    for fold in range(5):
        data = setup(
            MSDKey, generated[0], "test", tracks_per_class=20, split="fold", folds=5, fold=fold
        )
        tested += data.tracks.loc[data.tracks["split"] == "test", "track"].tolist()
    assert len(tested) == len(set(tested)) == 240


UNLABELLED = {"genre_tracks": 10, "artists": 10, "artist_tracks": 10, "key_tracks": 20}


@pytest.mark.parametrize("split", ["stratified", "artist", "fold"])
def test_pretraining_excludes_held_out_tracks_of_all_tasks(generated, split):
    root, tracks = generated
    common = {"split": split, "seed": 3, "fold": 2}
    data = setup(MSDUnlabelled, root, **UNLABELLED, **common)
    names = {
        part: set(data.tracks.loc[data.tracks["split"] == part, "track"])
        for part in ("train", "val", "test")
    }
    held = {"val": set(), "test": set()}
    for cls, settings in (
        (MSDGenre, {"tracks_per_class": 10}),
        (MSDArtist, {"artists": 10, "tracks_per_class": 10}),
        (MSDKey, {"tracks_per_class": 20}),
    ):
        if cls is MSDArtist and split == "artist":
            settings = {**settings, "split": "stratified", "seed": 3, "fold": 2}
        else:
            settings = {**settings, **common}
        task = setup(cls, root, **settings).tracks
        for part, known in held.items():
            known |= set(task.loc[task["split"] == part, "track"])
    assert names["test"] == held["test"]
    assert names["val"] == held["val"] - held["test"]
    # All other tracks, without duplicates.
    duplicates = read_duplicates(root / "msd_duplicates.txt")
    later = {track for group in duplicates for track in sorted(group)[1:]}
    everything = {track.track for track in tracks} - later
    assert names["train"] == everything - held["val"] - held["test"]


def test_unlabelled_batches_have_no_target(generated):
    data = setup(MSDUnlabelled, generated[0], "fit", **UNLABELLED)
    batch = next(iter(data.train_dataloader()))
    assert set(batch) == {"chroma", "timbre", "length", "track"}


def test_tasks_can_be_disabled(generated):
    settings = {"genre_tracks": 0, "artist_tracks": 0, "key_tracks": 20}
    data = setup(MSDUnlabelled, generated[0], "fit", **settings)
    assert (data.tracks["split"] == "test").sum() == 24


def test_missing_list_raises_error(generated):
    with pytest.raises(MgcError, match=r"no other.txt.*data.duplicates=''"):
        setup(MSDKey, generated[0], duplicates="other.txt")
    with pytest.raises(MgcError, match=r"no cd9.cls. Download it from the dataset's site\.$"):
        setup(MSDGenre, generated[0], source="tagtraum", tagtraum="cd9.cls")


def test_duplicates_can_be_kept(generated):
    data = setup(MSDUnlabelled, generated[0], duplicates="", **UNLABELLED)
    assert len(data.tracks) == 340


def test_missing_store_raises_error(generated, tmp_path):
    shutil.copytree(generated[0] / "data", tmp_path / "data")
    with pytest.raises(MgcError, match="Pack the track files"):
        setup(MSDKey, tmp_path)


def test_verify_reports_broken_files(generated, tmp_path):
    files = sorted((generated[0] / "data").rglob("*.h5"))[:5]
    for path in files:
        shutil.copy(path, tmp_path)
    (tmp_path / files[1].name).write_bytes(b"")
    data = MSDKey(str(tmp_path))
    data.prepare_data()
    problem = Problem("broken", files[1].stem, f"{files[1].name}: not a readable HDF5 file")
    assert data.verify() == [problem]
