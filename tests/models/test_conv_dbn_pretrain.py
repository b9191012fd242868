from pathlib import Path

import h5py
import lightning.pytorch as L
import numpy as np
import pytest
import torch
from generate_msd import generate_msd
from lightning.pytorch.callbacks import ModelCheckpoint

from mgc import checkpoint
from mgc.data.msd import MSDKey, MSDUnlabelled
from mgc.data.msd.beat_store import BeatStore
from mgc.errors import MgcError
from mgc.models.conv_dbn import LAYERS, ConvDBN
from mgc.models.conv_dbn_pretrain import ConvDBNPretrain
from mgc.training.interruption import KeepLast
from mgc.training.reproducibility import SeedSteps

SMALL = {"maps": 6, "width": 3, "joint_width": 2, "pooling": 2}


@pytest.fixture(scope="module")
def msd(tmp_path_factory):
    root = tmp_path_factory.mktemp("msd")
    generate_msd(root, tracks=60, artists=20, beats=24, duplicates=0)
    MSDKey(str(root)).pack()
    return root


def data(root, **settings):
    sizes = {"genre_tracks": 0, "artist_tracks": 0, "key_tracks": 4, "batch_size": 6}
    return MSDUnlabelled(str(root), **{**sizes, **settings})


def make_model(**settings):
    torch.manual_seed(0)
    settings = {"lr_binary": 0.1, "lr_gaussian": 0.01, "momentum": 0.9, **SMALL, **settings}
    return ConvDBNPretrain(**settings)


def fit(folder, model, module, ckpt_path=None, callbacks=(), **settings):
    settings = {"max_epochs": 2, "devices": 1, "enable_checkpointing": bool(callbacks), **settings}
    trainer = L.Trainer(
        accelerator="cpu", logger=False, default_root_dir=folder, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[SeedSteps(), *callbacks], **settings,
    )  # fmt: skip
    trainer.fit(model, module, ckpt_path=ckpt_path)
    return trainer


class Moved(L.Callback):
    """Records which layers change in each epoch."""

    def __init__(self):
        self.layers = []

    def on_train_epoch_start(self, trainer, model):
        self.before = {k: v.clone() for k, v in model.net.state_dict().items()}

    def on_train_epoch_end(self, trainer, model):
        after = model.net.state_dict()
        self.layers.append(
            {k.split(".")[0] for k, v in after.items() if not torch.equal(v, self.before[k])}
        )


def test_layers_are_trained_one_after_the_other(msd, tmp_path, caplog):
    caplog.set_level("INFO", logger="mgc")
    moved = Moved()
    trainer = fit(tmp_path, make_model(first_epochs=2), data(msd), callbacks=[moved], max_epochs=4)
    assert moved.layers == [{"chroma", "timbre"}] * 2 + [{"joint"}] * 2
    assert "Epoch 1: training chroma and timbre." in caplog.text
    assert "Epoch 2: training joint." in caplog.text
    logged = trainer.callback_metrics
    for layer in LAYERS:
        for name in ("train/{}_error", "val/{}_error", "train/{}_activation", "val/{}_activation"):
            assert 0 < logged[name.format(layer)] < 10
        assert abs(logged[f"val/{layer}_free_energy_gap"]) < 10
    pictures = sorted(path.name for path in (tmp_path / "filters").glob("*.png"))
    assert pictures == [
        "chroma_000.png", "chroma_001.png", "joint_002.png", "joint_003.png", "timbre_000.png",
        "timbre_001.png",
    ]  # fmt: skip


def test_reconstruction_error_falls(msd, tmp_path):
    module = data(msd)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    model = make_model(first_epochs=9)
    before = trainer.validate(model, module, verbose=False)[0]
    after = fit(tmp_path, model, module, max_epochs=4).callback_metrics
    assert after["val/chroma_error"] < 0.95 * before["val/chroma_error"]
    assert after["val/timbre_error"] < before["val/timbre_error"]


@pytest.mark.parametrize(
    "stop",
    [{"max_steps": 3}, {"max_epochs": 1}, {"max_epochs": 2}],
    ids=["within an epoch", "within a layer", "between layers"],
)
def test_a_resumed_fit_ends_like_an_uninterrupted_one(msd, tmp_path, stop):
    unbroken, half, resumed = (make_model(first_epochs=2) for _ in range(3))
    fit(tmp_path / "whole", unbroken, data(msd), max_epochs=3)
    keep = ModelCheckpoint(every_n_train_steps=1, save_last=True)
    fit(tmp_path / "half", half, data(msd), callbacks=[keep], **stop)
    fit(tmp_path / "rest", resumed, data(msd), keep.last_model_path, max_epochs=3)
    for name, value in unbroken.net.state_dict().items():
        assert torch.equal(resumed.net.state_dict()[name], value)


def test_two_processes_take_the_steps_of_one(msd, tmp_path, monkeypatch):
    """All tracks on one device or halves on two give the same steps, apart from sampling."""
    monkeypatch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 0.05))
    states = []
    for devices, size in ((1, 1000), (2, 500)):
        trainer = fit(
            tmp_path / str(devices),
            make_model(sparsity_cost=0.0),
            data(msd, batch_size=size),
            callbacks=[ModelCheckpoint()],
            devices=devices,
            strategy="ddp_fork" if devices > 1 else "auto",
        )
        states.append(checkpoint.load(trainer.checkpoint_callback.best_model_path).net.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, atol=2e-3, rtol=2e-3)


