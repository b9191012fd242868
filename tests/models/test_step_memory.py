"""Test the estimate of a step's memory."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mgc.core import memory
from mgc.errors import MgcError
from mgc.models.base import MusicModel
from mgc.models.step_memory import check_memory, estimate_memory, largest_settings
from mgc.models.vgg import VGGTagger

MIB = 2**20


class Data(MusicModel):
    """Model whose forward pass depends on values."""

    def __init__(self, width: int = 1) -> None:
        super().__init__(2)
        self.layer = torch.nn.Linear(width, 2)

    def forward(self, audio: Tensor) -> Tensor:
        return self.layer(audio[:, :1]) if audio.sum() > 0 else audio


def test_weights_and_activations_count() -> None:
    small = estimate_memory(lambda: VGGTagger(num_classes=2), (2, 22050), training=True)
    wide = estimate_memory(lambda: VGGTagger(128, num_classes=2), (2, 22050), training=True)
    large = estimate_memory(lambda: VGGTagger(num_classes=2), (20, 22050), training=True)
    weights = sum(x.nbytes for x in VGGTagger(num_classes=2).state_dict().values())
    assert small.weights == weights
    assert wide.weights > 10 * small.weights
    assert large.step == pytest.approx(10 * small.step, rel=0.1)
    # The first block alone saves 32 channels of 96 bands and 87 frames.
    assert small.step > 2 * 32 * 96 * 87 * 4
    assert estimate_memory(lambda: VGGTagger(num_classes=2), (2, 22050), False).step < small.step


def test_nothing_is_allocated_and_random_numbers_stay() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    found = estimate_memory(lambda: Data(10**12), (1, 10**12), training=True)
    assert found.weights > 7e12
    assert torch.equal(torch.rand(3), expected)


def test_without_a_forward_pass_weights_and_clips_count() -> None:
    found = estimate_memory(lambda: Data(100), (4, 1000), training=True)
    assert 0 < found.weights < MIB
    assert found.step >= 4 * 4 * 1000


def test_absurd_steps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(batch: int, on_cpu: bool = True) -> None:
        settings = {"data.batch_size": batch, "model.channels": 32}
        check_memory(lambda: VGGTagger(num_classes=2), (batch, 22050), settings, on_cpu)

    monkeypatch.setattr("mgc.models.step_memory.memory_limit", lambda: 1024 * MIB)
    check(32)
    check(10_000, on_cpu=False)
    with pytest.raises(MgcError, match=r"GiB; there are 1 GiB. Lower data.batch_size \(10000\), m"):
        check(10_000)


def test_the_largest_settings_are_named_first() -> None:
    given = {"channels": 64, "n_mels": 2048, "norm": "batch", "hop_length": 1}
    defaults = {"channels": 32, "n_mels": 96, "norm": "batch", "hop_length": 256}
    assert list(largest_settings(given, defaults)) == ["n_mels", "channels"]


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "memory.max"
    path.write_text("max\n")
    monkeypatch.setattr(memory, "CGROUP_LIMITS", (str(path),))
    machine = memory.memory_limit()
    assert machine > 64 * MIB
    path.write_text(f"{64 * MIB}\n")
    assert memory.memory_limit() == 64 * MIB
