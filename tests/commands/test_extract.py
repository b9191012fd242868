import os
import re
import shutil
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from layouts import write_gtzan_speech_music
from lightning.pytorch import LightningModule, Trainer

from mgc import checkpoint
from mgc.cli import main
from mgc.data.gtzan import GENRES, GTZAN
from mgc.errors import MgcError
from mgc.models.mfcc import MFCC
from mgc.models.vgg import VGGTagger
from mgc.transfer.extraction import LayerExtractor
from mgc.transfer.feature_table import FeatureTable

#: A small random network with clips of half a second.
SMALL = ["--model=vgg_tagger", "--model_args.channels=4", "--sample_rate=8000"]
SMALL += ["--clip_seconds=0.5", "--accelerator=cpu", "--devices=1"]


def extract(*words: str | Path) -> None:
    main(["extract", *map(str, words)])


@pytest.fixture(scope="module")
def trained(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after one training step."""
    trainer = Trainer(
        max_steps=1,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=1.0)
    trainer.fit(VGGTagger(num_classes=10, sample_rate=8000, channels=4), data)
    path = tmp_path_factory.mktemp("trained") / "tagger.ckpt"
    trainer.save_checkpoint(path)
    return path


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Seven files of 0.5 to 2 s in two folders."""
    folder = tmp_path / "songs"
    rng = np.random.default_rng(0)
    for number in range(7):
        path = folder / ("a" if number < 3 else "b") / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = 4000 * (1 + number % 4)
        soundfile.write(path, 0.1 * rng.normal(0, 1 + number, samples).clip(-4, 4), 8000)
    return folder


def test_features_of_a_data_set(trained: Path, tones: Path) -> None:
    extract(tones, "--data=gtzan", "--ckpt", trained, "--out=f.parquet", "--accelerator=cpu")
    table = FeatureTable.load("f.parquet")
    assert table.tracks["track"].tolist() == [f"{g}.{i:05}" for g in GENRES for i in range(10)]
    assert list(table.tracks) == ["track", "group", "split", "fold", "label"]
    # A random split is not stored, so transfer creates its own folds.
    assert table.tracks["split"].isna().all()
    assert (table.targets == np.repeat(range(10), 10)).all()
    assert {name: v.shape for name, v in table.layers.items()} == {
        f"block{i}": (100, 4) for i in range(1, 6)
    }
    assert table.source["sample_rate"] == 8000
    assert table.source["clip_seconds"] == 1.0
    assert not Path("f.parquet.parts").exists()


def test_random_split_is_kept_with_keep_split(tones: Path) -> None:
    """The table holds the split that the network was trained on."""
    words = ["--data=gtzan", "--data_args.split=fold", "--data_args.fold=3", "--layers=1"]
    extract(tones, *words, "--keep_split", "--out=f.parquet", *SMALL)
    data = GTZAN(str(tones), split="fold", fold=3)
    data.setup("test")
    assert FeatureTable.load("f.parquet").tracks["split"].tolist() == data.tracks["split"].tolist()


class Lengths(LightningModule):
    """Model whose features are the lengths of clips with and without padding."""

    def features(self, audio: torch.Tensor, length: torch.Tensor) -> dict[str, torch.Tensor]:
        whole = torch.full_like(length, audio.shape[1])
        return {"length": torch.stack([whole, length], 1).float()}


def test_models_receive_the_length_of_clips() -> None:
    batch = {"audio": torch.zeros(2, 50), "length": torch.tensor([50, 20])}
    layers = LayerExtractor(Lengths(), ["length"]).predict_step(batch, 0)
    assert layers["length"].tolist() == [[50, 50], [50, 20]]


def test_short_tracks_are_treated_as_in_training(tones: Path, tmp_path: Path) -> None:
    """A checkpoint trained on padded tracks receives padded tracks."""
    model = VGGTagger(num_classes=10, sample_rate=8000, channels=4)
    sources = {}
    for short in ("repeat", "pad"):
        data = GTZAN(str(tones), sample_rate=8000, clip_seconds=3.0, short=short)
        content = {"state_dict": model.state_dict(), checkpoint.HYPER: dict(model.hparams)}
        content["pytorch-lightning_version"] = lightning.__version__
        content[checkpoint.KEY] = checkpoint.describe(model, data)
        torch.save(content, tmp_path / f"{short}.ckpt")
        out = f"{short}.parquet"
        extract(tones, "--data=gtzan", "--ckpt", tmp_path / f"{short}.ckpt", f"--out={out}")
        sources[short] = FeatureTable.load(out)
    assert sources["pad"].source["short"] == "pad"
    assert not np.allclose(*(table.layers["block5"] for table in sources.values()))


def test_given_split_is_kept(tones: Path) -> None:
    words = ["--data=gtzan", "--data_args.split=fault_filtered", "--layers=1", "--out=f.parquet"]
    extract(tones, *words, *SMALL)
    assert set(FeatureTable.load("f.parquet").tracks["split"]) == {"train", "val", "test"}


def test_random_folds_are_not_a_given_split(tmp_path: Path) -> None:
    write_gtzan_speech_music(tmp_path / "data")
    words = ["--data=gtzan_speech_music", "--data_args.split=fold_ungrouped", "--layers=1"]
    extract(tmp_path / "data", *words, "--out=f.parquet", *SMALL)
    tracks = FeatureTable.load("f.parquet").tracks
    assert tracks["split"].isna().all()
    assert tracks["fold"].isna().all()


def test_features_are_means_over_the_clips_of_a_track(songs: Path) -> None:
    extract(songs, *SMALL, "--out=f.parquet", "--seed=3", "--batch_size=4", "--hop_seconds=0.25")
    table = FeatureTable.load("f.parquet")
    torch.manual_seed(3)
    model = VGGTagger(channels=4, num_classes=2, sample_rate=8000, norm="clip").eval()
    assert len(table.tracks) == 7
    for row, track in enumerate(table.tracks["track"]):
        song, _ = soundfile.read(songs / track, dtype="float32")
        clips = torch.from_numpy(song).unfold(0, 4000, 2000)
        with torch.no_grad():
            expected = model.features(clips.contiguous())
        for name, layer in table.layers.items():
            torch.testing.assert_close(
                torch.tensor(layer[row]), expected[name].mean(dim=0), rtol=1e-4, atol=1e-5
            )


def test_rows_of_clips(songs: Path) -> None:
    extract(songs, *SMALL, "--out=clips.parquet", "--per-clip")
    extract(songs, *SMALL, "--out=tracks.parquet")
    clips, tracks = pd.read_parquet("clips.parquet"), pd.read_parquet("tracks.parquet")
    assert clips["start"].tolist()[:6] == [0, 0, 0.5, 0, 0.5, 1]
    layers = [column for column in clips if column.startswith("block")]
    means = clips.groupby("track")[layers].mean().loc[tracks["track"]]
    np.testing.assert_allclose(means, tracks[layers], rtol=1e-4, atol=1e-5)


def test_files_without_labels_have_no_targets(songs: Path) -> None:
    extract(songs / "a", songs / "b" / "5.wav", *SMALL, "--out=f.parquet")
    table = FeatureTable.load("f.parquet")
    assert table.tracks["track"].tolist() == ["a/0.wav", "a/1.wav", "a/2.wav", "b/5.wav"]
    assert table.tracks["label"].isna().all()
    with pytest.raises(MgcError, match="no labels"):
        _ = table.targets


@pytest.mark.parametrize(
    ("word", "names"),
    [("24", ["block2", "block4"]), ("block5,block1", ["block5", "block1"]), ("3", ["block3"])],
)
def test_layers_by_number_or_name(songs: Path, word: str, names: list[str]) -> None:
    extract(songs, *SMALL, f"--layers={word}", "--out=f.parquet")
    assert list(FeatureTable.load("f.parquet").layers) == names


def test_random_weights_depend_only_on_the_seed(songs: Path, tones: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.rand(seed)  # the caller's random state is irrelevant
        extract(songs, *SMALL, f"--seed={seed}", f"--out={name}.parquet")
    a, b, c = (FeatureTable.load(f"{name}.parquet").layers["block1"] for name in "abc")
    assert (a == b).all()
    assert not np.allclose(a, c)


def test_half_precision_is_close(songs: Path) -> None:
    extract(songs, *SMALL, "--out=full.parquet")
    extract(songs, *SMALL, "--out=half.parquet", "--precision=bf16")
    full, half = (FeatureTable.load(f"{n}.parquet").layers["block5"] for n in ("full", "half"))
    assert not (full == half).all()
    np.testing.assert_allclose(half, full, atol=0.05 * np.abs(full).max())


def test_several_devices_compute_each_track_once(songs: Path) -> None:
    extract(songs, *SMALL, "--out=one.parquet", "--batch_size=2")
    words = [word for word in SMALL if word != "--devices=1"]
    extract(songs, *words, "--out=two.parquet", "--devices=2", "--strategy=ddp_fork")
    one, two = FeatureTable.load("one.parquet"), FeatureTable.load("two.parquet")
    assert two.tracks["track"].tolist() == one.tracks["track"].tolist()
    np.testing.assert_allclose(two.layers["block5"], one.layers["block5"], rtol=1e-4, atol=1e-6)


@pytest.fixture
def power_cut(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the computed clips, and stop the first run after 30."""
    computed: list[int] = []
    compute = LayerExtractor.predict_step

    def predict_step(self: LayerExtractor, batch: dict, batch_idx: int) -> dict:
        if computed == [10, 10, 10]:
            computed.append(0)
            raise RuntimeError("no power")
        computed.append(len(batch["track"]))
        return compute(self, batch, batch_idx)

    monkeypatch.setattr(LayerExtractor, "predict_step", predict_step)
    return computed


def test_interrupted_run_resumes(tones: Path, power_cut: list[int]) -> None:
    words = [tones, "--data=gtzan", *SMALL, "--clip_seconds=2", "--batch_size=10", "--layers=5"]
    with pytest.raises(RuntimeError, match="no power"):
        extract(*words, "--out=f.parquet")
    assert not Path("f.parquet").exists()
    # 7 parts of 4 tracks were written; 2 tracks are computed twice.
    extract(*words, "--out=f.parquet")
    assert sum(power_cut) == 30 + 72
    extract(*words, "--out=whole.parquet")
    again, whole = FeatureTable.load("f.parquet"), FeatureTable.load("whole.parquet")
    assert again.tracks.equals(whole.tracks)
    np.testing.assert_allclose(again.layers["block5"], whole.layers["block5"], atol=1e-6)


def test_parts_of_other_settings_are_not_used(tones: Path, power_cut: list[int]) -> None:
    words = [tones, "--data=gtzan", *SMALL, "--clip_seconds=2", "--batch_size=10", "--layers=5"]
    with pytest.raises(RuntimeError, match="no power"):
        extract(*words, "--out=f.parquet")
    extract(*words, "--out=f.parquet", "--seed=9")
    assert sum(power_cut) == 30 + 100


def test_finished_table_is_not_rewritten(songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extract(songs, *SMALL, "--out=f.parquet")
    written = Path("f.parquet").stat().st_mtime_ns
    extract(songs, *SMALL, "--out=f.parquet")
    assert Path("f.parquet").stat().st_mtime_ns == written
    assert "Features are up to date" in capsys.readouterr().out
    soundfile.write(songs / "a" / "0.wav", np.zeros(9000), 8000)
    extract(songs, *SMALL, "--out=f.parquet")
    assert Path("f.parquet").stat().st_mtime_ns > written


def test_table_is_written_again_after_a_change(
    songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [songs, "--model=mfcc", "--sample_rate=8000", "--clip_seconds=0.5", "--out=f.parquet"]
    extract(*words)
    path = songs / "a" / "0.wav"
    times = path.stat()
    samples, _ = soundfile.read(path)
    soundfile.write(path, samples[::-1], 8000)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    for more, reason in (
        ([], "audio has changed"),
        (["--hop_seconds=0.25"], "hop_seconds was 0.5, now 0.25"),
        (["--seed=1"], "seed was 0, now 1"),
    ):
        capsys.readouterr()
        extract(*words, *more)
        assert reason in capsys.readouterr().out
        extract(*words, *more, "--check=full")
        assert "Features are up to date" in capsys.readouterr().out


def test_files_named_by_arguments_count_by_content(
    songs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Scaled(MFCC):
        """MFCCs with a factor from a file."""

        def __init__(self, factor: str, sample_rate: int = 8000) -> None:
            super().__init__(sample_rate=sample_rate)
            self.factor = float(Path(factor).read_text())

        def features(self, audio: torch.Tensor) -> dict[str, torch.Tensor]:
            return {n: self.factor * v for n, v in super().features(audio).items()}

    monkeypatch.setattr("mgc.registry.load", lambda kind, name: Scaled)
    words = [songs, "--model=scaled", "--model_args.factor=factor", "--clip_seconds=0.5"]
    found = []
    for factor in ("2", "4"):
        Path("factor").write_text(factor)
        extract(*words, "--sample_rate=8000", "--out=f.parquet")
        found.append(next(iter(FeatureTable.load("f.parquet").layers.values())))
    np.testing.assert_allclose(2 * found[0], found[1])


@pytest.mark.parametrize("content", [b"", b"by hand", b"PAR1" + bytes(100)])
def test_other_and_damaged_files_are_kept(
    songs: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("f.parquet").write_bytes(content)
    with pytest.raises(SystemExit):
        extract(songs, *SMALL, "--out=f.parquet")
    assert "f.parquet is damaged, or not a Parquet file" in capsys.readouterr().err
    assert Path("f.parquet").read_bytes() == content


def test_broken_files_are_reported_and_skipped(
    songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (songs / "a" / "headless.wav").write_bytes(bytes(1000))
    # FLAC stores its length in the header, so damage in the middle only appears when decoding.
    path = songs / "b" / "damaged.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16000), 8000)
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 3 : len(contents) // 2] = bytes(
        len(contents) // 2 - len(contents) // 3
    )
    path.write_bytes(contents)
    extract(songs, *SMALL, "--out=f.parquet")
    table = FeatureTable.load("f.parquet")
    assert len(table.tracks) == 7
    assert set(table.source["broken"]) == {"a/headless.wav", "b/damaged.flac"}
    assert "7 tracks, 2 could not be read" in capsys.readouterr().out


def test_mfcc_vectors(songs: Path) -> None:
    extract(songs, "--model=mfcc", "--clip_seconds=2", "--out=f.parquet", "--accelerator=cpu")
    table = FeatureTable.load("f.parquet")
    assert table.source["sample_rate"] == 12000
    assert {name: values.shape for name, values in table.layers.items()} == {"mfcc": (7, 120)}
    assert np.isfinite(table.layers["mfcc"]).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ckpt=CKPT", "--sample_rate=12000"], "trained with 8000 Hz"),
        (["--ckpt=CKPT", "--clip_seconds=3"], "trained with 1 s"),
        (["--ckpt=CKPT", "--model=mfcc"], "but the given model is mgc.models.mfcc"),
        (["--ckpt=CKPT", "--model_args.width=2"], "and no checkpoint"),
        ([], "a checkpoint .* or the name of a model"),
        (["--ckpt=CKPT", "--layers=6"], "no layer 6"),
        (["--ckpt=CKPT", "--layers=head"], "no layer head"),
        (["--ckpt=missing.ckpt"], "no such checkpoint"),
        (["--model=mfc"], "Did you mean 'mfcc'"),
        (["--model=mfcc", "--model_args.bands=3"], "unexpected keyword argument 'bands'"),
        (["--model=mfcc", "--data=gtzan", "--data_args.sample_rate=1"], "has its own option for"),
        (["--model=mfcc", "--data_args.split=fold"], "need the name of a dataset"),
        (["--model=mfcc", "--accelerator=abacus"], "Check --accelerator"),
    ],
)
def test_contradictory_settings(
    trained: Path,
    songs: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    with pytest.raises(SystemExit, match="2"):
        extract(songs, "--out=f.parquet", *[w.replace("CKPT", str(trained)) for w in words])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not Path("f.parquet").exists()


def test_no_readable_audio_is_an_error(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(songs / "a")
    (songs / "a").mkdir()
    for source, message in (
        (songs / "a", "no audio files found"),
        (tmp_path / "none.wav", "None of the files is readable"),
    ):
        with pytest.raises(SystemExit, match="2"):
            extract(source, *SMALL, "--out=f.parquet")
        assert message in capsys.readouterr().err


def test_model_without_features_is_refused(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(MFCC, "features")
    with pytest.raises(SystemExit, match="2"):
        extract(songs, "--model=mfcc", "--out=f.parquet")
