"""Values of segments that stay in memory from one epoch to the next."""

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

#: Bytes that a cache may hold: audio words of 66 000 tracks of 30 seconds, or their segment
#: vectors of 48 numbers of 8000. Once it is full, other tracks are computed every time.
BUDGET = 256 * 2**20


class SegmentCache:
    """Remembers what was computed of tracks, whose audio is the same in every epoch.

    Tracks are known by their audio alone, so that audio that is cropped or changed at random is
    never taken for another. Each is computed by itself: what is kept does not depend on the batch,
    and a resumed run has the same values as an unbroken one.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        """Initialize an empty cache.

        Args:
            budget: Bytes that it may hold.
        """
        self.left = budget
        self._kept: dict[bytes, dict[str, Tensor]] = {}

    def __call__(
        self, compute: Callable[[Tensor], dict[str, Tensor]], audio: Tensor, length: Tensor | None
    ) -> dict[str, Tensor]:
        """Compute the values of a batch, or find them.

        Args:
            compute: Takes audio of shape (1, samples); gives values of shape (1, segments, ...),
                by feature. Always the same function.
            audio: Tracks of shape (batch, samples).
            length: Samples of each track, of shape (batch,); what follows is padding. By default
                all.

        Returns:
            Values of shape (batch, segments, ...), by feature, padded with zeros.
        """
        ends = [audio.shape[1]] * len(audio) if length is None else length.tolist()
        tracks = [self._find(compute, row[:end]) for row, end in zip(audio, ends, strict=True)]
        return {
            name: pad_sequence([track[name] for track in tracks], batch_first=True).to(audio.device)
            for name in tracks[0]
        }

    def _find(
        self, compute: Callable[[Tensor], dict[str, Tensor]], audio: Tensor
    ) -> dict[str, Tensor]:
        key = hashlib.sha256(audio.float().cpu().contiguous().numpy().data).digest()
        if key in self._kept:
            return self._kept[key]
        with torch.no_grad():
            found = {name: values[0].cpu() for name, values in compute(audio[None]).items()}
        size = sum(values.nbytes for values in found.values())
        if size <= self.left:
            self._kept[key] = found
            self.left -= size
        return found
