"""Loaders of data modules, in a fit."""

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from mgc.data.base import MusicDataModule
from mgc.data.clips import Batch
from mgc.data.gtzan import GTZAN
from mgc.models.base import MusicModel


class Small(MusicModel):
    """A layer over the loudness of a clip, with or without batch normalisation."""

    def __init__(self, normalise: bool, **kwargs) -> None:
        super().__init__(num_classes=10, **kwargs)
        self.norm = nn.BatchNorm1d(1) if normalise else nn.Identity()
        self.head = nn.Linear(1, 10)
        self.seen: list[int] = []

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(audio.std(1, keepdim=True)))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.seen.append(len(batch["track"]))
        return super().training_step(batch, batch_idx)


def fit(model: Small, data: MusicDataModule) -> list[int]:
    """Sizes of the batches that a model was trained on in an epoch."""
    Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model, datamodule=data)
    return model.seen


@pytest.mark.parametrize(
    ("normalise", "batch_size", "batches"),
    [
        # Of 80 clips one would be left over, which batch normalisation cannot learn from.
        (True, 79, [79]),
        # Two can be learned from.
        (True, 78, [78, 2]),
        (True, 80, [80]),
        # Models without it learn from every clip: naive Bayes counts them in one epoch.
        (False, 79, [79, 1]),
        # A batch size of one is the user's own.
        (False, 1, [1] * 80),
    ],
)
def test_batches_of_a_training_epoch(tones, normalise, batch_size, batches) -> None:
    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=2.0, batch_size=batch_size)
    assert fit(Small(normalise), data) == batches


def test_evaluation_leaves_no_clip_out(tones) -> None:
    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=2.0, batch_size=9)
    fit(Small(normalise=True), data)
    data.setup("test")
    assert [len(batch["track"]) for batch in data.test_dataloader()] == [9, 1]
