import json
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_checkpoints import alias_bomb, deep_list, hostile_checkpoints
from lightning.pytorch import LightningModule, Trainer

from mgc import checkpoint
from mgc.checkpoint import DescribeCheckpoint, describe, read_model, remember_init_args
from mgc.cli import main
from mgc.core.child_processes import safe_imports
from mgc.data.gtzan import GTZAN
from mgc.errors import MgcError
from mgc.models.vgg import VGGTagger
from mgc.reports.model_card import model_card


@pytest.fixture
def trained(tones: Path, tmp_path: Path) -> Path:
    """Return a checkpoint made without the command line."""
    model = VGGTagger(num_classes=10, sample_rate=8000, channels=4)
    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=1.5)
    trainer = Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, data)
    return Path(trainer.checkpoint_callback.best_model_path)


def changed(source: Path, path: Path, **contents: object) -> Path:
    """Save a copy of a checkpoint with changed contents."""
    torch.save(checkpoint.read(source) | contents, path)
    return path


def test_checkpoints_contain_a_description(trained: Path) -> None:
    about = checkpoint.description(trained)
    assert about["class_path"] == "mgc.models.vgg.VGGTagger"
    assert about["labels"][:2] == ["blues", "classical"]
    assert (about["task"], about["sample_rate"], about["clip_seconds"]) == ("multiclass", 8000, 1.5)
    assert (about["hop_seconds"], about["channel"]) == (1.5, None)
    assert (about["short"], about["resampling"]) == ("repeat", "fast")
    json.dumps(about)


def test_load_needs_only_the_file(trained: Path) -> None:
    model = checkpoint.load(trained)
    assert isinstance(model, VGGTagger)
    assert not model.training
    assert model.hparams["channels"] == 4


def test_checkpoints_with_an_old_data_path(trained: Path, tmp_path: Path) -> None:
    about = checkpoint.description(trained) | {"data": "mgc.data.msd_tagging.MSDTagging"}
    old = changed(trained, tmp_path / "old.ckpt", **{checkpoint.KEY: about})
    assert isinstance(checkpoint.load(old), VGGTagger)
    assert "# vgg_tagger on msd_tagging" in model_card(old)


def test_truncated_and_missing_files(trained: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(trained.read_bytes()[:5000])
    with pytest.raises(MgcError, match=r"cut\.ckpt: not a checkpoint, or truncated"):
        checkpoint.load(cut)
    with pytest.raises(MgcError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "nowhere.ckpt")
    with pytest.raises(MgcError, match="cannot load a checkpoint from the network"):
        checkpoint.load("https://example.org/model.ckpt")
    torch.save([1, 2], cut)
    with pytest.raises(MgcError, match="not a checkpoint of a LightningModule"):
        checkpoint.load(cut)


class Evil:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("executed"),))


def test_code_in_checkpoints_is_not_executed(tmp_path: Path, workdir: Path) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "extra": Evil()}, path)
    with pytest.raises(MgcError, match="could run code"):
        checkpoint.load(path)
    assert not (workdir / "executed").exists()


def test_checkpoints_can_only_name_registered_classes(trained: Path, tmp_path: Path) -> None:
    content = torch.load(trained, weights_only=True)
    content["mgc"]["class_path"] = "antigravity.Net"
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    with pytest.raises(
        MgcError, match=r"no installed package registers its model antigravity\.Net"
    ):
        checkpoint.load(path)


@pytest.fixture
def local_net(trained: Path, tmp_path: Path, workdir: Path) -> Iterator[Path]:
    """Checkpoint of a class in the working folder that no package registers."""
    Path("local_net.py").write_text(
        "from mgc.models.vgg import VGGTagger\n"
        "class Outer:\n    class Net(VGGTagger):\n        '''Local net.'''\n",
        encoding="utf-8",
    )
    content = torch.load(trained, weights_only=True)
    content["mgc"]["class_path"] = "local_net.Outer.Net"
    content["hyper_parameters"] |= {
        "_class_path": "local_net.Outer.Net",
        "_instantiator": "lightning.pytorch.cli.instantiate_module",
    }
    path = tmp_path / "local.ckpt"
    torch.save(content, path)
    yield path
    sys.modules.pop("local_net", None)


def test_the_user_names_a_class_that_no_package_registers(local_net: Path) -> None:
    with pytest.raises(MgcError, match=r"--model local_net\.Outer\.Net \(in Python: model="):
        checkpoint.load(local_net)
    assert "local_net" not in sys.modules
    with pytest.raises(MgcError, match=r"but the given model is mgc\.models\.vgg"):
        checkpoint.load(local_net, model="vgg_tagger")
    with pytest.raises(MgcError, match="is not a LightningModule"):
        checkpoint.load(local_net, model=Path)
    with pytest.raises(MgcError, match="could not be imported"):
        checkpoint.load(local_net, model="no_package.Net")
    with safe_imports():
        model = checkpoint.load(local_net, model="local_net.Outer.Net")
    assert checkpoint.load(local_net, model=type(model)).hparams == model.hparams


