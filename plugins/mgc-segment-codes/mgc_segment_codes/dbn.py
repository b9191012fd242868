"""Stacked restricted Boltzmann machines."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.errors import MgcError
from mgc_segment_codes.base import SegmentCoder


class Machine(nn.Module):
    """Restricted Boltzmann machine with binary hidden units.

    Hinton, "A practical guide to training restricted Boltzmann machines", 2010.
    """

    def __init__(self, visible: int, hidden: int, gaussian: bool) -> None:
        """Initialize a new machine.

        Args:
            visible: Visible units.
            hidden: Hidden units.
            gaussian: Whether visible units are Gaussian with variance 1, or binary.
        """
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(hidden, visible))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.gaussian = gaussian

    def up(self, visible: Tensor) -> Tensor:
        """Probabilities of the hidden units."""
        return F.linear(visible, self.weight, self.hidden_bias).sigmoid()

    def down(self, hidden: Tensor) -> Tensor:
        """Means of the visible units."""
        mean = F.linear(hidden, self.weight.T, self.visible_bias)
        return mean if self.gaussian else mean.sigmoid()

    def free_energy(self, visible: Tensor) -> Tensor:
        """Free energy of each row of visible units."""
        bound = F.softplus(F.linear(visible, self.weight, self.hidden_bias)).sum(-1)
        if self.gaussian:
            return (visible - self.visible_bias).square().sum(-1) / 2 - bound
        return -visible @ self.visible_bias - bound

    def divergence(self, visible: Tensor) -> Tensor:
        """Contrastive divergence of one step: its gradient is that of Hinton (2002).

        Args:
            visible: Data of shape (rows, visible).

        Returns:
            A scalar.
        """
        with torch.no_grad():
            reconstruction = self.down(self.up(visible).bernoulli())
        return (self.free_energy(visible) - self.free_energy(reconstruction)).mean()


class DeepBeliefNet(SegmentCoder):
    """Deep belief net of segments, and max-pooling.

    Restricted Boltzmann machines on top of one another, the lowest with Gaussian inputs. Each
    learns for ``layer_epochs`` epochs, from the lowest up, the topmost as long as there are epochs;
    which one learns follows from the epoch, so that a run can be resumed. Codes are the
    probabilities of the topmost hidden units. There is no supervised fine-tuning.

    Hinton, Osindero and Teh, "A fast learning algorithm for deep belief nets", Neural Computation,
    2006; for music Hamel and Eck, ISMIR 2010.
    """

    def __init__(
        self,
        units: int = 256,
        layers: int = 2,
        layer_epochs: int = 5,
        lr: float = 0.01,
        **kwargs: Any,
    ) -> None:
        """Initialize a new model.

        Args:
            units: Hidden units of each layer.
            layers: Number of machines.
            layer_epochs: Epochs in which a machine learns before the next one begins.
            lr: Learning rate of gradient descent.
            **kwargs: Arguments of :class:`mgc_segment_codes.base.SegmentCoder`.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__(lr=lr, **kwargs)
        self.make_head(units)
        if layers < 1 or layer_epochs < 1:
            raise MgcError("layers and layer_epochs: at least 1 is needed.")
        self.layer_epochs = layer_epochs
        self.stacks = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    Machine(units if layer else width, units, gaussian=not layer)
                    for layer in range(layers)
                )
                for name, width in self.segments.dimensions.items()
            }
        )

    def code(self, feature: str, vectors: Tensor) -> Tensor:
        """Probabilities of the topmost hidden units (see :meth:`SegmentCoder.code`)."""
        for machine in self.stacks[feature]:
            vectors = machine.up(vectors)
        return vectors

    def objective(self, feature: str, vectors: Tensor) -> Tensor:
        """Divergence of the machine that learns in this epoch."""
        stack = self.stacks[feature]
        active = min(self.current_epoch // self.layer_epochs, len(stack) - 1)
        with torch.no_grad():
            for machine in stack[:active]:
                vectors = machine.up(vectors)
        # The others take part with nothing, as several devices wait for every gradient.
        idle = sum(p.sum() for m in stack for p in m.parameters())
        return stack[active].divergence(vectors) + 0 * idle

    def error(self, feature: str, vectors: Tensor) -> Tensor:
        """Error of the vectors given back from the top (see :meth:`SegmentCoder.error`)."""
        given_back = self.code(feature, vectors)
        for machine in reversed(self.stacks[feature]):
            given_back = machine.down(given_back)
        return (given_back - vectors).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make plain gradient descent, which moves no machine that does not learn."""
        return torch.optim.SGD(self.parameters(), self.lr)
