"""Metrics of any model on whole tracks."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from mgc.data.clips import Batch
from mgc.data.gtzan import GTZAN
from mgc.errors import MgcError
from mgc.evaluation.callback import TrackEvaluation
from mgc.evaluation.results import Results
from mgc.models.adapt import add_missing_steps
from mgc.models.base import MusicModel
from mgc.runs.folder import run_folder


def trainer(folder: Path, accelerator: str = "cpu") -> Trainer:
    return Trainer(
        max_epochs=1,
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[TrackEvaluation()],
    )


@pytest.fixture
def data(tones: Path) -> GTZAN:
    return GTZAN(str(tones), sample_rate=8000, clip_seconds=0.5, batch_size=32)


class Net(LightningModule):
    """A minimal model."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 10)

    def forward(self, audio: Tensor) -> Tensor:
        return self.head(audio.square().mean(1, keepdim=True))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch["audio"]), batch["target"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class LossOfBatch(Net):
    def loss(self, batch: Batch) -> Tensor:
        return self.training_step(batch, 0)


class LossModule(Net):
    def __init__(self) -> None:
        super().__init__()
        self.loss = nn.BCELoss()


@pytest.mark.parametrize("kind", [LossOfBatch, LossModule])
def test_a_loss_with_another_signature_is_not_used(
    kind: type[LightningModule], data: GTZAN, tmp_path: Path
) -> None:
    model = kind()
    add_missing_steps(model)
    (metrics,) = trainer(tmp_path).validate(model, data, verbose=False)
    assert "val/track_accuracy" in metrics
    assert "val/loss" not in metrics


class Weighted(MusicModel):
    """A model whose loss must run on the device of its weights."""

    def __init__(self) -> None:
        super().__init__(num_classes=10)
        self.head = nn.Linear(1, 10)
        self.register_buffer("weight", torch.arange(1.0, 11.0))

    def forward(self, audio: Tensor) -> Tensor:
        return self.head(audio.square().mean(1, keepdim=True))

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, self.weight)


def test_val_loss_is_the_loss_of_the_whole_split(data: GTZAN, tmp_path: Path) -> None:
    model = Weighted()
    (metrics,) = trainer(tmp_path).validate(model, data, verbose=False)
    batches = list(data.val_dataloader())
    assert len(batches) > 1
    with torch.no_grad():
        logits = torch.cat([model(batch["audio"]) for batch in batches])
    target = torch.cat([batch["target"] for batch in batches])
    assert metrics["val/loss"] == pytest.approx(model.loss(logits, target).item(), rel=1e-5)


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs a device besides the CPU")
def test_the_loss_is_computed_on_the_device_of_the_model(data: GTZAN, tmp_path: Path) -> None:
    (metrics,) = trainer(tmp_path, "gpu").validate(Weighted(), data, verbose=False)
    assert metrics["val/loss"] > 0


def test_a_module_without_steps_is_fitted_and_tested(data: GTZAN, tmp_path: Path) -> None:
    model = Net()
    add_missing_steps(model)
    runner = trainer(tmp_path)
    runner.fit(model, data)
    assert "val/track_accuracy" in runner.callback_metrics
    runner.test(model, data, verbose=False)
    assert len(Results.load(run_folder(runner) / "test").tracks) == 10
    runner.predict(model, data)
    assert len(Results.load(run_folder(runner) / "predict").tracks) == 100


class BrokenOnLoudClips(Net):
    """Returns NaN for the tracks of one genre."""

    def forward(self, audio: Tensor) -> Tensor:
        return super().forward(audio) * torch.where(audio[:, :1].abs() > 0.2, float("nan"), 1.0)


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_outputs_that_are_not_finite_are_no_result(data: GTZAN, tmp_path: Path, stage: str) -> None:
    run, model = trainer(tmp_path), BrokenOnLoudClips()
    add_missing_steps(model)
    with pytest.raises(MgcError, match=r"outputs for \d+ of \d+ tracks are not finite.*\.(wav|au)"):
        getattr(run, stage)(model, datamodule=data)
    assert not list(tmp_path.rglob("tracks.parquet"))
