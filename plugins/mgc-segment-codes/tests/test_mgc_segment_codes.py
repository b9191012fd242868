from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from lightning.pytorch import Callback, Trainer
from mgc_segment_codes.autoencoder import Autoencoder
from mgc_segment_codes.dbn import DeepBeliefNet, Machine
from mgc_segment_codes.sparse_coding import SparseCoding, lasso
from sklearn.decomposition import sparse_encode
from torch.utils.data import DataLoader

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

#: The linear layer on pooled codes may learn slowly.
CHECKS = [check for check in MODEL_CHECKS if check.__name__ != "check_learns"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("model", SMALL)
def test_contract(model, check):
    settings = {"segment_frames": 2, "components": 4, **SMALL[model]}
    check(ModelCase(model, settings, tasks=("multiclass",), fit_first=True))


def make(model, **settings):
    torch.manual_seed(0)
    small = {"segment_frames": 2, "components": 6, **SMALL.get(model, {}), **settings}
    return model(num_classes=3, sample_rate=8000, **small)


def test_codes_of_scikit_learn():
    """FISTA finds the same codes as least angle regression."""
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(24, 10, generator=generator, dtype=torch.float64)
    atoms = torch.nn.functional.normalize(atoms)
    vectors = 2 * torch.randn(50, 10, generator=generator, dtype=torch.float64)
    codes = lasso(vectors, atoms, alpha=0.5, steps=2000)
    expected = sparse_encode(vectors.numpy(), atoms.numpy(), algorithm="lasso_lars", alpha=0.5)
    torch.testing.assert_close(codes, torch.from_numpy(expected), atol=1e-3, rtol=0)
    assert (codes == 0).float().mean() > 0.4


def test_codes_of_the_default_number_of_steps():
    """The objective is within 0.1 % of the minimum for each vector, and codes are sparse."""
    torch.manual_seed(0)
    model = SparseCoding(num_classes=3, sample_rate=8000, features="MEL")
    atoms = torch.nn.functional.normalize(torch.randn(256, 16))
    model.get_buffer("atoms_MEL").copy_(atoms)
    vectors = torch.randn(100, 16)
    expected = sparse_encode(vectors.numpy(), atoms.numpy(), algorithm="lasso_lars", alpha=1.0)

    def minimised(codes):
        return (codes @ atoms - vectors).square().sum(1) / 2 + codes.abs().sum(1)

    codes = model.signed_code("MEL", vectors)
    least = minimised(torch.from_numpy(expected).float())
    assert ((minimised(codes) - least) / least).max() < 1e-3
    measured = model.measures("MEL", vectors)["nonzero"].item()
    assert measured == pytest.approx((expected != 0).mean(), abs=0.002)
    assert measured < 16 / 256


@pytest.mark.parametrize("noise", [None, 0.5])
def test_step_of_contrastive_divergence(noise):
    """A gradient step adds <hv> of the data minus <hv> of the reconstruction."""
    torch.manual_seed(0)
    machine = Machine(5, 4, noise)
    for parameter in machine.parameters():
        torch.nn.init.normal_(parameter)
    data = torch.rand(20, 5).round()
    w, b, c = (p.detach().numpy().copy() for p in machine.parameters())
    torch.manual_seed(1)
    contrast, error = machine.divergence(data)
    contrast.backward()
    torch.optim.SGD(machine.parameters(), 0.1).step()

    torch.manual_seed(1)
    v, draws = data.numpy(), torch.rand(20, 4).numpy()
    scale = noise or 1
    h = 1 / (1 + np.exp(-(v / scale @ w.T + c)))
    again = (draws < h) @ w
    again = again * scale + b if noise else 1 / (1 + np.exp(-(again + b)))
    h_again = 1 / (1 + np.exp(-(again / scale @ w.T + c)))
    w = w + 0.1 * (h.T @ v - h_again.T @ again) / 20 / scale
    b = b + 0.1 * (v - again).mean(0) / scale**2
    c = c + 0.1 * (h - h_again).mean(0)
    for found, expected in zip(machine.parameters(), (w, b, c), strict=True):
        np.testing.assert_allclose(found.detach(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(error.item(), np.square(again - v).sum(), rtol=1e-5)


def whitened():
    """Return 16 tracks of 64 vectors with variance 1, clustered at eight points."""
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(8, 6, generator=generator)
    vectors = places[torch.randint(8, (1024,), generator=generator)]
    vectors = vectors + 0.1 * torch.randn(vectors.shape, generator=generator)
    return ((vectors - vectors.mean(0)) / vectors.std(0)).view(16, 64, 6)


class NetOfVectors(DeepBeliefNet):
    """Takes vectors in place of audio."""

    def _vectors(self, batch):
        return {"MEL": batch["audio"]}, None


def make_net(kind=NetOfVectors, **settings):
    settings = {"units": 16, "layer_epochs": 2, "mini_batch": 32, **settings}
    return make(kind, features="MEL", **settings)


class SeedBatches(Callback):
    """Seeds each batch by its position, as ``mgc fit`` does."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        torch.manual_seed(1000 * trainer.current_epoch + batch_idx)


def train_net(model, epochs, resume=None, callbacks=()):
    """Train on batches of four tracks."""
    if resume is None:
        model.segments.fitted.fill_(True)
        model.prepare({"MEL": whitened().flatten(0, 1)})
    batches = [
        {"audio": x, "target": torch.zeros(4, dtype=torch.long), "track": torch.arange(4)}
        for x in whitened().split(4)
    ]
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=[SeedBatches(), *callbacks], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, DataLoader(batches, batch_size=None), ckpt_path=resume)
    return trainer


def test_both_layers_learn():
    """The unexplained variance of a layer falls to a third, and its units vary over segments."""
    model, vectors = make_net(layer_epochs=20), whitened().flatten(0, 1)
    with torch.no_grad():
        before = model.measures("MEL", vectors)
        error = model.error("MEL", vectors)
        train_net(model, 40)
        after = model.measures("MEL", vectors)
        assert model.error("MEL", vectors) < error / 3
    for layer in (1, 2):
        assert after[f"unexplained_{layer}"] < before[f"unexplained_{layer}"] / 3
        assert before[f"spread_{layer}"] < 0.02
        assert after[f"spread_{layer}"] > 0.1
        # No gap, because these are the training segments.
        assert after[f"free_energy_gap_{layer}"].abs() < 0.01


def test_codes_of_all_layers():
    """They begin with the lowest layer; the reconstruction starts at the topmost one."""
    vectors = whitened().flatten(0, 1)
    top, both = make_net(), make_net(all_layers=True)
    both.stacks.load_state_dict(top.stacks.state_dict())
    codes = both.code("MEL", vectors)
    lowest = both.stack("MEL")[0].up(vectors)
    torch.testing.assert_close(codes, torch.cat([lowest, top.code("MEL", vectors)], 1))
    assert both.head.in_features == 2 * top.head.in_features == codes.shape[1]
    torch.testing.assert_close(both.error("MEL", vectors), top.error("MEL", vectors))
    train_net(both, 1)
    assert not torch.equal(lowest, both.stack("MEL")[0].up(vectors))


def test_units_of_a_wide_layer_vary():
    """With noise 1, the units of a wide layer hardly vary."""
    spread = {}
    for noise in (None, 1.0):
        model = make_net(layers=1, units=96, **({} if noise is None else {"noise": noise}))
        train_net(model, 15)
        spread[noise] = model.measures("MEL", whitened().flatten(0, 1))["spread_1"].item()
    assert spread[None] > 0.15
    assert spread[None] > 1.5 * spread[1.0]


def test_unexplained_is_a_share_of_the_variance():
    """A machine with zero weights reconstructs its bias."""
    model, vectors = make_net(layers=1), 3 + 2 * torch.randn(4000, 6)
    (machine,) = model.stacks["MEL"]
    for weight, value in ((machine.weight, 0.0), (machine.visible_bias, 3.0)):
        torch.nn.init.constant_(weight, value)
    assert model.measures("MEL", vectors)["unexplained_1"].item() == pytest.approx(1, abs=0.01)


class _Weights(Callback):
    """Records the weights of both machines before training and after each epoch."""

    def __init__(self):
        self.seen = []

    def on_train_epoch_start(self, trainer, model):
        self.seen.append([m.weight.detach().clone() for m in model.stacks["MEL"]])

    def on_train_end(self, trainer, model):
        self.on_train_epoch_start(trainer, model)


def test_machines_learn_one_after_the_other():
    """Momentum does not move the weights of other machines."""
    weights = _Weights()
    train_net(make_net(), 4, callbacks=[weights])
    moved = [
        [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        for before, after in pairwise(weights.seen)
    ]
    assert moved == [[True, False]] * 2 + [[False, True]] * 2


def test_warns_about_an_untrained_layer(caplog):
    with caplog.at_level("WARNING", "mgc_segment_codes"):
        train_net(make_net(layer_epochs=1), 2)
        assert not caplog.records
        train_net(make_net(layer_epochs=2), 2)
    (record,) = caplog.records
    assert "ends after 2 epochs" in record.getMessage()
    assert "from epoch 3 on" in record.getMessage()


def test_resumed_net_equals_uninterrupted_one(tmp_path):
    """Resume in the last epoch of a machine, with its momentum."""
    whole = make_net()
    train_net(whole, 4)
    train_net(make_net(), 3).save_checkpoint(tmp_path / "half.ckpt")
    resumed = make_net()
    train_net(resumed, 4, resume=tmp_path / "half.ckpt")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_divergence():
    with pytest.raises(MgcError, match=r"MEL, machine 1 .* Lower lr_gaussian \(it is 10\)"):
        train_net(make_net(lr_gaussian=10.0), 2)


def test_nan_weights():
    """Sampling states does not crash."""
    model = make_net()
    torch.nn.init.constant_(model.stacks["MEL"][0].weight, float("nan"))
    with pytest.raises(MgcError, match="MEL, machine 1 of segment_dbn: diverges"):
        train_net(model, 1)


def test_batch_of_unreadable_tracks_changes_nothing():
    class Silent(NetOfVectors):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch | {"track": torch.full((4,), -1)}, batch_idx)

    model = make_net(Silent)
    before = [p.clone() for p in model.parameters()]
    train_net(model, 4)
    for a, b in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_one_optimizer_for_all_layers_is_refused():
    class Adam(NetOfVectors):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    with pytest.raises(MgcError, match="leave the optimizer section out"):
        train_net(make_net(Adam), 1)


def test_an_autoencoder_lowers_the_error():
    """Uses vectors on a plane."""
    coder = make(Autoencoder, features="MEL", corruption=0.0)
    vectors = torch.randn(500, 2) @ torch.randn(2, 6)
    before = coder.error("MEL", vectors).item()
    optimizer = torch.optim.Adam(coder.parameters(), 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        coder.objective("MEL", vectors).backward()
        optimizer.step()
    assert coder.error("MEL", vectors) < 0.1 * before


def test_padding_is_ignored_and_codes_get_no_gradient():
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


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    root = tmp_path_factory.mktemp("music")
    write_gtzan(root)
    return registry.load("data", "gtzan")(
        str(root), sample_rate=8000, clip_seconds=2.0, short="keep", batch_size=8
    )


@pytest.mark.parametrize("model", SMALL)
def test_true_half_precision(model, music):
    """Segments stay in float32, and codes have the dtype of the weights."""
    coder = model(num_classes=10, sample_rate=8000, components=4, **SMALL[model])
    trainer = Trainer(
        precision="bf16-true", max_epochs=1, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(coder, music)
    assert coder.segments.get_buffer("whitening_MEL").dtype == torch.float32
    codes = coder.features(0.1 * torch.randn(2, 16000))["codes"]
    assert codes.dtype == coder.head.weight.dtype == torch.bfloat16
    assert codes.isfinite().all()
    assert codes.ne(0).any()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: make_wrong(SparseCoding, alpha=0), "alpha=0"),
        (lambda: make_wrong(SparseCoding, steps=0), "steps=0: must be"),
        (lambda: make_wrong(SparseCoding, sample_size=0), "sample_size=0: must be"),
        (lambda: make_wrong(SparseCoding, sample_seed=-1), "sample_seed=-1: must be"),
        (lambda: make_wrong(Autoencoder, corruption=1.5), "corruption=1.5: must be"),
        (lambda: make_wrong(Autoencoder, features="mel"), "choose one of MEL, SFM, SCF, ALL"),
        (lambda: make_wrong(DeepBeliefNet, layers=0), "layers=0: must be"),
        (lambda: make_wrong(DeepBeliefNet, noise=0), "noise=0: must be a number greater than 0"),
        (lambda: make_wrong(DeepBeliefNet, momentum=1), "momentum=1: must be a number at least 0"),
        (lambda: make_wrong(Autoencoder, units=0), "units=0: must be"),
    ],
)
def test_invalid_settings(make, match):
    with pytest.raises(MgcError, match=match):
        make()


def make_wrong(model, **settings):
    return make(model, **settings)


def write_gtzan(root):
    main(f"data synth {root} --tracks-per-genre 2 --seconds 2 --workers 1".split())
    return "--data.split stratified"


def write_ismir2004(root):
    """Write 12 classical songs and three of each other genre, all by different artists."""
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
def test_trains_with_its_configuration(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, _, data = config.stem.rpartition("_")
    words = f"fit --config {config} --data.root music {WRITERS[data](tmp_path / 'music')}"
    words += f" --model.{'atoms' if model == 'sparse_coding' else 'units'} 4"
    words += " --data.batch_size 2 --data.num_workers 0 --trainer.max_epochs 1"
    words += " --trainer.limit_train_batches 1 --trainer.limit_val_batches 1"
    main([*words.split(), "--trainer.logger=false", "--trainer.accelerator=cpu"])
    assert list(tmp_path.rglob("best.ckpt"))


def test_extracts_codes_of_a_trained_model(tmp_path, monkeypatch):
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
