"""Logistic regression on windows of beats (Dieleman, Brakel and Schrauwen, 2011)."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.core.ranges import Beats
from mgc.data.clips import Batch
from mgc.data.msd.files import DIMENSIONS
from mgc.errors import MgcError
from mgc.features.beat_batches import length_mask
from mgc.models.base import drop_unreadable, zero_loss
from mgc.models.beat_windows import WINDOW_BEATS, WindowClassifier, average_posteriors


class WindowedLogisticRegression(nn.Module):
    """Logistic regression on every window of beats, as a convolution over time.

    The input is the 24 standardized features of all beats of a window. A track shorter than a
    window is padded with the mean features of the training data, which are zero after
    standardization and do not change any score.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, num_classes: int, window_beats: Beats = WINDOW_BEATS) -> None:
        super().__init__()
        self.window_beats = window_beats
        self.conv = nn.Conv1d(2 * DIMENSIONS, num_classes, window_beats)
        # The loss is convex, so start without a preference for any class.
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type] # the convolution has a bias
        self.register_buffer("mean", torch.zeros(2 * DIMENSIONS))
        self.register_buffer("scale", torch.ones(2 * DIMENSIONS))

    @property
    def fitted(self) -> bool:
        """Whether the statistics are set or loaded."""
        return bool((self.scale != 1).any())

    def set_statistics(self, moments: Tensor) -> None:
        """Set mean and standard deviation from the sums of :func:`sum_moments`."""
        count, total, squares = moments
        if not count.all():
            raise MgcError("No beats to fit the statistics of the features on.")
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        # Constant features are not scaled.
        self.scale.copy_(torch.where(deviation > 1e-3 * mean.abs(), deviation, 1.0))

    def forward(self, chroma: Tensor, timbre: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Return log posteriors and a mask of windows (see :class:`WindowClassifier`)."""
        x = (torch.cat([chroma, timbre], 2) - self.mean) / self.scale
        x = torch.where(length_mask(length, x.shape[1])[:, :, None], x, 0.0)
        x = F.pad(x, (0, 0, 0, max(0, self.window_beats - x.shape[1])))
        scores = self.conv(x.transpose(1, 2))
        windows = (length - self.window_beats + 1).clamp(min=1)
        return scores.float().log_softmax(1), length_mask(windows, scores.shape[2])


def sum_moments(batches: Iterable[Batch]) -> Tensor:
    """Return the number of beats, sum and sum of squares of each feature, of shape (3, 24)."""
    moments = torch.zeros(3, 2 * DIMENSIONS, dtype=torch.float64)
    for batch in batches:
        x = torch.cat([batch["chroma"], batch["timbre"]], 2)
        beats = x[length_mask(batch["length"], x.shape[1])].double()
        moments += torch.stack([torch.ones_like(beats), beats, beats.square()]).sum(1)
    return moments


class BeatLogistic(WindowClassifier):
    """Logistic regression on windows of 32 beats of chroma and timbre.

    Dieleman, Brakel and Schrauwen, "Audio-based music classification with a pretrained
    convolutional network", ISMIR 2011, section 5.2: the windowed logistic regression of table 1.
    Features are standardized with the statistics of the training split. The paper trains a
    classifier "that operate[s] on windows of features", so every window is an example of its
    track's class. A track's posteriors are the mean over its windows.

    The paper's learning rates are for gradient descent on single windows, which ``optimizer=SGD``,
    ``reduction=sum`` and a batch of one track come close to.

    Args:
        window_beats: Length of a window in beats.
        reduction: Reduction of the loss over the windows of a batch: ``mean`` or ``sum``.
        **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.
    """

    net: WindowedLogisticRegression

    training_settings = ("reduction",)

    def __init__(
        self,
        window_beats: Beats = WINDOW_BEATS,
        reduction: Literal["mean", "sum"] = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(window_beats, **kwargs)
        self.reduction = reduction
        self.net = WindowedLogisticRegression(self.num_classes, window_beats)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the cross-entropy over all windows of the readable tracks."""
        batch = drop_unreadable(batch)
        target = batch["target"]
        if not len(target):
            return zero_loss(self)
        log_posteriors, inside = self.net(batch["chroma"], batch["timbre"], batch["length"])
        index = target[:, None, None].expand(-1, 1, log_posteriors.shape[2])
        losses = -log_posteriors.gather(1, index)[:, 0][inside]
        self.log_training(
            losses.mean(), average_posteriors(log_posteriors.detach(), inside), target
        )
        return losses.sum() if self.reduction == "sum" else losses.mean()

    def on_train_start(self) -> None:
        """Compute the statistics of the features, unless a checkpoint contained them."""
        if self.net.fitted:
            return
        batches: Iterable[Batch] = self.trainer.train_dataloader  # type: ignore[assignment]
        moments = sum_moments(batches).to(self.device, torch.float32)
        # Each device has read its share of the data; sum over devices.
        self.net.set_statistics(self.trainer.strategy.reduce(moments, reduce_op="sum"))
