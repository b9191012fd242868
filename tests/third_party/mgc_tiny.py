"""Minimal LightningModule of another package that does not use mgc."""

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn


class TinyNet(LightningModule):
    """Scores clips by the energy in a few bands."""

    def __init__(self, num_classes: int, bands: int = 32, lr: float = 0.03) -> None:
        super().__init__()
        if bands < 1:
            raise ValueError(f"bands={bands}: must be at least 1")
        self.lr = lr
        self.pool = nn.AdaptiveAvgPool1d(bands)
        self.head = nn.Linear(bands, num_classes)

    def forward(self, audio: Tensor) -> Tensor:
        """Score clips of shape (batch, samples)."""
        power = torch.fft.rfft(audio).abs().square()
        return self.head(self.pool(power[:, None])[:, 0].log1p())

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Compute the loss."""
        return nn.functional.cross_entropy(self(batch["audio"]), batch["target"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer."""
        return torch.optim.Adam(self.parameters(), self.lr)
