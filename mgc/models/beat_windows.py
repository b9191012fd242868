"""Base classes for classifiers of beat-aligned features."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mgc.core.ranges import Beats
from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.models.base import MusicModel

#: Length of a window in beats: eight bars (Dieleman, Brakel and Schrauwen, "Audio-based music
#: classification with a pretrained convolutional network", ISMIR 2011, section 5.2).
WINDOW_BEATS = 32


class BeatClassifier(MusicModel):
    """Multiclass classifier of complete tracks, given their beat-aligned features.

    ``forward`` and ``features`` take chroma and timbre of shape (batch, beats, 12), and the length
    of each track in beats, of shape (batch,). Beats after the end of a track are ignored.
    """

    kind: ClassVar[str] = "beats"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.task != "multiclass":
            raise MgcError(f"task={self.task!r}: {type(self).__name__} supports only multiclass.")

    def logits(self, batch: Batch) -> Tensor:
        """Return logits of shape (batch, classes) for a batch of tracks."""
        return self(batch["chroma"], batch["timbre"], batch["length"])


class WindowClassifier(BeatClassifier):
    """Classifier of tracks that averages the posteriors of their windows of beats.

    A subclass sets ``net``, a module that maps chroma, timbre and length to log posteriors of shape
    (batch, classes, windows) and a mask of the windows inside each track, of shape (batch,
    windows).
    """

    net: nn.Module

    def __init__(self, window_beats: Beats = WINDOW_BEATS, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def forward(self, chroma: Tensor, timbre: Tensor, length: Tensor) -> Tensor:
        """Return the logarithm of the windows' mean posteriors, of shape (batch, classes)."""
        return average_posteriors(*self.net(chroma, timbre, length))


def average_posteriors(log_posteriors: Tensor, inside: Tensor) -> Tensor:
    """Average log posteriors of shape (batch, classes, windows) over the windows of each track.

    ``inside`` is a mask of these windows, of shape (batch, windows). The result is the logarithm of
    the mean, of shape (batch, classes).
    """
    masked = log_posteriors.masked_fill(~inside[:, None], -torch.inf)
    return masked.logsumexp(2) - inside.sum(1, keepdim=True).log()