@pytest.mark.parametrize(
    "words",
    [
        "classify SONG --ckpt CKPT",
        "extract SONG --ckpt CKPT --out features.parquet",
        "export --ckpt CKPT --format torch_export --out model.pt2",
        "card --ckpt CKPT",
    ],
)
def test_commands_take_the_class(words: str, local_net: Path, tones: Path) -> None:
    places = {"SONG": str(tones / "genres/jazz/jazz.00000.wav"), "CKPT": str(local_net)}
    main([*(places.get(word, word) for word in words.split()), "--model", "local_net.Outer.Net"])


@pytest.mark.parametrize(
    "text", ["", "hello", "a,b\n1,2\n", "{}", "I am no checkpoint.\n", "\x80\x02", "(lp0\n."]
)
def test_other_files(text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(MgcError, match=r"notes\.txt: no"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ("VGGTagger", "invalid description"),
        ({"class_path": "mgc.models.vgg.VGGTagger"}, "its description has no valid 'labels'"),
        ({"class_path": 3}, "class_path=3: must be text"),
        ({"labels": ["a"]}, "its description has no valid 'class_path'"),
    ],
)
def test_invalid_descriptions(about: object, message: str, trained: Path, tmp_path: Path) -> None:
    path = changed(trained, tmp_path / "other.ckpt", mgc=about)
    for read in (checkpoint.description, checkpoint.load):
        with pytest.raises(MgcError, match=rf"other\.ckpt: {message}"):
            read(path)


def test_mismatched_weights(trained: Path, tmp_path: Path) -> None:
    weights = checkpoint.read(trained)["state_dict"]
    names = list(weights)
    short = changed(trained, tmp_path / "short.ckpt", state_dict={names[0]: weights[names[0]]})
    with pytest.raises(MgcError) as caught:
        checkpoint.load(short)
    expected = rf'short\.ckpt: weights do not fit mgc.*Missing key.*: "{names[1]}", …$'
    assert re.search(expected, str(caught.value))
    assert "\n" not in str(caught.value)
    head = {**weights, "net.head.weight": torch.zeros(2, 2)}
    with pytest.raises(MgcError, match=r"size mismatch for net\.head\.weight.*\(\[2, 2\]\)"):
        checkpoint.load(changed(trained, tmp_path / "wide.ckpt", state_dict=head))


def test_unavailable_device(trained: Path) -> None:
    with pytest.raises(MgcError, match="Cannot use device cuda:99"):
        checkpoint.load(trained, "cuda:99")


@pytest.fixture
def tiny_net(monkeypatch: pytest.MonkeyPatch) -> type[LightningModule]:
    monkeypatch.syspath_prepend(Path(__file__).parent / "third_party")
    return import_module("mgc_tiny").TinyNet


def save(model: LightningModule, data: GTZAN, path: Path) -> Path:
    trainer = Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        callbacks=[DescribeCheckpoint()],
    )
    trainer.fit(model, data)
    trainer.save_checkpoint(path)
    return path


def test_models_without_saved_hyperparameters(
    tones: Path, tmp_path: Path, tiny_net: type[LightningModule]
) -> None:
    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=1.5)
    args = {"num_classes": 10, "bands": 7}
    model = tiny_net(**args)
    remember_init_args(model, args)
    path = save(model, data, tmp_path / "tiny.ckpt")
    assert "hyper_parameters" not in checkpoint.read(path)
    loaded, about = read_model(path)
    assert about["init_args"] == args
    assert about == checkpoint.description(path)
    assert not loaded.training
    audio = torch.randn(2, 1000)
    torch.testing.assert_close(loaded(audio), model(audio))

    unknown = save(tiny_net(**args), data, tmp_path / "unknown.ckpt")
    with pytest.raises(MgcError, match=r"unknown\.ckpt.*num_classes.*save_hyperparameters"):
        checkpoint.load(unknown)


@pytest.mark.parametrize(
    "value",
    [Path("x"), {"net": {"class_path": "torch.nn.Linear"}}, [torch.nn.ReLU()], np.float64(1)],
)
def test_only_plain_arguments_are_remembered(value: object) -> None:
    model = VGGTagger(num_classes=2, channels=2)
    remember_init_args(model, {"channels": 2, "other": value})
    assert describe(model, None)["init_args"] is None
    remember_init_args(model, {"channels": 2, "other": [1, {"a": (None, "b")}]})
    assert describe(model, None)["init_args"] == {"channels": 2, "other": [1, {"a": (None, "b")}]}


def test_description_without_data() -> None:
    assert describe(VGGTagger(num_classes=2, channels=2), None)["labels"] == []


def test_hostile_checkpoints_are_refused_in_one_line(trained: Path, tmp_path: Path) -> None:
    for name, path in hostile_checkpoints(trained, tmp_path, 120):
        for use in (checkpoint.load, model_card):
            try:
                use(path)
            except MgcError as error:
                line = str(error)
                assert "\n" not in line, name
                assert len(line) < 1000, name
                assert line.startswith(str(path)), name
            except Exception as error:
                pytest.fail(f"{name}: {use.__name__} raises {error!r}")
    assert not (tmp_path / "executed").exists()


