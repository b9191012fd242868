"""What models have in common."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mgc.errors import MgcError
from mgc.models.base import MusicModel


class Net(MusicModel):
    """A network whose outputs depend on the other clips of the batch."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, self.num_classes))
        self.logged: list[str] = []

    def forward(self, audio: Tensor) -> Tensor:
        return self.net(audio)

    def log(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.logged.append(name)


@pytest.fixture
def batch() -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "audio": torch.randn(6, 4),
        "target": torch.tensor([0, 1, 2, 0, 1, 2]),
        "track": torch.arange(6),
    }


def fresh() -> Net:
    torch.manual_seed(1)
    return Net(num_classes=3)


def test_unreadable_clips_are_ignored(batch: dict[str, Any]) -> None:
    kept = [0, 1, 4, 5]
    model, expected = fresh(), fresh()
    loss = expected.training_step({name: value[kept] for name, value in batch.items()}, 0)
    batch["track"][2:4] = -1
    batch["audio"][2:4] = 0
    torch.testing.assert_close(model.training_step(batch, 0), loss)
    assert model.train_metric.compute() == expected.train_metric.compute()
    torch.testing.assert_close(model.state_dict(), expected.state_dict())


def test_a_batch_of_unreadable_clips_has_zero_gradients(batch: dict[str, Any]) -> None:
    model = fresh()
    model.net[1].bias.requires_grad = False
    batch["track"][:] = -1
    loss = model.training_step(batch, 0)
    loss.backward()
    assert loss == 0
    # Distributed training sums gradients, so all weights need one on each device.
    assert all((p.grad == 0).all() for p in model.parameters() if p.requires_grad)
    assert model.logged == []


def test_one_class_is_an_error() -> None:
    with pytest.raises(MgcError, match="a multiclass task needs at least 2 classes"):
        MusicModel(num_classes=1)
