"""Batches of beat-aligned features: tracks of unequal length, padded behind their end."""

import torch
from torch import Tensor


def within(length: Tensor, size: int) -> Tensor:
    """Tell which places lie within each track.

    Args:
        length: Length of each track, of shape (batch,).
        size: Number of places.

    Returns:
        Bool of shape (batch, size).
    """
    return torch.arange(size, device=length.device) < length[:, None]


def repeat_short(features: Tensor, length: Tensor, beats: int) -> tuple[Tensor, Tensor]:
    """Repeat tracks that are shorter than something can take in, from their start, up to its size.

    Args:
        features: Features of shape (batch, beats, dimensions).
        length: Length of each track in beats, of shape (batch,).
        beats: Fewest beats that a track shall have.

    Returns:
        Features of at least so many beats, and the new lengths.
    """
    beat = torch.arange(max(beats, features.shape[1]), device=features.device)
    index = (beat % length.clamp(min=1)[:, None])[:, :, None]
    longer = features.gather(1, index.expand(-1, -1, features.shape[2]))
    return longer, length.clamp(min=beats)
