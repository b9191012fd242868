import socket
from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from lightning.pytorch import Trainer
from safetensors.torch import save_file
from timm.models import get_deprecated_models
from torch.utils.data import DataLoader

from mgc import checkpoint
from mgc.cli import main
from mgc.errors import MgcError
from mgc.models import timm_finetune
from mgc.models.timm_finetune import TimmFinetune, current_name

SMALL = {"n_fft": 256, "hop_length": 128, "image_size": 64}


def make(backbone="test_resnet", num_classes=3, **settings):
    settings = {"pretrained": False, **SMALL, **settings}
    torch.manual_seed(0)
    return TimmFinetune(backbone, num_classes=num_classes, sample_rate=8000, **settings)


@pytest.fixture
def clips():
    return torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    """A timm network with random weights to compare with."""
    torch.manual_seed(1)
    return timm.create_model("test_resnet", num_classes=3)


def weight_file(network, path="weights.safetensors"):
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, path) if path.endswith(".safetensors") else torch.save(state, path)
    return path


@pytest.mark.parametrize("path", ["weights.safetensors", "weights.pth"])
def test_logits_equal_timm(network, clips, path):
    model = make(weights=weight_file(network, path))
    model.load_initial_weights()
    pictures = model.eval().image(clips)
    torch.testing.assert_close(model(clips), network.eval()(pictures))
    assert not torch.allclose(model(clips), make().eval()(clips))


def test_last_layer_is_replaced_for_other_classes(network, clips):
    model = make(num_classes=5, weights=weight_file(network))
    model.load_initial_weights()
    assert model.eval()(clips).shape == (2, 5)
    pictures = model.image(clips)
    features = network.eval().forward_head(network.forward_features(pictures), pre_logits=True)
    torch.testing.assert_close(model.features(clips)["penultimate"], features)


@pytest.mark.parametrize(
    "name",
    ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_nfnet", "alexnet"],
)
def test_any_kind_of_network(name, clips):
    model = make(name).eval()
    layers = model.features(clips)
    names = {stage["module"].replace(".", "_") for stage in model.net.feature_info}
    assert set(layers) == names | {"penultimate"}
    assert not any("." in name or "," in name for name in layers)
    assert all(values.ndim == 2 and torch.isfinite(values).all() for values in layers.values())
    head = model.net.get_classifier()
    torch.testing.assert_close(head(layers["penultimate"]), model(clips))
    assert layers["penultimate"].shape[1] == head.in_features


@pytest.fixture
def alexnet():
    torch.manual_seed(1)
    return torchvision.models.alexnet(weights=None, num_classes=3)


def test_alexnet_is_torchvisions(alexnet, clips):
    path = weight_file(alexnet)
    model = make("alexnet", weights=path).eval()
    model.load_initial_weights()
    torch.testing.assert_close(model(clips), alexnet.eval()(model.image(clips)))
    hidden = torch.nn.Sequential(alexnet.features, alexnet.avgpool, torch.nn.Flatten(1))
    expected = alexnet.classifier[:-1](hidden(model.image(clips)))
    torch.testing.assert_close(model.features(clips)["penultimate"], expected)
    assert model.features(clips)["penultimate"].shape == (2, 4096)


def test_layers_of_alexnet_are_trained_from_the_last_to_the_first():
    model = make("alexnet", tune="gradual")
    order = [f"features.{n}" for n in (0, 3, 6, 8, 10)] + [f"classifier.{n}" for n in (1, 4, 6)]
    stage = {name.rpartition(".")[0]: number for name, number in model.stages.items()}
    assert sorted(stage, key=stage.__getitem__) == order
    assert len(set(stage.values())) == len(order)