def with_weights(trained: Path, value: object) -> dict[str, object]:
    """Return the weights of a checkpoint with another bias of the last layer."""
    return {"state_dict": {**checkpoint.read(trained)["state_dict"], "net.head.bias": value}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.full((10,), torch.nan), "net.head.bias are not finite"),
        (torch.full((10,), -torch.inf), "net.head.bias are not finite"),
        (torch.zeros(10).to_sparse(), "net.head.bias are sparse"),
        (torch.zeros(10, device="meta"), "net.head.bias are sparse, quantized or without values"),
        (torch.zeros(1).expand(10), "a tensor with more values than the file"),
        (torch.zeros(10, dtype=torch.int64), "net.head.bias are torch.int64, not torch.float32"),
        ([0.0] * 10, "net.head.bias are no tensor"),
    ],
)
def test_weights_are_dense_finite_numbers(
    value: object, message: str, trained: Path, tmp_path: Path
) -> None:
    path = changed(trained, tmp_path / "other.ckpt", **with_weights(trained, value))
    with pytest.raises(MgcError, match=re.escape(message)):
        checkpoint.load(path)


def test_masks_may_be_infinite(trained: Path, tmp_path: Path) -> None:
    mask = torch.full((3, 3), -torch.inf).triu(1)
    path = changed(trained, tmp_path / "mask.ckpt", **with_weights(trained, mask))
    assert "net.head.bias" in checkpoint.read(path)["state_dict"]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"labels": ["a"] * 10}, "the label 'a' occurs twice"),
        ({"labels": list("abcdefghi")}, "has 9 labels, but its model has num_classes=10"),
        ({"labels": [*"abcdefghi", ""]}, "labels="),
        ({"labels": [*"abcdefghi", 3]}, "labels="),
        ({"labels": "abcdefghij"}, "labels='abcdefghij': must be a list"),
        ({"task": "bogus"}, "task='bogus': choose one of multiclass, multilabel, regression"),
        ({"task": "multilabel"}, "has task=multilabel, but its model has task=multiclass"),
        ({"task": None}, "has labels but no task"),
        ({"sample_rate": float("nan")}, "sample_rate=nan: must be a whole number"),
        ({"sample_rate": 10**12}, "sample_rate=1000000000000: must be a whole number"),
        ({"sample_rate": 16000}, "has sample_rate=16000, but its model has sample_rate=8000"),
        ({"clip_seconds": 1e9}, "clip_seconds=1000000000.0: must be a number"),
        ({"clip_seconds": 86400}, "clip_seconds=86400 at 8000 Hz: must be from 1 to"),
        ({"hop_seconds": -1}, "hop_seconds=-1: must be a number"),
        ({"hop_seconds": 1e-9}, "hop_seconds=1e-09 at 8000 Hz: must be from 1 to"),
        ({"channel": -1}, "channel=-1: must be a whole number"),
        ({"short": "cut"}, "short='cut': choose one of repeat, pad, keep"),
        ({"resampling": "slow"}, "resampling='slow': choose one of fast, best"),
        ({"init_args": 3}, "init_args=3: must be settings"),
        ({"class_path": "a." * 1000}, "class_path: longer than 1000 characters"),
    ],
)
def test_descriptions_are_checked(
    entries: dict[str, object], message: str, trained: Path, tmp_path: Path
) -> None:
    about = checkpoint.description(trained)
    path = changed(trained, tmp_path / "other.ckpt", mgc=about | entries)
    for read in (checkpoint.read, checkpoint.load, model_card):
        with pytest.raises(MgcError, match=rf"other\.ckpt: .*{re.escape(message)}"):
            read(path)


def test_entries_of_lightning_are_checked(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    for entries, message in (
        ({"pytorch-lightning_version": None}, "no valid 'pytorch-lightning_version'"),
        ({"pytorch-lightning_version": "1.0"}, "no valid 'pytorch-lightning_version'"),
        ({"epoch": -1}, "epoch=-1: must be a whole number"),
        ({"loops": 3}, "loops=3: must be"),
        ({"optimizer_states": {}}, "optimizer_states={}: must be a list"),
        ({"hyper_parameters": [1]}, "hyper_parameters=[1]: must be settings"),
        ({"other": 10**400}, "an integer of more than 64 bits"),
        ({"other": deep_list(100)}, "too many or too deeply nested values"),
        ({"other": alias_bomb(20)}, "too many or too deeply nested values"),
    ):
        with pytest.raises(MgcError, match=re.escape(message)):
            checkpoint.load(changed(trained, path, **entries))
    checkpoint.load(changed(trained, path, other={"unknown": [1, (2, "entry")]}))


def test_networks_far_larger_than_their_weights_are_not_built(
    trained: Path, tmp_path: Path
) -> None:
    arguments = checkpoint.read(trained)["hyper_parameters"] | {"channels": 4096}
    path = changed(trained, tmp_path / "large.ckpt", hyper_parameters=arguments)
    with pytest.raises(MgcError, match="ask for a network that is larger than its weights"):
        checkpoint.load(path)