def test_a_classifier_starts_from_the_pretrained_weights(msd, tmp_path):
    keep = ModelCheckpoint(save_last=True)
    model = make_model()
    fit(tmp_path, model, data(msd), callbacks=[keep])
    classifier = ConvDBN(keep.last_model_path, num_classes=12, **SMALL)
    classifier.load_initial_weights()
    for name, value in model.net.state_dict().items():
        assert torch.equal(classifier.net.state_dict()[name], value)


@pytest.mark.parametrize(("epochs", "learnt"), [(1, False), (2, True)])
def test_an_untrained_joint_layer_logs_a_warning(msd, tmp_path, caplog, epochs, learnt):
    keep = KeepLast(tmp_path / "last.ckpt")
    fit(tmp_path, make_model(first_epochs=1), data(msd), callbacks=[keep], max_epochs=epochs)
    caplog.clear()
    ConvDBN(str(keep.path), num_classes=12, **SMALL).load_initial_weights()
    assert ("the joint layer is not trained yet" in caplog.text) is not learnt


def test_hardly_trained_layers_log_a_warning(msd, tmp_path, caplog):
    fit(tmp_path, make_model(lr_binary=0.5, lr_gaussian=0.0), data(msd), max_epochs=2)
    hardly = {
        r.args[0]: r.args[-1] for r in caplog.records if "has hardly been trained" in r.message
    }
    assert hardly["timbre"] == "lr_gaussian"
    assert "chroma" not in hardly


def test_the_gap_is_between_held_out_and_training_tracks(msd, tmp_path):
    module, model = data(msd), make_model(lr_binary=0.0, lr_gaussian=0.0)
    trainer = fit(tmp_path, model, module, max_epochs=1)
    means = []
    for split in ("val", "train"):
        energy = beats = 0.0
        for key in range(len(module.datasets[split])):
            batch = module.datasets[split].__getitems__([key])
            v, n = batch["chroma"].transpose(1, 2), batch["length"]
            energy += model.net.chroma.free_energy(v, n).item()
            beats += int(n)
        means.append(energy / beats)
    gap = float(trainer.callback_metrics["val/chroma_free_energy_gap"])
    assert gap == pytest.approx(means[0] - means[1], rel=1e-3)


def rewrite(root: Path, change) -> None:
    """Change the arrays of every track file but every tenth."""
    for number, path in enumerate(sorted(root.rglob("*.h5"))):
        if number % 10:
            with h5py.File(path, "a") as file:
                change(file)


def no_timbre_variance(file):
    file["analysis/segments_timbre"][:] = 7.25


def no_chroma(file):
    file["analysis/segments_pitches"][:] = 0


def no_segments_in_beats(file):
    """All segments lie before the first beat, so no beat contains the centre of one."""
    starts = file["analysis/segments_start"]
    starts[:] = np.linspace(0, 0.01, len(starts))


@pytest.mark.parametrize("change", [no_timbre_variance, no_chroma, no_segments_in_beats])
def test_unusual_tracks_can_be_trained_on(tmp_path, change):
    root = tmp_path / "msd"
    generate_msd(root, tracks=60, artists=20, beats=24, duplicates=0)
    rewrite(root, change)
    MSDKey(str(root)).pack()
    assert len(BeatStore(root / "beats")) == 60
    model = make_model()
    trainer = fit(tmp_path, model, data(root))
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert all(np.isfinite(float(value)) for value in trainer.callback_metrics.values())


def test_incomplete_files_are_skipped_and_listed(tmp_path):
    root = tmp_path / "msd"
    generate_msd(root, tracks=60, artists=20, beats=24, duplicates=0)
    broken = sorted(root.rglob("*.h5"))[:2]
    for path, name in zip(broken, ("segments_timbre", "beats_start"), strict=True):
        with h5py.File(path, "a") as file:
            del file[f"analysis/{name}"]
    MSDKey(str(root)).pack()
    module = data(root)
    assert [(p.name, p.detail.split(": ")[1]) for p in module.verify()] == [
        (broken[0].stem, "lacks analysis/segments_timbre"),
        (broken[1].stem, "lacks analysis/beats_start"),
    ]
    fit(tmp_path, make_model(), module)
    assert len(module.tracks) == 58


def test_too_short_tracks_raise(msd, tmp_path):
    with pytest.raises(MgcError, match="has the 100 beats of a window of chroma and timbre"):
        fit(tmp_path, make_model(width=100), data(msd))
    # Four pools of 20 windows of 3 beats.
    with pytest.raises(MgcError, match="has the 82 beats of a window of joint"):
        fit(tmp_path, make_model(pooling=20, joint_width=4), data(msd))


def test_a_joint_layer_without_epochs_logs_a_warning(msd, tmp_path, caplog):
    fit(tmp_path, make_model(first_epochs=1), data(msd), max_epochs=1)
    assert "The joint layer will not be trained" in caplog.text


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"sparsity": 0}, "sparsity=0: must be a number greater than 0 and less than 1"),
        ({"sparsity_cost": 2}, "sparsity_cost=2"),
        ({"first_epochs": 0}, "first_epochs=0"),
        ({"maps": 0}, "maps=0"),
    ],
)
def test_invalid_settings_raise(settings, match):
    with pytest.raises(MgcError, match=match):
        make_model(**settings)
