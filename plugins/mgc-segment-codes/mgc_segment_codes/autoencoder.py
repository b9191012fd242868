"""Autoencoder of segments."""

from typing import Any

import torch
from torch import Tensor, nn

from mgc.core.ranges import Dropout, Width
from mgc_segment_codes.base import SegmentCoder


class Autoencoder(SegmentCoder):
    """Denoising autoencoder of segments, with max-pooling over the track.

    It has a sigmoid hidden layer and a linear output layer. Training zeroes some inputs (Vincent et
    al., "Stacked denoising autoencoders", JMLR 2010; the paper's reference 41); ``corruption: 0``
    gives a plain autoencoder.
    """

    def __init__(self, units: Width = 256, corruption: Dropout = 0.2, **kwargs: Any) -> None:
        """Initialize the model.

        Args:
            units: Hidden units for each feature.
            corruption: Probability that training zeroes an input.
            **kwargs: Arguments of :class:`mgc_segment_codes.base.SegmentCoder`.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__(**kwargs)
        self.make_head(units)
        widths = self.segments.dimensions
        self.encoders = nn.ModuleDict({n: nn.Linear(w, units) for n, w in widths.items()})
        self.decoders = nn.ModuleDict({n: nn.Linear(units, w) for n, w in widths.items()})
        self.corruption = nn.Dropout(corruption)

    def code(self, feature: str, vectors: Tensor) -> Tensor:
        """Return the outputs of the hidden layer."""
        return self.encoders[feature](vectors).sigmoid()

    def objective(self, feature: str, vectors: Tensor) -> Tensor:
        """Return the reconstruction error with some inputs zeroed."""
        # Only the zeros of dropout are used, not its scaling.
        keep = self.corruption(torch.ones_like(vectors)) > 0
        reconstruction = self.decoders[feature](self.code(feature, vectors * keep))
        return (reconstruction - vectors).square().mean()

    def error(self, feature: str, vectors: Tensor) -> Tensor:
        """Return the reconstruction error."""
        return (self.decoders[feature](self.code(feature, vectors)) - vectors).square().mean()
