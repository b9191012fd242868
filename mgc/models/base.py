"""Base class of mgc's models."""

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torchmetrics import Metric, R2Score
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy, MultilabelAUROC

from mgc.checkpoint import DescribeCheckpoint
from mgc.core.ranges import CheckedArguments, LearningRate, SampleRate, Width
from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.evaluation.callback import TrackEvaluation
from mgc.evaluation.contract import CheckContract, check_outputs
from mgc.task import Task


class MusicModel(CheckedArguments, LightningModule):
    """A network that predicts genres, tags or ratings of clips.

    A subclass calls ``super().__init__``, builds its layers and implements :meth:`forward`, and
    :meth:`features` if it has embeddings. Its own arguments are plain values (numbers, strings,
    lists, dictionaries), so that checkpoints load safely. The loss is cross-entropy (multiclass),
    binary cross-entropy (multilabel) or mean squared error (regression).
    :class:`mgc.evaluation.callback.TrackEvaluation` computes validation and test metrics.

    Args:
        num_classes: Number of classes, tags or quantities; set from the data.
        task: Type of the targets; set from the data.
        sample_rate: Sample rate in Hz; set from the data.
        lr: Learning rate of Adam, unless the configuration has an ``optimizer`` section.

    Attributes:
        kind: Type of batches, ``audio`` or ``beats``.
        training_settings: Arguments that only change the training, so that checkpoints can be used
            with other values. Those with a word such as ``lr``, ``dropout`` or ``seed`` in their
            names need not be listed (see :data:`mgc.training.resuming.TRAINING_WORDS`).
        untrained_arguments: Defaults of arguments for features with random weights.
        untrained: Whether the weights are neither fitted nor loaded from a checkpoint.
    """

    kind: ClassVar[str] = "audio"
    training_settings: ClassVar[tuple[str, ...]] = ()
    untrained_arguments: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        num_classes: Width,
        task: Task = "multiclass",
        sample_rate: SampleRate | Literal[0] = 22050,
        lr: LearningRate = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.num_classes = num_classes
        self.task: Task = task
        self.sample_rate = sample_rate
        self.lr = lr
        self.untrained = True
        if task == "multiclass" and num_classes == 1:
            raise MgcError(
                "num_classes=1: a multiclass task needs at least 2 classes. Check data.root and "
                "data.labels."
            )
        self.train_metric: Metric
        self.train_metric_name, self.train_metric = _training_metric(task, num_classes)

    def load_initial_weights(self) -> None:
        """Load pretrained weights, if the model has any.

        Called before a fit or an extraction of features without a checkpoint.
        """

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Mark the weights as loaded from a checkpoint."""
        self.untrained = False

    def on_fit_start(self) -> None:
        """Load the initial weights, unless a checkpoint was loaded."""
        if self.untrained:
            self.load_initial_weights()
            self.untrained = False

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Return embeddings of shape (batch, width), by layer name, of clips (batch, samples).

        Raises:
            MgcError: If the model has no embeddings.
        """
        raise MgcError(f"{type(self).__name__} has no features.")

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the mean loss of logits of shape (batch, classes).

        Targets are class indices of shape (batch,), or values of shape (batch, classes).
        """
        if self.task == "multiclass":
            return F.cross_entropy(logits, target)
        if self.task == "multilabel":
            return F.binary_cross_entropy_with_logits(logits, target)
        return F.mse_loss(logits, target)

    def split_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the :meth:`loss` of a complete validation or test split as one batch."""
        return self.loss(logits, target)

    def logits(self, batch: Batch) -> Tensor:
        """Return logits of shape (batch, classes). Models that take beats override this."""
        return self(batch["audio"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the training loss of a batch, without unreadable clips."""
        batch = drop_unreadable(batch)
        target = batch["target"]
        if not len(target):
            return zero_loss(self)
        logits = check_outputs(self, self.logits(batch), target, self.num_classes)
        loss = self.loss(logits, target)
        self.log_training(loss, logits, target)
        return loss

    def log_training(self, loss: Tensor, logits: Tensor, target: Tensor) -> None:
        """Log the loss and the metric of a training batch."""
        logits = logits.detach()
        if self.task == "multilabel":  # the loss takes tags as floats, the metric as integers
            target = target.long()
        elif self.task == "regression" and logits.device.type != "mps":
            # r² cancels digits of targets far from zero. MPS has no float64.
            logits, target = logits.double(), target.double()
        self.train_metric.update(logits, target)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(target))
        self.log(f"train/{self.train_metric_name}", self.train_metric, on_step=False, on_epoch=True)

    def predict_step(
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Compute logits of clips, also in validation and test."""
        return {"logits": self.logits(batch)}

    validation_step = test_step = predict_step

    def configure_optimizers(self) -> Any:
        """Return the default optimizer."""
        return torch.optim.Adam(self.parameters(), self.lr)

    def configure_callbacks(self) -> list[Callback]:
        """Add the callbacks for evaluation, checkpoints and checks if they are missing."""
        return missing_callbacks(self, TrackEvaluation, DescribeCheckpoint, CheckContract)


def missing_callbacks(module: LightningModule, *kinds: type[Callback]) -> list[Callback]:
    """Create the callbacks of these types that a module's trainer lacks."""
    present = {type(callback) for callback in module.trainer.callbacks}  # type: ignore[attr-defined]
    return [kind() for kind in kinds if kind not in present]


def zero_loss(module: nn.Module) -> Tensor:
    """Return a loss of 0 that has gradients of all parameters, because other devices need them."""
    return torch.stack([0 * p.sum() for p in module.parameters() if p.requires_grad]).sum()


def drop_unreadable(batch: Batch) -> Batch:
    """Drop the clips of a batch that could not be read (``track`` is -1)."""
    track = batch.get("track")
    if track is None or bool((track >= 0).all()):
        return batch
    return {
        name: value[track >= 0] if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }


readable = drop_unreadable  # old name, removed in 0.2


def _training_metric(task: Task, num_classes: Width) -> tuple[str, Metric]:
    if task == "multiclass":
        return "accuracy", MulticlassAccuracy(num_classes, average="micro")
    if task == "multilabel":
        # Binned, since the exact AUROC keeps all scores of the epoch in memory.
        if num_classes == 1:
            return "auroc", BinaryAUROC(thresholds=200)
        return "auroc", MultilabelAUROC(num_classes, thresholds=200)
    return "r2", R2Score()
