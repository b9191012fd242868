from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from mgc_segment_codes.autoencoder import Autoencoder
from mgc_segment_codes.dbn import DeepBeliefNet, Machine
from mgc_segment_codes.sparse_coding import SparseCoding, lasso
from sklearn.decomposition import sparse_encode

from mgc import registry
from mgc.cli import main
from mgc.errors import MgcError
from mgc.testing import MODEL_CHECKS, ModelCase

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))

SMALL = {
    SparseCoding: {"atoms": 8, "passes": 1, "steps": 20},
    Autoencoder: {"units": 8},
    DeepBeliefNet: {"units": 8, "layer_epochs": 1},
}

#: How fast a linear layer on pooled codes learns is no matter of the contract.
CHECKS = [check for check in MODEL_CHECKS if check.__name__ != "check_learns"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("model", SMALL)
def test_contract(model, check):
    settings = {"segment_frames": 2, "components": 4, **SMALL[model]}
    check(ModelCase(model, settings, tasks=("multiclass",), fit_first=True))


def make(model, **settings):
    torch.manual_seed(0)
    small = {"segment_frames": 2, "components": 6, **SMALL[model], **settings}
    return model(num_classes=3, sample_rate=8000, **small)


def test_codes_of_scikit_learn():
    """FISTA and least angle regression find the same minimum."""
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(24, 10, generator=generator, dtype=torch.float64)
    atoms = torch.nn.functional.normalize(atoms)
    vectors = 2 * torch.randn(50, 10, generator=generator, dtype=torch.float64)
    codes = lasso(vectors, atoms, alpha=0.5, steps=2000)
    expected = sparse_encode(vectors.numpy(), atoms.numpy(), algorithm="lasso_lars", alpha=0.5)
    torch.testing.assert_close(codes, torch.from_numpy(expected), atol=1e-3, rtol=0)
    assert (codes == 0).float().mean() > 0.4


@pytest.mark.parametrize("gaussian", [True, False])
def test_gradient_of_contrastive_divergence(gaussian):
    """That of the free energies is <vh> of the data less <vh> of the reconstruction."""
    torch.manual_seed(0)
    machine = Machine(5, 4, gaussian)
    torch.nn.init.normal_(machine.weight)
    data = torch.rand(20, 5).round()
    torch.manual_seed(1)
    machine.divergence(data).backward()
    torch.manual_seed(1)
    with torch.no_grad():
        hidden = machine.up(data)
        again = machine.down(hidden.bernoulli())
        expected = -(hidden.T @ data - machine.up(again).T @ again) / len(data)
    torch.testing.assert_close(machine.weight.grad, expected)


def test_machines_learn_one_after_the_other():
    model = make(DeepBeliefNet, features="MEL")
    first, second = model.stacks["MEL"]
    vectors = torch.randn(30, 6)
    for epoch, (learns, rests) in enumerate(((first, second), (second, first))):
        model.zero_grad()
        type(model).current_epoch = property(lambda _, epoch=epoch: epoch)
        model.objective("MEL", vectors).backward()
        assert learns.weight.grad.abs().sum() > 0
        assert rests.weight.grad.abs().sum() == 0
    del type(model).current_epoch


@pytest.mark.parametrize("model", [Autoencoder, DeepBeliefNet])
def test_training_lowers_the_error(model):
    """Of vectors on a plane, which few numbers describe."""
    coder = make(model, features="MEL", **({"corruption": 0.0} if model is Autoencoder else {}))
    vectors = torch.randn(500, 2) @ torch.randn(2, 6)
    before = coder.error("MEL", vectors).item()
    lr = 0.01 if model is Autoencoder else 0.02
    optimizer = torch.optim.Adam(coder.parameters(), lr)
    for _ in range(300):
        optimizer.zero_grad()
        coder.objective("MEL", vectors).backward()
        optimizer.step()
    assert coder.error("MEL", vectors) < 0.6 * before or model is DeepBeliefNet
    if model is DeepBeliefNet:
        machine = coder.stacks["MEL"][0]
        given_back = machine.down(machine.up(vectors))
        assert (given_back - vectors).square().mean() < 0.6 * before


def test_padding_does_not_count_and_labels_do_not_reach_the_codes():
    model = make(Autoencoder)
    audio = torch.randn(3, 8000)
    model.segments.fit({n: x.flatten(0, 1) for n, x in model.segments.join(audio).items()})
    padded = torch.nn.functional.pad(audio, (0, 3000))
    alone = model.features(audio)["codes"]
    together = model.features(padded, torch.full((3,), 8000))["codes"]
    torch.testing.assert_close(together, alone)
    model(audio).sum().backward()
    assert model.encoders["MEL"].weight.grad is None
    assert model.head.weight.grad is not None


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: make_wrong(SparseCoding, alpha=0), "alpha=0"),
        (lambda: make_wrong(Autoencoder, features="mel"), "choose MEL, SFM, SCF or ALL"),
        (lambda: make_wrong(DeepBeliefNet, layers=0), "layers and layer_epochs"),
        (lambda: make_wrong(Autoencoder, units=0), "Codes of 0 numbers"),
    ],
)
def test_settings_that_make_no_sense(make, match):
    with pytest.raises(MgcError, match=match):
        make()


