import shutil

import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F
from generate_msd import generate_msd

from mgc import checkpoint
from mgc.data.msd import MSDKey
from mgc.errors import MgcError
from mgc.models.conv_dbn import LAYERS, ConvDBN
from mgc.models.conv_dbn_pretrain import ConvDBNPretrain

SMALL = {"maps": 6, "width": 3, "joint_width": 2, "pooling": 2}


@pytest.fixture(scope="module")
def msd(tmp_path_factory):
    root = tmp_path_factory.mktemp("msd")
    generate_msd(root, tracks=240, artists=40, beats=24, duplicates=0)
    MSDKey(str(root)).pack()
    return root


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Random weights in the format of a pretrained network."""
    torch.manual_seed(3)
    model = ConvDBNPretrain(**SMALL)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.5)
    path = tmp_path_factory.mktemp("weights") / "pretrained.ckpt"
    torch.save({"state_dict": model.state_dict(), "epoch": 2}, path)
    return str(path), model.net.state_dict()


def make_model(**settings):
    torch.manual_seed(1)
    model = ConvDBN(**{"num_classes": 5, **SMALL, **settings})
    torch.nn.init.normal_(model.head.weight)
    return model


def make_batch(*lengths):
    """Noise, with nonzero padding so that reading it changes the results."""
    generator = torch.Generator().manual_seed(0)
    chroma, timbre = torch.rand(2, len(lengths), max(lengths), 12, generator=generator)
    return {
        "chroma": chroma,
        "timbre": timbre,
        "length": torch.tensor(lengths),
        "target": torch.arange(len(lengths)) % 5,
        "track": torch.arange(len(lengths)),
    }


def layers_of_track(model, batch, item):
    """Pooled layers of one track, a step at a time: (steps, maps) each."""
    length = int(batch["length"][item])
    both = torch.cat([batch["chroma"][item], batch["timbre"][item]], 1)[:length]
    while len(both) < model.net.receptive_field:
        both = torch.cat([both, both[:length]])
    both = both[: max(length, model.net.receptive_field)]

    def layer(rbm, x, width):
        rows = [
            ((rbm.weight * x[t : t + width].T).sum((1, 2)) + rbm.hidden_bias).sigmoid()
            for t in range(len(x) - width + 1)
        ]
        pools = [torch.stack(rows[t : t + 2]).amax(0) for t in range(0, len(rows) - 1, 2)]
        return torch.stack(pools)

    chroma, timbre = (
        layer(model.net.chroma, both[:, :12], 3),
        layer(model.net.timbre, both[:, 12:], 3),
    )
    return chroma, timbre, layer(model.net.joint, torch.cat([chroma, timbre], 1), 2)


def test_posteriors_are_means_over_time_steps():
    model, batch = make_model(), make_batch(20, 13, 8, 5)
    expected = []
    for item in range(4):
        steps = layers_of_track(model, batch, item)[2]
        expected.append((steps @ model.head.weight.T + model.head.bias).softmax(1).mean(0))
    torch.testing.assert_close(model.logits(batch).exp(), torch.stack(expected))


def test_features_are_the_means_of_the_pooled_layers():
    model, batch = make_model(), make_batch(20, 13, 8, 5)
    features = model.features(batch["chroma"], batch["timbre"], batch["length"])
    for item in range(4):
        expected = layers_of_track(model, batch, item)
        for name, steps in zip(LAYERS, expected, strict=True):
            torch.testing.assert_close(features[name][item], steps.mean(0))


def test_a_track_scores_the_same_in_any_batch():
    model, batch = make_model(), make_batch(30, 14, 4)
    alone = [
        model(batch["chroma"][i : i + 1, :n], batch["timbre"][i : i + 1, :n], torch.tensor([n]))
        for i, n in enumerate([30, 14, 4])
    ]
    torch.testing.assert_close(model.logits(batch), torch.cat(alone))


@pytest.mark.parametrize("settings", [{}, SMALL, {"width": 5, "joint_width": 3, "pooling": 3}])
def test_receptive_field(settings):
    """A track of this length has one output, a shorter one none: 51 beats in the paper."""
    net = ConvDBN(num_classes=2, **{"maps": 2, **settings}).net
    steps = []
    for beats in (net.receptive_field - 1, net.receptive_field):
        x, length = torch.rand(1, beats, 12), torch.tensor([beats])
        *pooled, count = net.forward_first(x, x, length)
        steps.append(int(net.forward_joint(torch.cat(pooled, 1), count)[1]))
    assert steps == [0, 1]
    assert settings or net.receptive_field == 51


def test_starts_from_pretrained_layers(pretrained):
    path, weights = pretrained
    model = make_model(weights=path)
    model.load_initial_weights()
    for name, value in model.net.state_dict().items():
        assert torch.equal(value, weights[name])


def test_starts_from_noise_of_the_same_mean_and_variance(pretrained):
    path, weights = pretrained
    model = make_model(weights=path, start="matched")
    model.load_initial_weights()
    for layer in LAYERS:
        for name in ("weight", "hidden_bias"):
            ours = model.net.get_parameter(f"{layer}.{name}").detach()
            learnt = weights[f"{layer}.{name}"]
            assert not torch.equal(ours, learnt)
            error = learnt.std() / learnt.numel() ** 0.5
            assert abs(ours.mean() - learnt.mean()) < 4 * error
            few = learnt.numel() < 10
            assert ours.std() == pytest.approx(learnt.std().item(), rel=0.9 if few else 0.2)
    again = make_model(weights=path, start="matched")
    torch.rand(7)
    again.load_initial_weights()
    assert torch.equal(again.net.joint.weight, model.net.joint.weight)


def test_trains_all_layers_and_is_loaded_without_the_weights_file(msd, tmp_path, pretrained):
    path = tmp_path / "weights.ckpt"
    shutil.copy(pretrained[0], path)
    model = make_model(weights=str(path), num_classes=12, lr=0.5)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, max_epochs=1, default_root_dir=tmp_path,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, MSDKey(str(msd), tracks_per_class=15))
    for name, value in model.net.state_dict().items():
        learns = "visible" not in name
        assert torch.equal(value, pretrained[1][name]) != learns
    path.unlink()
    best = trainer.checkpoint_callback.best_model_path
    batch = make_batch(40, 20)
    assert torch.equal(checkpoint.load(best).logits(batch), model.eval().logits(batch))


def test_learns_keys(msd, tmp_path):
    torch.manual_seed(0)
    model = ConvDBN(num_classes=12, maps=20, width=4, joint_width=2, pooling=2, lr=0.5)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, max_epochs=10, default_root_dir=tmp_path,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    data = MSDKey(str(msd), tracks_per_class=15, batch_size=8)
    trainer.fit(model, data)
    assert trainer.test(model, data, verbose=False)[0]["test/track_accuracy"] > 0.9


def test_unreadable_tracks_are_ignored():
    model, batch = make_model(), make_batch(20, 13, 9)
    model.log = lambda *args, **kwargs: None
    batch["track"][1] = -1
    batch["chroma"][1] = torch.nan
    kept = {name: value[[0, 2]] for name, value in batch.items()}
    expected = F.nll_loss(model.logits(kept), kept["target"])
    torch.testing.assert_close(model.training_step(batch, 0), expected)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"task": "multilabel"}, "supports only multiclass"),
        ({"start": "random"}, "start='random': choose one of pretrained, matched"),
        ({"start": "matched"}, "needs weights"),
        ({"pooling": 0}, "pooling=0"),
    ],
)
def test_invalid_settings_raise(settings, match):
    with pytest.raises(MgcError, match=match):
        ConvDBN(num_classes=5, **settings)


def test_weights_that_do_not_fit_raise(tmp_path, pretrained):
    with pytest.raises(MgcError, match=r"chroma.weight has shape \(6, 12, 3\).*Set maps"):
        make_model(weights=pretrained[0], maps=7).load_initial_weights()
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"net.conv.weight": torch.zeros(2)}}, other)
    with pytest.raises(
        MgcError, match=r"other.ckpt: contains no convolutional deep belief network"
    ):
        make_model(weights=str(other)).load_initial_weights()
    with pytest.raises(MgcError, match="no such checkpoint"):
        make_model(weights="nowhere.ckpt").load_initial_weights()
