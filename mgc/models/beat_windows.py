"""Base class of the classifiers of windows of beats."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.models.base import MusicModel

#: Length of a window in beats: eight bars (Dieleman, Brakel and Schrauwen, "Audio-based music
#: classification with a pretrained convolutional network", ISMIR 2011, section 5.2).
WINDOW_BEATS = 32


class WindowClassifier(MusicModel):
    """Classifier of tracks that averages the posteriors of their windows of beats.

    A subclass sets ``net``, a module that maps chroma, timbre and length to log posteriors of shape
    (batch, classes, windows) and a mask of the windows inside each track, of shape (batch,
    windows).
    """

    kind: ClassVar[str] = "beats"
    net: nn.Module

    def __init__(self, window_beats: int = WINDOW_BEATS, **kwargs: Any) -> None:
        """Initialize a new classifier.

        Args:
            window_beats: Length of a window in beats.
            **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.

        Raises:
            MgcError: If a setting is out of range or the task is not ``multiclass``.
        """
        super().__init__(**kwargs)
        if self.task != "multiclass":
            raise MgcError(f"task={self.task!r}: {type(self).__name__} supports only multiclass.")
        if window_beats < 1:
            raise MgcError(f"window_beats={window_beats}: must be at least 1.")

    def forward(self, chroma: Tensor, timbre: Tensor, length: Tensor) -> Tensor:
        """Compute class scores of complete tracks.

        Args:
            chroma: Chroma of shape (batch, beats, 12).
            timbre: Timbre of shape (batch, beats, 12).
            length: Length of each track in beats, of shape (batch,); later beats are ignored.

        Returns:
            Logarithm of the windows' mean posteriors, of shape (batch, classes).
        """
        return average_posteriors(*self.net(chroma, timbre, length))

    def logits(self, batch: Batch) -> Tensor:
        """Compute logits of a batch of tracks (see :meth:`forward`)."""
        return self(batch["chroma"], batch["timbre"], batch["length"])


def average_posteriors(log_posteriors: Tensor, inside: Tensor) -> Tensor:
    """Return the logarithm of the mean posteriors of each track, of shape (batch, classes).

    Args:
        log_posteriors: Log posteriors of shape (batch, classes, windows).
        inside: Mask of the windows inside each track, of shape (batch, windows).
    """
    masked = log_posteriors.masked_fill(~inside[:, None], -torch.inf)
    return masked.logsumexp(2) - inside.sum(1, keepdim=True).log()