def make_wrong(model, **settings):
    return make(model, **settings)


def write_gtzan(root):
    main(f"data synth {root} --tracks-per-genre 2 --seconds 2 --workers 1".split())
    return "--data.split stratified"


def write_ismir2004(root):
    """Twelve classical songs and three of every other genre, all by different artists."""
    labels = registry.load("data", "ismir2004").labels
    genres = [genre for genre in labels for _ in range(12 if genre == "classical" else 3)]
    rng = np.random.default_rng(0)
    for name in ("training", "development"):
        lines = ["class,artist,album,track,track number,file_path"]
        for number, genre in enumerate(genres):
            lines.append(f"{genre},artist_{number},album,song_{number},1,song_{number}.mp3")
            path = root / "audio" / name / f"song_{number}.mp3"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.1, 22050 + 2000 * number), 22050)
        path = root / "metadata" / name / "tracklist.csv"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines) + "\n")
    return ""


WRITERS = {"gtzan": write_gtzan, "ismir2004": write_ismir2004}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_trains_by_its_configuration(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, _, data = config.stem.rpartition("_")
    words = f"fit --config {config} --data.root music {WRITERS[data](tmp_path / 'music')}"
    words += f" --model.{'atoms' if model == 'sparse_coding' else 'units'} 4"
    words += " --data.batch_size 2 --data.num_workers 0 --trainer.max_epochs 1"
    words += " --trainer.limit_train_batches 1 --trainer.limit_val_batches 1"
    main([*words.split(), "--trainer.logger=false", "--trainer.accelerator=cpu"])
    assert list(tmp_path.rglob("best.ckpt"))


def test_codes_of_a_trained_model_are_extracted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split = write_gtzan(tmp_path / "music")
    (config,) = [path for path in CONFIGS if path.stem == "autoencoder_gtzan"]
    words = f"fit --config {config} --data.root music {split} --model.units 4"
    words += " --data.num_workers 0 --trainer.max_epochs 1 --trainer.logger=false"
    main([*words.split(), "--trainer.accelerator=cpu"])
    (ckpt,) = tmp_path.rglob("best.ckpt")
    words = "extract music --data gtzan --data_args.split stratified --keep_split --out f.parquet"
    main([*words.split(), "--ckpt", str(ckpt), "--accelerator", "cpu"])
    table = pd.read_parquet("f.parquet")
    assert set(table["split"]) == {"train", "val", "test"}
    codes = table.filter(regex=r"codes\.\d+")
    assert codes.shape == (20, 12)
    assert codes.std().min() > 0
