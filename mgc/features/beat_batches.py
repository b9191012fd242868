"""Masks and repeats beat-aligned features of tracks of different length, padded at the end."""

import torch
from torch import Tensor


def length_mask(length: Tensor, size: int) -> Tensor:
    """Return a bool mask of shape (batch, size): True at positions below each track's length."""
    return torch.arange(size, device=length.device) < length[:, None]


within = length_mask  # old name, removed in 0.2


def repeat_short(features: Tensor, length: Tensor, beats: int) -> tuple[Tensor, Tensor]:
    """Repeat short tracks from their start until they have at least ``beats`` beats.

    ``features`` has shape (batch, beats, dimensions); ``length`` is in beats, of shape (batch,).
    """
    beat = torch.arange(max(beats, features.shape[1]), device=features.device)
    index = (beat % length.clamp(min=1)[:, None])[:, :, None]
    longer = features.gather(1, index.expand(-1, -1, features.shape[2]))
    return longer, length.clamp(min=beats)
