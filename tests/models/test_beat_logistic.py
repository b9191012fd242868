import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F
from generate_msd import generate_msd

from mgc import checkpoint
from mgc.data.msd import MSDKey
from mgc.errors import MgcError
from mgc.models.beat_logistic import BeatLogistic


@pytest.fixture(scope="module")
def msd(tmp_path_factory):
    """Tracks of 24 to 48 beats: some are shorter than a window."""
    root = tmp_path_factory.mktemp("msd")
    generate_msd(root, tracks=320, artists=40, beats=24, duplicates=0)
    MSDKey(str(root)).pack()
    return root


def data(root, **settings):
    return MSDKey(str(root), **{"tracks_per_class": 20, "batch_size": 9, **settings})


def trainer(folder, **settings):
    settings = {"max_epochs": 1, "logger": False, "enable_progress_bar": False, **settings}
    return L.Trainer(
        accelerator="cpu", default_root_dir=folder, enable_model_summary=False, **settings
    )


def make_batch(*lengths):
    """Noise, with nonzero padding so that reading it changes the results."""
    generator = torch.Generator().manual_seed(0)
    chroma, timbre = torch.rand(2, len(lengths), max(lengths), 12, generator=generator)
    return {
        "chroma": chroma,
        "timbre": timbre,
        "length": torch.tensor(lengths),
        "target": torch.arange(len(lengths)) % 5,
    }


def make_model(**settings):
    """Random weights and statistics."""
    torch.manual_seed(1)
    model = BeatLogistic(num_classes=5, **settings)
    torch.nn.init.normal_(model.net.conv.weight, std=0.3)
    torch.nn.init.normal_(model.net.conv.bias)
    model.net.mean.uniform_()
    model.net.scale.uniform_(0.5, 2)
    return model


def window_posteriors(model, batch, item):
    """Logistic regression on each window of a track, computed separately."""
    length = int(batch["length"][item])
    x = torch.cat([batch["chroma"][item], batch["timbre"][item]], 1)[:length]
    x = (x - model.net.mean) / model.net.scale
    x = torch.cat([x, torch.zeros(max(0, 32 - length), 24)])
    weight = model.net.conv.weight.transpose(1, 2).flatten(1)
    windows = torch.stack([x[i : i + 32].flatten() for i in range(len(x) - 31)])
    return F.linear(windows, weight, model.net.conv.bias).softmax(1)


def test_posteriors_are_means_over_windows():
    model, batch = make_model(), make_batch(50, 32, 33, 7)
    expected = torch.stack([window_posteriors(model, batch, i).mean(0) for i in range(4)])
    torch.testing.assert_close(model.logits(batch).exp(), expected)
    # Logits that are log probabilities stay what they are under softmax.
    torch.testing.assert_close(model.logits(batch).softmax(1), expected)


def test_a_track_scores_the_same_in_any_batch():
    model, batch = make_model(), make_batch(90, 40, 20)
    alone = [
        model(batch["chroma"][i : i + 1, :n], batch["timbre"][i : i + 1, :n], torch.tensor([n]))
        for i, n in enumerate([90, 40, 20])
    ]
    torch.testing.assert_close(model.logits(batch), torch.cat(alone))


def test_every_window_is_a_training_example():
    model, batch = make_model(), make_batch(60, 35, 7)
    posteriors = [window_posteriors(model, batch, i) for i in range(3)]
    expected = -torch.cat([p[:, i] for i, p in enumerate(posteriors)]).log().mean()
    model.log = lambda *args, **kwargs: None
    torch.testing.assert_close(model.training_step(batch, 0), expected)


def test_statistics_are_those_of_the_training_split(msd, tmp_path):
    module, model = data(msd), BeatLogistic(num_classes=12)
    trainer(tmp_path, enable_checkpointing=False, max_steps=1).fit(model, module)
    beats = torch.cat(
        [
            torch.cat([batch["chroma"], batch["timbre"]], 2)[i, :length]
            for batch in module.train_dataloader()
            for i, length in enumerate(batch["length"])
        ]
    )
    torch.testing.assert_close(model.net.mean, beats.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.net.scale, beats.std(0, correction=0), atol=1e-5, rtol=1e-4)


def test_two_processes_compute_the_same_statistics(msd, tmp_path):
    statistics = []
    for devices in (1, 2):
        strategy = "ddp_fork" if devices > 1 else "auto"
        fit = trainer(tmp_path / str(devices), devices=devices, strategy=strategy)
        fit.fit(BeatLogistic(num_classes=12), data(msd, batch_size=8))
        statistics.append(checkpoint.load(fit.checkpoint_callback.best_model_path).net)
    one, two = statistics
    torch.testing.assert_close(one.mean, two.mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(one.scale, two.scale, atol=1e-5, rtol=1e-4)


def test_a_resumed_fit_keeps_its_statistics(msd, tmp_path):
    model = BeatLogistic(num_classes=12)
    fit = trainer(tmp_path)
    fit.fit(model, data(msd))
    path = fit.checkpoint_callback.best_model_path
    batch = make_batch(40, 33)
    assert torch.equal(checkpoint.load(path).logits(batch), model.eval().logits(batch))
    resumed = BeatLogistic(num_classes=12)
    trainer(tmp_path, max_epochs=2).fit(resumed, data(msd, seed=1), ckpt_path=path)
    assert torch.equal(resumed.net.mean, model.net.mean)


def test_learns_keys(msd, tmp_path):
    fit = trainer(tmp_path, max_epochs=6, enable_checkpointing=False)
    model, module = BeatLogistic(num_classes=12, lr=1e-3), data(msd)
    fit.fit(model, module)
    result = fit.test(model, module, verbose=False)[0]
    assert result["test/track_accuracy"] > 0.9


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"task": "multilabel"}, "supports only multiclass"), ({"window_beats": 0}, "window_beats=0")],
)
def test_invalid_settings_raise(settings, match):
    with pytest.raises(MgcError, match=match):
        BeatLogistic(num_classes=5, **settings)


def test_unreadable_tracks_are_ignored():
    model, batch = make_model(), make_batch(60, 35, 40)
    model.log = lambda *args, **kwargs: None
    batch["track"] = torch.tensor([0, -1, 2])
    batch["chroma"][1] = torch.nan
    kept = {name: value[[0, 2]] for name, value in batch.items()}
    torch.testing.assert_close(model.training_step(batch, 0), model.training_step(kept, 0))
    # Other devices wait for the gradients of a batch without any track.
    batch["track"][:] = -1
    loss = model.training_step(batch, 0)
    loss.backward()
    assert loss == 0
    assert not model.net.conv.weight.grad.any()


def test_sum_over_windows():
    """The gradients are those of the mean, times the number of windows."""
    batch = make_batch(40, 33)
    gradients = []
    for reduction in ("mean", "sum"):
        model = make_model(reduction=reduction)
        model.log_training = lambda loss, logits, target: None
        model.training_step(batch, 0).backward()
        gradients.append(model.net.conv.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0] * (9 + 2))
