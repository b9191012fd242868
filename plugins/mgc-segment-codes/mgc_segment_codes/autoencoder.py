"""Codes from which a network gives its input back."""

from typing import Any

import torch
from torch import Tensor, nn

from mgc.errors import MgcError
from mgc_segment_codes.base import SegmentCoder


class Autoencoder(SegmentCoder):
    """Denoising autoencoder of segments, and max-pooling.

    One hidden layer of sigmoids and a linear one, as whitened vectors have no bounds. Some of the
    inputs are zeroed in training (Vincent et al., "Stacked denoising autoencoders", JMLR 2010; the
    paper's reference 41); ``corruption: 0`` gives a plain autoencoder.
    """

    def __init__(self, units: int = 256, corruption: float = 0.2, **kwargs: Any) -> None:
        """Initialize a new model.

        Args:
            units: Units of the hidden layer of each feature.
            corruption: Share of the inputs zeroed in training.
            **kwargs: Arguments of :class:`mgc_segment_codes.base.SegmentCoder`.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__(**kwargs)
        if not 0 <= corruption < 1:
            raise MgcError(f"corruption={corruption}: must be at least 0 and below 1.")
        self.make_head(units)
        widths = self.segments.dimensions
        self.encoders = nn.ModuleDict({n: nn.Linear(w, units) for n, w in widths.items()})
        self.decoders = nn.ModuleDict({n: nn.Linear(units, w) for n, w in widths.items()})
        self.corruption = nn.Dropout(corruption)

    def code(self, feature: str, vectors: Tensor) -> Tensor:
        """Outputs of the hidden layer (see :meth:`SegmentCoder.code`)."""
        return self.encoders[feature](vectors).sigmoid()

    def objective(self, feature: str, vectors: Tensor) -> Tensor:
        """Error with some inputs zeroed (see :meth:`SegmentCoder.objective`)."""
        # Zeroed inputs only: dropout also scales what is left.
        keep = self.corruption(torch.ones_like(vectors)) > 0
        given_back = self.decoders[feature](self.code(feature, vectors * keep))
        return (given_back - vectors).square().mean()

    def error(self, feature: str, vectors: Tensor) -> Tensor:
        """Error of what is given back (see :meth:`SegmentCoder.error`)."""
        return (self.decoders[feature](self.code(feature, vectors)) - vectors).square().mean()
