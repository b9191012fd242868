"""Modules that define only a training step."""

import copy
import pickle

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from mgc.errors import MgcError
from mgc.models.adapt import STEPS, add_missing_steps


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, audio: Tensor) -> Tensor:
        return self.head(audio)


class OwnTest(Net):
    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> str:
        return "own"


def test_missing_steps_call_forward_on_the_audio() -> None:
    model = Net()
    assert not any(is_overridden(step, model) for step in STEPS)
    add_missing_steps(model)
    assert all(is_overridden(step, model) for step in STEPS)
    audio = torch.randn(4, 3)
    for step in STEPS:
        torch.testing.assert_close(
            getattr(model, step)({"audio": audio}, 0)["logits"], model(audio)
        )


def test_defined_steps_stay_unchanged() -> None:
    model = OwnTest()
    add_missing_steps(model)
    assert model.test_step({}, 0) == "own"
    assert is_overridden("validation_step", model)
    assert not is_overridden("test_step", Net())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_uses_its_own_weights(duplicate: object) -> None:
    model = Net()
    add_missing_steps(model)
    other = duplicate(model)  # type: ignore[operator]
    nn.init.zeros_(model.head.weight)
    audio = torch.randn(4, 3)
    logits = other.validation_step({"audio": audio}, 0)["logits"]
    torch.testing.assert_close(logits, other(audio))


def test_data_without_audio_raises() -> None:
    model = Net()
    add_missing_steps(model)
    with pytest.raises(MgcError, match="Net defines no validation_step"):
        model.validation_step({"chroma": torch.zeros(1, 2, 12)}, 0)
