"""Data loaders during training."""

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from mgc.data.base import MusicDataModule
from mgc.data.clips import Batch
from mgc.data.gtzan import GTZAN
from mgc.models.base import MusicModel


class TinyModel(MusicModel):
    """A linear layer on the loudness of a clip, with or without batch normalisation."""

    def __init__(self, normalise: bool, **kwargs) -> None:
        super().__init__(num_classes=10, **kwargs)
        self.norm = nn.BatchNorm1d(1) if normalise else nn.Identity()
        self.head = nn.Linear(1, 10)
        self.batch_sizes: list[int] = []

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(audio.std(1, keepdim=True)))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.batch_sizes.append(len(batch["track"]))
        return super().training_step(batch, batch_idx)


def fit(model: TinyModel, data: MusicDataModule) -> list[int]:
    """Train one epoch and return the batch sizes."""
    Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model, datamodule=data)
    return model.batch_sizes


@pytest.mark.parametrize(
    ("normalise", "batch_size", "batches"),
    [
        # The last batch would hold one of 80 clips, on which batch normalisation fails.
        (True, 79, [79]),
        # Two clips are enough.
        (True, 78, [78, 2]),
        (True, 80, [80]),
        # Models without batch normalisation get every clip.
        (False, 79, [79, 1]),
        # A batch size of 1 is respected.
        (False, 1, [1] * 80),
    ],
)
def test_last_training_batch_of_one_clip_is_dropped_for_batch_norm(
    tones, normalise, batch_size, batches
) -> None:
    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=2.0, batch_size=batch_size)
    assert fit(TinyModel(normalise), data) == batches


def test_evaluation_keeps_every_clip(tones) -> None:
    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=2.0, batch_size=9)
    fit(TinyModel(normalise=True), data)
    data.setup("test")
    assert [len(batch["track"]) for batch in data.test_dataloader()] == [9, 1]


def test_validation_tracks_can_be_trained_on(tones) -> None:
    """They are in the training batches, and otherwise stay in their split."""
    data = GTZAN(
        str(tones),
        sample_rate=8000,
        clip_seconds=2.0,
        batch_size=9,
        split="fold",
        train_on_val=True,
    )
    assert sum(fit(TinyModel(normalise=False), data)) == 90
    data.setup()
    assert [len(loader.dataset) for loader in data.predict_dataloader()] == [80, 10, 10]
    trained = {int(track) for batch in data.train_dataloader() for track in batch["track"]}
    assert set(data.tracks.loc[sorted(trained), "split"]) == {"train", "val"}
