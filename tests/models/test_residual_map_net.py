from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
import yaml

from mgc import checkpoint
from mgc.data.gtzan import GTZAN
from mgc.errors import MgcError
from mgc.models.residual_map_net import ResidualMapClassifier, ResidualMapNet

CONFIGS = Path(__file__).parents[2] / "configs"


def classifier(maps="music", **settings):
    torch.manual_seed(0)
    settings = {"num_classes": 10, "sample_rate": 8000, "filters": 16, **settings}
    return ResidualMapClassifier(maps, **settings)


def data(root):
    return GTZAN(str(root), sample_rate=8000, clip_seconds=1.0, hop_seconds=0.5, batch_size=20)


def trainer(folder, **settings):
    settings = {"max_epochs": 1, "logger": False, "enable_progress_bar": False, **settings}
    return L.Trainer(
        accelerator="cpu", default_root_dir=folder, enable_model_summary=False, **settings
    )


@pytest.mark.parametrize(("maps", "heights"), [("stft", [513]), ("music", [8]), ("both", [513, 8])])
def test_networks_of_the_paper_and_their_early_fusion(maps, heights):
    model = ResidualMapClassifier(maps, num_classes=10).eval()
    assert [branch.conv1.in_channels for branch in model.net.branches] == heights
    audio = torch.randn(2, 66150) / 10
    assert model(audio).shape == (2, 10)
    n = len(heights)
    assert {name: tuple(x.shape) for name, x in model.features(audio).items()} == {
        "conv1": (2, 256 * n),
        "conv3": (2, 256 * n),
        "pooled": (2, 512 * n),
        "dense1": (2, 300),
        "dense2": (2, 150),
    }


def test_front_end_is_part_of_the_model():
    model = classifier("both").eval()
    audio = torch.randn(2, 8000) / 10
    maps = [front_end(audio) for front_end in model.maps.values()]
    torch.testing.assert_close(model(audio), model.net(*maps))


@pytest.mark.parametrize("maps", ["stft", "music"])
def test_training_learns_genres(tones, tmp_path, maps):
    fit = trainer(tmp_path, max_epochs=5, enable_checkpointing=False)
    fit.fit(classifier(maps, standardize=maps == "music", lr=3e-3), data(tones))
    assert fit.callback_metrics["val/track_accuracy"] > 0.5
    assert fit.callback_metrics["val/track_accuracy_vote"] > 0.5


def test_checkpoint_contains_statistics_and_gives_the_same_logits(tones, tmp_path):
    model = classifier(standardize=True)
    fit = trainer(tmp_path)
    fit.fit(model, data(tones))
    path = fit.checkpoint_callback.best_model_path
    loaded = checkpoint.load(path)
    assert isinstance(loaded, ResidualMapClassifier)
    audio = torch.randn(3, 8000) / 10
    assert torch.equal(loaded(audio), model.eval()(audio))
    statistics = model.maps["music"].mean.clone()
    assert statistics.abs().min() > 0

    # Resumed on other data, the statistics stay.
    resumed = classifier(standardize=True)
    other = data(tones)
    other.seed = 1
    trainer(tmp_path, max_epochs=2).fit(resumed, other, ckpt_path=path)
    assert torch.equal(resumed.maps["music"].mean, statistics)


def test_checkpoints_with_sign_changes_per_sample_give_the_same_logits(tones, tmp_path):
    fit = trainer(tmp_path)
    fit.fit(classifier(), data(tones))
    path = fit.checkpoint_callback.best_model_path
    saved = torch.load(path, weights_only=True)
    weights = saved["state_dict"]
    assert weights._metadata["maps.music"]["version"] == 2
    weights._metadata["maps.music"]["version"] = 1
    weights["maps.music.scale"].fill_(1)
    torch.save(saved, tmp_path / "old.ckpt")
    audio = torch.randn(2, 8000) / 10
    new, old = (checkpoint.load(file)(audio) for file in (path, tmp_path / "old.ckpt"))
    assert torch.equal(old, new)


def test_statistics_standardize_the_training_clips(tones, tmp_path):
    model = classifier(standardize=True, lr=0.0)
    module = data(tones)
    trainer(tmp_path, enable_checkpointing=False).fit(model, module)
    clips = torch.cat([batch["audio"] for batch in module.train_dataloader()])
    values = model.maps["music"](clips)
    assert values.mean((0, 2)).abs().max() < 0.1
    torch.testing.assert_close(values.std((0, 2)), torch.ones(8), atol=0.1, rtol=0)


def test_music_features_keep_their_ranges_by_default(tones, tmp_path):
    model = classifier()
    trainer(tmp_path, fast_dev_run=True).fit(model, data(tones))
    assert not model.maps["music"].fitted


def test_mixed_precision_changes_logits_little():
    model = classifier("both").eval()
    audio = torch.randn(2, 8000) / 10
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(audio)
    plain = model(audio)
    assert (mixed - plain).abs().max() < 0.02 * plain.abs().max() + 0.01


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"maps": "mel"}, "choose one of stft, music, both"),
        ({"maps": "stft", "standardize": True}, "no music features"),
        ({"cutoff_hz": 15000.0}, "must be at least 0 and less than 4000 Hz"),
    ],
)
def test_invalid_settings_raise(settings, match):
    with pytest.raises(MgcError, match=match):
        classifier(**settings)


@pytest.mark.parametrize("maps", ["stft", "music"])
def test_config_has_the_settings_of_the_paper(maps):
    config = yaml.safe_load((CONFIGS / f"residual_map_{maps}_gtzan.yaml").read_text())
    settings = config["model"]["init_args"]
    assert settings["maps"] == maps
    model = ResidualMapClassifier(**settings, num_classes=10)
    assert isinstance(model.net, ResidualMapNet)
    clips = GTZAN(**config["data"]["init_args"])
    # Maps of 128 frames, with the key clarity of 6 s.
    assert (clips.sample_rate, clips.clip_samples, clips.hop_samples) == (22050, 132300, 33075)
    (front_end,) = model.maps.values()
    assert front_end(torch.zeros(1, clips.clip_samples)).shape == (1, front_end.height, 128)
    assert not clips.random_clips
    assert (clips.batch_size, config["trainer"]["max_epochs"]) == (20, 40)
    assert config["model"]["class_path"] == "residual_map_net"
