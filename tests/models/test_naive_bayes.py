import lightning.pytorch as L
import numpy as np
import pytest
import torch
from generate_msd import generate_msd
from sklearn.naive_bayes import GaussianNB

from mgc import checkpoint
from mgc.data.msd import MSDKey
from mgc.errors import MgcError
from mgc.models.naive_bayes import SMOOTHING, NaiveBayes


@pytest.fixture(scope="module")
def msd(tmp_path_factory):
    """Tracks of 24 to 48 beats: some are shorter than a window."""
    root = tmp_path_factory.mktemp("msd")
    generate_msd(root, tracks=120, artists=20, beats=24, duplicates=0)
    MSDKey(str(root)).pack()
    return root


def data(root, **settings):
    return MSDKey(str(root), **{"tracks_per_class": 8, "batch_size": 7, **settings})


def fit(folder, model, module, **settings):
    settings = {"max_epochs": 1, "devices": 1, **settings}
    trainer = L.Trainer(
        accelerator="cpu", logger=False, default_root_dir=folder, enable_progress_bar=False,
        enable_model_summary=False, **settings,
    )  # fmt: skip
    trainer.fit(model, module)
    return trainer


def windows(batch, item, window):
    """All windows of a track; a short track is repeated to one window."""
    length = int(batch["length"][item])
    x = torch.cat([batch["chroma"][item], batch["timbre"][item]], 1)[:length].numpy()
    if length < window:
        x = np.resize(x, (window, 24))
    return np.array([x[t : t + window].ravel() for t in range(len(x) - window + 1)])


@pytest.mark.parametrize("window", [32, 5])
def test_posteriors_equal_scikit_learn(msd, tmp_path, window):
    module, model = data(msd), NaiveBayes(num_classes=12, window_beats=window)
    fit(tmp_path, model, module)
    examples, classes = [], []
    for batch in module.train_dataloader():
        for item, target in enumerate(batch["target"].tolist()):
            examples.append(windows(batch, item, window))
            classes += [target] * len(examples[-1])
    reference = GaussianNB(var_smoothing=SMOOTHING)
    reference.fit(np.concatenate(examples).astype(np.float64), classes)
    assert reference.classes_.tolist() == list(range(12))
    batch = next(iter(module.val_dataloader()))
    expected = [
        reference.predict_proba(windows(batch, i, window).astype(np.float64)).mean(0)
        for i in range(len(batch["target"]))
    ]
    ours = model.eval().logits(batch).exp().detach().numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_more_epochs_and_more_devices_change_nothing(msd, tmp_path):
    outputs = []
    for name, settings in {
        "one": {},
        "epochs": {"max_epochs": 3},
        "devices": {"devices": 2, "strategy": "ddp_fork"},
    }.items():
        module = data(msd, batch_size=8)
        trainer = fit(tmp_path / name, NaiveBayes(num_classes=12), module, **settings)
        model = checkpoint.load(trainer.checkpoint_callback.best_model_path)
        module.setup("test")
        batch = next(iter(module.test_dataloader()))
        outputs.append(model.logits(batch))
    for other in outputs[1:]:
        torch.testing.assert_close(outputs[0], other, atol=1e-4, rtol=1e-4)


def test_learns_keys(msd, tmp_path):
    module, model = data(msd), NaiveBayes(num_classes=12, window_beats=4)
    trainer = fit(tmp_path, model, module, enable_checkpointing=False)
    assert trainer.test(model, module, verbose=False)[0]["test/track_accuracy"] > 0.9


def make_batch():
    chroma, timbre = torch.rand(2, 3, 40, 12, generator=torch.Generator().manual_seed(0))
    return {
        "chroma": chroma,
        "timbre": timbre,
        "length": torch.tensor([40, 33, 10]),
        "target": torch.tensor([0, 1, 1]),
        "track": torch.arange(3),
    }


def test_classes_are_equally_probable_without_statistics():
    posteriors = NaiveBayes(num_classes=4).logits(make_batch()).exp()
    torch.testing.assert_close(posteriors, torch.full((3, 4), 0.25))


def test_constant_features_and_unreadable_tracks():
    batch = make_batch()
    batch["timbre"][:] = 0
    batch["chroma"][2] = torch.nan
    batch["track"][2] = -1
    model = NaiveBayes(num_classes=2, window_beats=8)
    optimizer = model.configure_optimizers()
    model.training_step(batch, 0).backward()
    optimizer.step()
    assert model.net.count.tolist() == [33, 26]
    assert model.logits(batch)[:2].argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"task": "regression"}, "supports only multiclass"), ({"window_beats": 0}, "window_beats=0")],
)
def test_invalid_settings_raise(settings, match):
    with pytest.raises(MgcError, match=match):
        NaiveBayes(num_classes=5, **settings)
