"""What every model of mgc has in common. Models of other packages may use it, but need not."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule
from torch import Tensor
from torchmetrics import Metric, R2Score
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy, MultilabelAUROC

from mgc.checkpoint import DescribeCheckpoint
from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.evaluation.callback import TrackEvaluation
from mgc.task import Task


class MusicModel(LightningModule):
    """A network from clips to genres, tags or ratings.

    A subclass calls ``super().__init__`` with these arguments, builds its layers and implements
    :meth:`forward`; it offers embeddings by :meth:`features`. Its own arguments are plain values
    (numbers, strings, lists, dictionaries), so that checkpoints load safely.

    Losses: cross-entropy (multiclass), binary cross-entropy (multilabel), squared error
    (regression). Validation and test are measured on the exact set of clips and on whole tracks by
    :class:`mgc.evaluation.callback.TrackEvaluation`.

    Attributes:
        kind: What batches the model takes: ``audio`` or ``beats``.
        untrained: Whether no fit has begun and no checkpoint been loaded.
    """

    kind: ClassVar[str] = "audio"

    def __init__(
        self,
        num_classes: int,
        task: Task = "multiclass",
        sample_rate: int = 22050,
        lr: float = 1e-3,
    ) -> None:
        """Initialize a new model.

        Args:
            num_classes: Number of classes, tags or quantities; filled in from the data.
            task: What the targets are; filled in from the data.
            sample_rate: Rate of the audio in Hz; filled in from the data.
            lr: Learning rate of Adam, unless the configuration has an ``optimizer`` section.
        """
        super().__init__()
        self.save_hyperparameters()
        self.num_classes = num_classes
        self.task: Task = task
        self.sample_rate = sample_rate
        self.lr = lr
        self.untrained = True
        self.train_metric: Metric
        self.train_metric_name, self.train_metric = _training_metric(task, num_classes)

    def load_initial_weights(self) -> None:
        """Bring in the weights of others that training starts from, where a model has such.

        It is called once: before a fit that goes on from no checkpoint, and before features of an
        untrained model are computed. A checkpoint holds all weights, so nothing else needs them.
        """

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note that the weights are those of a checkpoint."""
        self.untrained = False

    def on_fit_start(self) -> None:
        """Bring in the initial weights, after a checkpoint would have been loaded."""
        if self.untrained:
            self.load_initial_weights()
            self.untrained = False

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Compute embeddings of clips.

        Args:
            audio: Clips of shape (batch, samples) at ``sample_rate``.

        Returns:
            Named layers, each of shape (batch, width).

        Raises:
            MgcError: If the model offers none.
        """
        raise MgcError(f"{type(self).__name__} offers no features.")

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the mean loss of a batch.

        Args:
            logits: Outputs of the network, of shape (batch, classes).
            target: Class indices of shape (batch,), or values of shape (batch, classes).

        Returns:
            A scalar.
        """
        if self.task == "multiclass":
            return F.cross_entropy(logits, target)
        if self.task == "multilabel":
            return F.binary_cross_entropy_with_logits(logits, target)
        return F.mse_loss(logits, target)

    def split_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the mean loss of a whole validation or test split.

        Args:
            logits: Outputs of the network, of shape (clips, classes).
            target: Class indices of shape (clips,), or values of shape (clips, classes).

        Returns:
            A scalar.
        """
        return self.loss(logits, target)

    def logits(self, batch: Batch) -> Tensor:
        """Score a batch. A model that takes beats overrides this.

        Args:
            batch: What the data module gives.

        Returns:
            Outputs of the network, of shape (batch, classes).
        """
        return self(batch["audio"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the training loss of a batch. Clips that could not be read do not count."""
        batch = readable(batch)
        target = batch["target"]
        if not len(target):
            # Nothing to learn, but other devices wait for gradients.
            zeros = (0 * p.sum() for p in self.parameters() if p.requires_grad)
            return torch.stack([*zeros]).sum()
        logits = self.logits(batch)
        loss = self.loss(logits, target)
        # Tags are float for the loss, and whole numbers for the metric.
        self.train_metric.update(
            logits.detach(), target.long() if self.task == "multilabel" else target
        )
        self.log("train/loss", loss, prog_bar=True, batch_size=len(target))
        self.log(f"train/{self.train_metric_name}", self.train_metric, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Score a batch of validation clips."""
        return {"logits": self.logits(batch)}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Score a batch of test clips."""
        return {"logits": self.logits(batch)}

    def predict_step(
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Score a batch of clips."""
        return {"logits": self.logits(batch)}

    def configure_optimizers(self) -> Any:
        """Make the default optimizer."""
        return torch.optim.Adam(self.parameters(), self.lr)

    def configure_callbacks(self) -> list[Callback]:
        """Measure tracks, and describe checkpoints, however the trainer was made."""
        present = {type(callback) for callback in self.trainer.callbacks}  # type: ignore[attr-defined]
        return [c() for c in (TrackEvaluation, DescribeCheckpoint) if c not in present]


def readable(batch: Batch) -> Batch:
    """Leave out the clips of a batch that could not be read.

    Args:
        batch: A batch, whose ``track`` is -1 where nothing could be read.

    Returns:
        The batch without them.
    """
    track = batch.get("track")
    if track is None or bool((track >= 0).all()):
        return batch
    return {
        name: value[track >= 0] if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }


def _training_metric(task: Task, num_classes: int) -> tuple[str, Metric]:
    if task == "multiclass":
        return "accuracy", MulticlassAccuracy(num_classes, average="micro")
    if task == "multilabel":
        # Binned: the exact area would keep the scores of the whole epoch.
        if num_classes == 1:
            return "auroc", BinaryAUROC(thresholds=200)
        return "auroc", MultilabelAUROC(num_classes, thresholds=200)
    return "r2", R2Score()
