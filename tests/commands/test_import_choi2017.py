import re
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from lightning.pytorch import Trainer
from scipy.signal import convolve2d
from torch.utils.data import DataLoader

from mgc import checkpoint
from mgc.cli import main
from mgc.data.msd.tagging import TAGS
from mgc.features.spectrogram import LogMelSpectrogram
from mgc.models import choi2017_weights as choi2017
from mgc.models.vgg import POOLING

CHANNELS = 32


def write_weights(path: Path, seed: int = 0) -> Path:
    """A random network in the layout of the released file (Keras 1.2.2, Theano)."""
    rng = np.random.default_rng(seed)
    layers = {"melgram": {}, "ConvBNEluDr": {}, "flatten_1": {}, "dense_1": {}}
    fourier = np.zeros((512, 1, 1, 257))
    mel = LogMelSpectrogram(12000, n_mels=96).mel_basis.T.numpy()
    layers["melgram"] = {"param_0": fourier, "param_1": fourier, "param_2": mel}
    for i in range(1, 6):
        fan_in = 9 * (CHANNELS if i > 1 else 1)
        kernels = rng.normal(0, (2 / fan_in) ** 0.5, (CHANNELS, fan_in // 9, 3, 3))
        layers["ConvBNEluDr"] |= {
            f"convolution2d_{i}_W": kernels,
            f"convolution2d_{i}_b": rng.normal(0, 0.1, CHANNELS),
            f"batchnormalization_{i}_gamma": rng.uniform(0.5, 1.5, CHANNELS),
            f"batchnormalization_{i}_beta": rng.normal(0, 0.5, CHANNELS),
            f"batchnormalization_{i}_running_mean": np.zeros(CHANNELS),
            f"batchnormalization_{i}_running_std": np.ones(CHANNELS),
        }
    layers["dense_1"] = {
        "dense_1_W": rng.normal(0, 0.2, (CHANNELS, 50)),
        "dense_1_b": rng.normal(0, 0.2, 50),
    }
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, arrays in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                group.create_dataset(name, data=array.astype(np.float32), compression="gzip")
    return path


def original_network(path: Path, spectrograms: np.ndarray, per_clip: bool) -> list[np.ndarray]:
    """The released network, implemented from its description with SciPy's true convolution.

    Args:
        path: Weights.
        spectrograms: Decibels of a batch, of shape (clips, bands, frames).
        per_clip: Whether each clip is a batch of its own.

    Returns:
        Averages of the maps of each block, and the probabilities of the tags.
    """
    with h5py.File(path) as file:
        weights = {name: array[()] for group in file.values() for name, array in group.items()}
    maps, outputs = spectrograms[:, None].astype(np.float64), []
    for i, (bands, frames) in enumerate(POOLING, start=1):
        kernels = weights[f"convolution2d_{i}_W"]
        convolved = [
            [
                sum(convolve2d(one, k, "same") for one, k in zip(clip, kernel, strict=True))
                for kernel in kernels
            ]
            for clip in maps
        ]
        x = np.array(convolved) + weights[f"convolution2d_{i}_b"][:, None, None]
        axes = (2, 3) if per_clip else (0, 2, 3)
        x = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-3)
        x = x * weights[f"batchnormalization_{i}_gamma"][:, None, None]
        x = x + weights[f"batchnormalization_{i}_beta"][:, None, None]
        x = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
        bands, frames = min(bands, x.shape[2]), min(frames, x.shape[3])
        x = x[:, :, : x.shape[2] // bands * bands, : x.shape[3] // frames * frames]
        x = x.reshape(*x.shape[:2], x.shape[2] // bands, bands, -1, frames)
        maps = x.max(axis=(3, 5))
        outputs.append(maps.mean(axis=(2, 3)))
    logits = outputs[-1] @ weights["dense_1_W"] + weights["dense_1_b"]
    return [*outputs, 1 / (1 + np.exp(-logits))]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "weights_theano.hdf5")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Three files of 2 s; one is much louder than the others."""
    folder = tmp_path / "music"
    folder.mkdir()
    rng = np.random.default_rng(0)
    time = np.arange(24000) / 12000
    for number, level in enumerate((0.02, 0.05, 0.5)):
        song = level * np.sin(2 * np.pi * 300 * (number + 1) * time * (1 + 0.1 * time))
        song += level * rng.normal(0, 0.1, len(time))
        soundfile.write(folder / f"{number}.wav", song, 12000, subtype="FLOAT")
    return folder


@pytest.fixture
def clips(music: Path) -> torch.Tensor:
    songs = [soundfile.read(path, dtype="float32")[0] for path in sorted(music.iterdir())]
    return torch.from_numpy(np.stack(songs))


def test_calibrated_model_equals_the_original_on_its_calibration_batch(
    weights: Path, clips: torch.Tensor
) -> None:
    decibels = choi2017.mel_decibels(clips)
    model = choi2017.make_model(choi2017.read_weights(weights), False, decibels.max().item())
    choi2017.calibrate(model, decibels, batch_size=2)
    batch = (decibels - decibels.max()).clamp(min=-80).numpy()
    assert batch[0].max() < -10  # the loudest clip sets the reference
    *blocks, tags = original_network(weights, batch, per_clip=False)
    with torch.no_grad():
        layers, logits = model.features(clips), model(clips)
        alone = model.features(clips[:1])
    for i, block in enumerate(blocks, start=1):
        np.testing.assert_allclose(layers[f"block{i}"], block, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(alone[f"block{i}"], layers[f"block{i}"][:1])
    np.testing.assert_allclose(torch.sigmoid(logits), tags, atol=1e-3)


def test_per_clip_model_equals_the_original_on_batches_of_one(
    weights: Path, clips: torch.Tensor
) -> None:
    decibels = choi2017.mel_decibels(clips)
    batch = (decibels - decibels.amax((1, 2), keepdim=True)).clamp(min=-80).numpy()
    model = choi2017.make_model(choi2017.read_weights(weights), True, None)
    *blocks, tags = original_network(weights, batch, per_clip=True)
    with torch.no_grad():
        layers, logits = model.features(clips), model(clips)
    for i, block in enumerate(blocks, start=1):
        np.testing.assert_allclose(layers[f"block{i}"], block, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(torch.sigmoid(logits), tags, atol=1e-3)


def test_description_of_the_checkpoint(weights: Path, music: Path) -> None:
    main(["import", "choi2017", str(weights), "--out", "a/vgg.ckpt", "--calibrate", str(music)])
    about = checkpoint.description("a/vgg.ckpt")
    assert about["class_path"] == "mgc.models.vgg.VGGTagger"
    assert (about["sample_rate"], about["clip_seconds"]) == (12000, 29)
    assert (about["task"], about["labels"]) == ("multilabel", list(TAGS))
    assert [path.name for path in Path("a").iterdir()] == ["vgg.ckpt"]
    model = checkpoint.load("a/vgg.ckpt")
    assert not model.training
    assert model.net.blocks[4].norm.running_mean.abs().sum() > 0
    assert model.spectrogram.reference_db == model.hparams["reference_db"] != 0


def test_other_commands_take_the_checkpoint(
    weights: Path, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["import", "choi2017", str(weights), "--out=vgg.ckpt"])
    song = str(music / "1.wav")
    main(["classify", song, "--ckpt=vgg.ckpt", "--top=1"])
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{song}: ")
    main(["extract", song, "--ckpt=vgg.ckpt", "--layers=135", "--out=f.parquet"])
    assert pd.read_parquet("f.parquet").filter(like="block").shape == (1, 96)


def test_lightning_restores_the_checkpoint(weights: Path, music: Path) -> None:
    main(["import", "choi2017", str(weights), "--out=vgg.ckpt", f"--calibrate={music}"])
    expected = checkpoint.load("vgg.ckpt").state_dict()
    other = choi2017.read_weights(write_weights(weights.with_name("other.hdf5"), seed=1))
    model = choi2017.make_model(other, per_clip=False, reference_db=0.0)
    trainer = Trainer(accelerator="cpu", logger=False, max_epochs=1, limit_train_batches=0)
    trainer.fit(model, DataLoader([0]), ckpt_path="vgg.ckpt")
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--statistics=calibrated"], "needs a music folder: add --calibrate"),
        (["--statistics=per_clip", "--calibrate=."], "omit --calibrate"),
        (["--calibrate=."], "no audio files in this folder"),
        (["--calibrate=MUSIC", "--clips=0"], "--clips=0: must be a whole number from 1"),
    ],
)
def test_contradictory_settings(
    weights: Path,
    music: Path,
    capsys: pytest.CaptureFixture[str],
    words: Sequence[str],
    message: str,
) -> None:
    words = [word.replace("MUSIC", str(music)) for word in words]
    with pytest.raises(SystemExit, match="2"):
        main(["import", "choi2017", str(weights), "--out=vgg.ckpt", *words])
    assert message in capsys.readouterr().err
    assert not Path("vgg.ckpt").exists()


def test_broken_music_is_skipped(
    weights: Path, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (music / "0.wav").write_bytes(b"no music")
    words = ["import", "choi2017", str(weights), "--out=vgg.ckpt", f"--calibrate={music}"]
    main(words)
    captured = capsys.readouterr()
    assert "Calibrated on 2 clips; skipped 1 unreadable files." in captured.out
    assert "0.wav" in captured.err
    for name in ("1.wav", "2.wav"):
        (music / name).write_bytes(b"no music")
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "None of the calibration files" in capsys.readouterr().err


def _text(path: Path) -> None:
    path.write_text("no weights")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _edit(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return edit


def _replace(name: str, value: object) -> Callable[[Path], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return _edit(change)


KERNEL = "ConvBNEluDr/convolution2d_2_W"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Path.unlink, "no such file"),
        (_text, "not an HDF5 file"),
        (_cut, "truncated or damaged|not an HDF5 file, or damaged"),
        (_replace("dense_1", None), "contains no array dense_1/dense_1_W"),
        (_replace(KERNEL, np.zeros((3, 3, 32, 32))), r"shape \(3, 3, 32, 32\)"),
        (_replace(KERNEL, np.zeros((32, 32, 3, 3), int)), "type int64"),
        (_replace(KERNEL, np.full((32, 32, 3, 3), np.nan)), "NaN or infinity"),
        (_replace(KERNEL, h5py.ExternalLink("/etc/passwd", "/x")), "contains no array"),
        (_replace(KERNEL, h5py.SoftLink("/melgram/param_0")), "contains no array"),
        (_replace("ConvBNEluDr", np.zeros(3)), "contains no array"),
        (_replace(choi2017.MEL_BASIS, np.zeros((257, 96))), "not the matrix of 96 Slaney"),
    ],
)
def test_files_of_another_format(
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    message: str,
) -> None:
    spoil(weights)
    with pytest.raises(SystemExit, match="2"):
        main(["import", "choi2017", str(weights), "--out=vgg.ckpt"])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(weights) in error
    assert re.search(message, error)
    assert not Path("vgg.ckpt").exists()


def test_published_features_of_real_clips(real_data: Path) -> None:
    """Calibrate on four clips per genre of GTZAN; the published features used batches of 256."""
    published = [
        np.load(real_data / f"choi2017/features/gtzan_genre_layer_{i}.npy") for i in range(5)
    ]
    rows = pd.read_csv(real_data / "choi2017/labels/gtzan_genre.csv")["filepath"]
    row_of = {Path(path).stem: row for row, path in enumerate(rows)}
    folders = sorted((real_data / "gtzan_mini/genres").iterdir())
    paths = [path for folder in folders for path in sorted(folder.glob("*.wav"))[:4]]
    index = [row_of[path.stem] for path in paths]
    clips = list(choi2017.read_clips(paths, broken=[]))
    decibels = choi2017.mel_decibels(clips)
    state = choi2017.read_weights(real_data / "choi2017/weights/weights_theano.hdf5")
    model = choi2017.make_model(state, False, decibels.max().item())
    choi2017.calibrate(model, decibels)
    with torch.no_grad():
        parts = [model.features(clip[None]) for clip in clips]
    correlations = []
    for i, values in enumerate(published, start=1):
        found = torch.cat([part[f"block{i}"] for part in parts]).numpy()
        correlations.append(np.corrcoef(found.ravel(), values[index].ravel())[0, 1])
    assert correlations[0] > 0.985
    assert min(correlations) > 0.93
