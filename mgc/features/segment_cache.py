"""Caches segment values by track."""

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

#: Default size of a cache in bytes: audio words of 66 000 tracks of 30 seconds, or segment vectors
#: (48 numbers) of 8000 tracks. Once it is full, other tracks are computed every time.
BUDGET = 256 * 2**20


class SegmentCache:
    """Caches at most ``budget`` bytes of values computed from tracks, by a hash of their audio.

    Tracks are computed one at a time, so that cached values do not depend on the batch, and a
    resumed run has the same values as an uninterrupted one.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.left = budget
        self._kept: dict[bytes, dict[str, Tensor]] = {}

    def __call__(
        self, compute: Callable[[Tensor], dict[str, Tensor]], audio: Tensor, length: Tensor | None
    ) -> dict[str, Tensor]:
        """Return values of shape (batch, segments, ...), by feature, padded with zeros.

        ``compute``, the same function in all calls, maps audio of shape (1, samples) to values of
        shape (1, segments, ...). ``length`` is the number of samples of each track without padding.
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
