"""Naive Bayes on windows of beats (Dieleman, Brakel and Schrauwen, 2011)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.core.ranges import Beats
from mgc.data.clips import Batch
from mgc.data.msd.files import DIMENSIONS
from mgc.features.beat_batches import length_mask, repeat_short
from mgc.models.base import drop_unreadable
from mgc.models.beat_windows import WINDOW_BEATS, WindowClassifier

#: Share of the largest variance that is added to all variances, so that none is zero.
SMOOTHING = 1e-9


class WindowedNaiveBayes(nn.Module):
    """Gaussian naive Bayes on every window of beats.

    Each of the 24 features of each beat of a window has a Gaussian per class; class priors are the
    shares of windows. A track shorter than a window is repeated to that length. The parameters are
    sums over the windows of each class: their number, features and squared features. Any common
    scale of the three gives the same result.
    """

    def __init__(self, num_classes: int, window_beats: Beats = WINDOW_BEATS) -> None:
        super().__init__()
        self.window_beats = window_beats
        shape = num_classes, 2 * DIMENSIONS, window_beats
        self.count = nn.Parameter(torch.zeros(num_classes, dtype=torch.float64))
        self.total = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
        self.squares = nn.Parameter(torch.zeros(shape, dtype=torch.float64))

    def sums(
        self, chroma: Tensor, timbre: Tensor, length: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the contributions of a batch to ``count``, ``total`` and ``squares``."""
        x, length = self._tracks(chroma, timbre, length)
        windows = length - self.window_beats + 1
        count = torch.zeros_like(self.count).index_add_(0, target, windows.double())
        found = [count]
        for values in (x, x.square()):
            # Over all windows of a track, position i covers beats i to i + windows - 1, so its sum
            # is a difference of two cumulative sums.
            cumulative = F.pad(values.double().cumsum(1), (0, 0, 1, 0))
            position = torch.arange(self.window_beats, device=x.device).expand(len(x), -1)
            first, last = (
                cumulative.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))
                for index in (position, position + windows[:, None])
            )
            sums = (last - first).transpose(1, 2)
            found.append(torch.zeros_like(self.total).index_add_(0, target, sums))
        return found[0], found[1], found[2]

    def forward(self, chroma: Tensor, timbre: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Return log posteriors and a mask of windows (see :class:`WindowClassifier`)."""
        x, length = self._tracks(chroma, timbre, length)
        count = self.count.clamp(min=1e-12)[:, None, None]
        mean = self.total / count
        variance = (self.squares / count - mean.square()).clamp(min=0)
        variance = torch.where(self.count[:, None, None] > 0, variance, 1.0)
        variance = variance + SMOOTHING * self._largest_variance()
        # log N(x) is a sum of x², x and 1 over the beats of a window: convolutions.
        bias = -0.5 * (mean.square() / variance + (2 * math.pi * variance).log()).sum((1, 2))
        weight = torch.cat([-0.5 / variance, mean / variance], 1)
        x = x.double().transpose(1, 2)
        scores = F.conv1d(torch.cat([x.square(), x], 1), weight, bias)
        prior = (self.count / self.count.sum().clamp(min=1e-12)).log()
        # Without windows, all classes are equally probable.
        prior = torch.where(self.count.sum() > 0, prior, 0.0)
        log_posteriors = (scores + prior[:, None]).log_softmax(1).float()
        return log_posteriors, length_mask(length - self.window_beats + 1, scores.shape[2])

    def _tracks(self, chroma: Tensor, timbre: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        return repeat_short(torch.cat([chroma, timbre], 2), length, self.window_beats)

    def _largest_variance(self) -> Tensor:
        """Return the largest variance of a feature over all windows; 1 without windows."""
        count = self.count.sum().clamp(min=1e-12)
        variance = self.squares.sum(0) / count - (self.total.sum(0) / count).square()
        return torch.where(self.count.sum() > 0, variance.max(), 1.0)


class NaiveBayes(WindowClassifier):
    """Gaussian naive Bayes on windows of 32 beats of chroma and timbre.

    Dieleman, Brakel and Schrauwen, "Audio-based music classification with a pretrained
    convolutional network", ISMIR 2011, section 6: the naive Bayes of table 1, which "operate[s] on
    windows of features". A track's posteriors are the mean over its windows.

    Train for one epoch; more epochs change nothing. The statistics are summed over batches by
    gradient descent with learning rate 1: the loss is minus the product of the current statistics
    and those of the batch, so its gradient is minus the statistics of the batch. Other optimizers
    do not work.

    Args:
        window_beats: Length of a window in beats; shorter tracks are repeated to that length.
        **kwargs: Arguments of :class:`mgc.models.base.MusicModel`; ``lr`` is ignored.
    """

    net: WindowedNaiveBayes

    def __init__(self, window_beats: Beats = WINDOW_BEATS, **kwargs: Any) -> None:
        super().__init__(window_beats, **kwargs)
        self.net = WindowedNaiveBayes(self.num_classes, window_beats)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute a loss whose gradient adds the statistics of the batch."""
        batch = drop_unreadable(batch)
        names = ("chroma", "timbre", "length", "target")
        with torch.no_grad():
            found = self.net.sums(*(batch[name] for name in names))
        so_far = (self.net.count, self.net.total, self.net.squares)
        return -torch.stack([(a * b).sum() for a, b in zip(so_far, found, strict=True)]).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD with learning rate 1, which sums the statistics."""
        return torch.optim.SGD(self.parameters(), lr=1.0)
