import pytest
import torch
from lightning.pytorch import Trainer

from mgc import registry
from mgc.errors import MgcError
from mgc.models.mfcc import MFCC


def test_is_registered_and_has_one_layer() -> None:
    model = registry.load("model", "mfcc")(sample_rate=8000, n_mfcc=13)
    assert model.features(torch.rand(2, 8000))["mfcc"].shape == (2, 78)


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_training_raises(command: str) -> None:
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(MgcError, match="nothing to train"):
        getattr(trainer, command)(MFCC(), [])