def train(model, epochs, batches=1):
    """Train on noise; return the changed parameters and statistics by stage."""
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    loader = [
        {
            "audio": torch.randn(4, 4000, generator=generator),
            "target": torch.tensor([0, 1, 2, 0]),
            "track": torch.arange(4),
        }
        for _ in range(batches)
    ]
    trainer = Trainer(
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(model, DataLoader(loader, batch_size=None))
    after = model.net.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def stages(names):
    """Return the stage of a name: ``layer4`` for ``layer4.0.bn1.running_mean``."""
    return {name.partition(".")[0] for name in names}


def test_only_the_last_layer_is_trained():
    # Statistics of batches count as learning, too.
    assert train(make(tune="head"), 2) == {"fc.weight", "fc.bias"}


def test_all_layers_are_trained():
    model = make(tune="all")
    assert train(model, 1, batches=3) == set(model.net.state_dict())


@pytest.mark.parametrize(("epochs", "first"), [(1, "fc"), (2, "layer4"), (3, "layer3")])
def test_one_more_stage_is_trained_after_every_epoch(epochs, first):
    order = ["layer1", "layer2", "layer3", "layer4", "fc"]
    assert stages(train(make(tune="gradual"), epochs)) == set(order[order.index(first) :])


def test_layers_near_the_input_have_lower_learning_rates():
    model = make(tune="all", layer_decay=0.5, lr=0.01)
    rates = {
        id(parameter): group["lr"]
        for group in model.configure_optimizers().param_groups
        for parameter in group["params"]
    }
    rate = {name: rates[id(value)] for name, value in model.net.named_parameters()}
    assert rate["fc.weight"] == 0.01
    assert rate["layer4.0.conv1.weight"] == 0.005
    assert rate["conv1.0.weight"] < rate["layer1.0.conv1.weight"] < rate["layer4.0.conv1.weight"]


def test_head_on_random_weights_logs_a_warning(caplog):
    caplog.set_level("WARNING", "mgc")
    train(make(), 1)
    assert "on top of random weights" in caplog.text


def test_published_weights_are_read_from_the_cache(monkeypatch, clips):
    published = timm.create_model("test_resnet")
    cached = weight_file(published, "model.safetensors")
    monkeypatch.setattr(timm_finetune, "try_to_load_from_cache", lambda *_: cached)
    monkeypatch.setattr(socket, "create_connection", None)  # not called
    model = make(pretrained=True)
    head = model.net.fc.weight.clone()
    model.load_initial_weights()
    state, expected = model.net.state_dict(), published.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in state if name[:2] != "fc")
    assert torch.equal(state["fc.weight"], head)


@pytest.fixture
def no_network(monkeypatch):
    """An empty cache and a server that does not answer."""
    monkeypatch.setattr(timm_finetune, "try_to_load_from_cache", lambda *_: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/model.safetensors"
        monkeypatch.setattr(timm_finetune, "hf_hub_url", lambda *_: url)
        yield


FIT = """
    fit --model timm_finetune --model.backbone test_resnet --model.image_size 64
    --model.n_fft 256 --model.hop_length 128
    --data gtzan --data.sample_rate 8000 --data.clip_seconds 2
    --trainer.limit_train_batches 1 --trainer.accelerator cpu --trainer.logger false
"""


def test_failed_download_is_reported_in_one_line(no_network, tones, workdir, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*FIT.split(), "--data.root", str(tones)])
    assert stop.value.code == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "could not download its weights (ConnectionError). Without a connection, copy" in line
    assert "weights=FILE" in line
    assert not list(workdir.rglob("*.ckpt"))


def test_checkpoints_do_not_need_the_weight_file(tones, workdir, network):
    """Resume, test and load a checkpoint after the weight file is deleted."""
    path = weight_file(network, str(workdir / "weights.safetensors"))
    start = [*FIT.split(), "--data.root", str(tones), "--model.weights", path]
    main([*start, "--trainer.max_epochs", "1"])
    (workdir / "weights.safetensors").unlink()
    [last] = map(str, workdir.rglob("last.ckpt"))
    main([*start, "--trainer.max_epochs", "2", "--ckpt_path", last])
    main(["test", "--ckpt_path", last])
    loaded = checkpoint.load(last)
    assert loaded.hparams["image_size"] == [64, 64]
    # Only the last layer has changed.
    torch.testing.assert_close(loaded.net.conv1[0].weight, network.conv1[0].weight)
    again = make(weights=last, num_classes=10)
    again.load_initial_weights()
    torch.testing.assert_close(again.net.state_dict(), loaded.net.state_dict())


