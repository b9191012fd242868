import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from mgc import checkpoint
from mgc.checkpoint import describe
from mgc.data.gtzan import GTZAN
from mgc.errors import MgcError
from mgc.models.vgg import VGGTagger


@pytest.fixture
def trained(tones: Path, tmp_path: Path) -> Path:
    """A checkpoint made without the command line."""
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


def test_a_checkpoint_says_what_it_is(trained: Path) -> None:
    about = checkpoint.description(trained)
    assert about["class_path"] == "mgc.models.vgg.VGGTagger"
    assert about["labels"][:2] == ["blues", "classical"]
    assert (about["task"], about["sample_rate"], about["clip_seconds"]) == ("multiclass", 8000, 1.5)
    json.dumps(about)


def test_load_needs_the_file_alone(trained: Path) -> None:
    model = checkpoint.load(trained)
    assert isinstance(model, VGGTagger)
    assert not model.training
    assert model.hparams["channels"] == 4


def test_truncated_and_missing_files(trained: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(trained.read_bytes()[:5000])
    with pytest.raises(MgcError, match=r"cut\.ckpt: no checkpoint, or only a part"):
        checkpoint.load(cut)
    with pytest.raises(MgcError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "nowhere.ckpt")
    with pytest.raises(MgcError, match="not loaded from the network"):
        checkpoint.load("https://example.org/model.ckpt")
    torch.save([1, 2], cut)
    with pytest.raises(MgcError, match="not a checkpoint of a LightningModule"):
        checkpoint.load(cut)


class Evil:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("executed"),))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, workdir: Path) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "extra": Evil()}, path)
    with pytest.raises(MgcError, match="could run code"):
        checkpoint.load(path)
    assert not (workdir / "executed").exists()


def test_a_checkpoint_cannot_name_any_module(trained: Path, tmp_path: Path) -> None:
    content = torch.load(trained, weights_only=True)
    content["mgc"]["class_path"] = "antigravity.Net"
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    with pytest.raises(MgcError, match=r"antigravity\.Net, which no installed package registers"):
        checkpoint.load(path)


def test_description_without_data() -> None:
    assert describe(VGGTagger(num_classes=2, channels=2), None)["labels"] == []