def wrap(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


@pytest.mark.parametrize("head", ["same", "missing", "other classes", "projection"])
@pytest.mark.parametrize(
    "save",
    [
        lambda state: state,
        lambda state: wrap(state, "module."),
        lambda state: wrap(state, "model._orig_mod.module."),
        lambda state: {"state_dict": wrap(state, "net.") | {"image.window": torch.ones(2)}},
        lambda state: {"epoch": 3, "model": state, "optimizer": {"state": {}}},
        lambda state: {"state_dict": {}, "model_ema": {"module": wrap(state, "encoder.")}},
    ],
)
def test_weights_of_other_programs_are_loaded(network, clips, save, head):
    state = network.state_dict()
    if head != "same":
        state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    if head == "other classes":
        state |= {"fc.weight": torch.ones(7, 64), "fc.bias": torch.zeros(7)}
    if head == "projection":
        state |= {"fc.0.weight": torch.ones(7, 64), "fc.2.weight": torch.ones(7, 7)}
    torch.save(save(state), "weights.pth")
    model = make(weights="weights.pth")
    model.load_initial_weights()
    pictures = model.eval().image(clips)
    features = network.eval().forward_head(network.forward_features(pictures), pre_logits=True)
    torch.testing.assert_close(model.features(clips)["penultimate"], features)
    assert torch.equal(model.net.fc.weight, network.fc.weight) == (head == "same")


@pytest.mark.parametrize(
    ("name", "current"),
    [
        ("tf_efficientnet_b0_ns", "tf_efficientnet_b0.ns_jft_in1k"),
        ("tf_efficientnet_b0_ns.in1k", "tf_efficientnet_b0.in1k"),
        ("efficientnet_b2a", "efficientnet_b2"),
        ("resnet18", "resnet18"),
        ("resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("no_such_network", "no_such_network"),
    ],
)
def test_renamed_networks_are_found(name, current):
    assert current_name(name) == current


def test_all_renamed_networks_exist():
    assert all(timm.is_model(current_name(name)) for name in get_deprecated_models())


class Evil:
    def __reduce__(self):
        return (print, ("code of the file ran",))


def broken_files(network):
    weight_file(network)
    state = network.state_dict()
    with open("weights.safetensors", "rb") as whole, open("half.safetensors", "wb") as half:
        half.write(whole.read()[:5000])
    torch.save({"fc.weight": Evil()}, "evil.pth")
    torch.save({"some": "thing"}, "other.pth")
    torch.save([1, 2], "list.pth")
    torch.save(state | {"layer1.0.conv1.weight": torch.zeros(7, 7)}, "shape.pth")
    torch.save({k: v for k, v in state.items() if k != "bn1.weight"}, "lacks.pth")
    torch.save(state | {"more": torch.zeros(1)}, "more.pth")
    torch.save(
        {f"module.{k}": v / 0 if k == "bn1.bias" else v for k, v in state.items()}, "nan.pth"
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.safetensors", "no such file"),
        ("half.safetensors", "or truncated"),
        ("evil.pth", "not a safetensors file or PyTorch state dictionary"),
        ("list.pth", "not a safetensors file or PyTorch state dictionary"),
        ("other.pth", "no weights of test_resnet found"),
        ("shape.pth", r"layer1.0.conv1.weight has shape \(7, 7\), expected \(.*\) for test_resnet"),
        ("lacks.pth", "bn1.weight of test_resnet is missing"),
        ("more.pth", "test_resnet has no more"),
        ("nan.pth", "bn1.bias has values that are not finite"),
    ],
)
def test_unusable_weight_files_raise(path, message, network, capsys):
    broken_files(network)
    with pytest.raises(MgcError, match=f"^weights={path}: .*{message}") as raised:
        make(weights=path).load_initial_weights()
    assert len(str(raised.value).splitlines()) == 1
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "resnet81"}, "timm .* has no such network. Did you mean .*resnet18"),
        ({"backbone": "vgg16.mine"}, "no weights 'mine' of vgg16. Available: .*tv_in1k"),
        ({"backbone": "hf-hub:some/body"}, "no such network"),
        ({"image_size": 16}, r"image_size=\[16, 16\]: too small for test_resnet.* at least 32"),
        ({"image_size": [64, 8]}, "too small"),
        ({"backbone": "test_vit", "image_size": 50}, "divisible by patch size"),
        ({"image_size": [1, 2, 3]}, "must be one positive number of pixels"),
        ({"tune": "tail"}, "tune='tail': choose one of head, all, gradual"),
        ({"layer_decay": 0.0}, r"layer_decay=0\.0: must be a number greater than 0"),
        ({"unfreeze_epochs": 0}, "unfreeze_epochs=0: must be a whole number from 1"),
    ],
)
def test_invalid_settings_raise(settings, message):
    with pytest.raises(MgcError, match=message):
        make(**settings)


def test_a_network_without_published_weights_raises(monkeypatch):
    config = timm.get_pretrained_cfg("test_resnet")
    bare = SimpleNamespace(has_weights=False, architecture=config.architecture)
    model = make(pretrained=True)
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda _: bare)
    with pytest.raises(MgcError, match="timm publishes no weights for it"):
        model.load_initial_weights()
