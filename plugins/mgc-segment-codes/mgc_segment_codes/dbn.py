"""Deep belief net of stacked restricted Boltzmann machines."""

import logging
from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.core.ranges import BatchSize, Dropout, Epochs, Range, Width
from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.models.base import readable
from mgc_segment_codes.base import SegmentCoder

log = logging.getLogger(__name__)

#: Standard deviation of the initial weights (Hinton 2010, section 8).
WEIGHT_STD = 0.01

#: Momentum in the first epoch of a machine (Hinton 2010, section 9).
FIRST_MOMENTUM = 0.5

#: Reconstruction error relative to the energy of the vectors at which training stops.
DIVERGED = 10

#: Number of training segments for the free energy gap.
COMPARED = 1024

Positive = Annotated[float, Range(0, 1000, closed="right")]


class Machine(nn.Module):
    """Restricted Boltzmann machine with binary hidden units.

    Let x be the bias plus weighted inputs of a hidden unit. The free energy of visible units v is
    -b·v - Σ log(1 + eˣ) for binary and ½ Σ (v - b)² / σ² - Σ log(1 + eˣ) for Gaussian units. Inputs
    from Gaussian units are v / σ.

    Hinton, "A practical guide to training restricted Boltzmann machines", 2010.
    """

    def __init__(self, visible: int, hidden: int, noise: float | None = None) -> None:
        """Initialize the machine.

        Args:
            visible: Number of visible units.
            hidden: Number of hidden units.
            noise: σ, the standard deviation of Gaussian visible units; None for binary units.
        """
        super().__init__()
        self.weight = nn.Parameter(WEIGHT_STD * torch.randn(hidden, visible))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.noise = noise

    def inputs(self, visible: Tensor) -> Tensor:
        """Return bias plus weighted inputs of the hidden units."""
        return F.linear(visible / (self.noise or 1), self.weight, self.hidden_bias)

    def up(self, visible: Tensor) -> Tensor:
        """Return the probabilities of the hidden units."""
        return self.inputs(visible).sigmoid()

    def down(self, hidden: Tensor) -> Tensor:
        """Return the means of the visible units."""
        if self.noise is None:
            return F.linear(hidden, self.weight.T, self.visible_bias).sigmoid()
        return self.noise * F.linear(hidden, self.weight.T) + self.visible_bias

    def free_energy(self, visible: Tensor) -> Tensor:
        """Return the free energy of each row of visible units."""
        bound = F.softplus(self.inputs(visible)).sum(-1)
        if self.noise is None:
            return -visible @ self.visible_bias - bound
        return ((visible - self.visible_bias) / self.noise).square().sum(-1) / 2 - bound

    def divergence(self, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one step of contrastive divergence (CD-1), whose gradient is Hinton's (2002).

        Hidden states are sampled; reconstructions are means.

        Args:
            visible: Data of shape (rows, visible).

        Returns:
            Free energy of the data minus that of the reconstruction, averaged over rows (0 without
            rows), and the sum of the squared errors of the reconstruction.
        """
        with torch.no_grad():
            hidden = self.up(visible)
            # Unlike torch.bernoulli, a comparison accepts NaN, and the error becomes NaN.
            again = self.down((torch.rand_like(hidden) < hidden).to(hidden))
            error = (again - visible).square().sum()
        contrast = self.free_energy(visible) - self.free_energy(again)
        return contrast.sum() / max(1, len(visible)), error


class DeepBeliefNet(SegmentCoder):
    """Deep belief net of segments, with max-pooling over the track.

    It stacks restricted Boltzmann machines, the lowest with Gaussian inputs. Starting with the
    lowest, each machine is trained for ``layer_epochs`` epochs, the topmost for all remaining
    epochs. The epoch determines the machine, so that a run can be resumed. Codes are the
    probabilities of the topmost hidden units, or with ``all_layers`` those of all layers, as in
    Hamel and Eck's system, without supervised fine-tuning.

    The segments of a batch of tracks are shuffled and divided into mini-batches. Each mini-batch
    is one step of contrastive divergence with momentum. Optimization is manual: an ``optimizer``
    section, gradient clipping and accumulation are not supported.

    ``noise`` is the standard deviation of Gaussian units around their means. Choose it below 1, the
    standard deviation of whitened vectors; otherwise units stay near 0.5 for all inputs.

    Validation logs for each feature and machine, numbered from 1: ``val/…_unexplained_1``, the
    reconstruction error relative to the variance of the inputs; ``val/…_spread_1``, the mean
    standard deviation of the hidden units over segments; and ``val/…_free_energy_gap_1``, the free
    energy of validation segments minus that of a fixed set of training segments, which grows when
    the machine overfits (Hinton 2010, section 6).

    Hinton, Osindero and Teh, "A fast learning algorithm for deep belief nets", Neural Computation,
    2006; for music Hamel and Eck, ISMIR 2010.
    """

    def __init__(
        self,
        units: Width = 256,
        layers: Annotated[int, Range(1, 100)] = 2,
        all_layers: bool = False,
        layer_epochs: Epochs = 5,
        noise: Positive = 0.5,
        lr_gaussian: Positive = 0.003,
        lr_binary: Positive = 0.05,
        momentum: Dropout = 0.9,
        mini_batch: BatchSize = 128,
        **kwargs: Any,
    ) -> None:
        """Initialize the model.

        Args:
            units: Number of hidden units in each layer.
            layers: Number of machines.
            all_layers: Whether codes are the concatenated hidden units of all layers, lowest first,
                instead of those of the topmost.
            layer_epochs: Number of epochs of each machine before the next one is trained.
            noise: Standard deviation of the Gaussian inputs around their means.
            lr_gaussian: Learning rate of the lowest machine.
            lr_binary: Learning rate of the others.
            momentum: Momentum of gradient descent; at most 0.5 in the first epoch of a machine.
            mini_batch: Number of segments per step.
            **kwargs: Arguments of :class:`mgc_segment_codes.base.SegmentCoder`; ``lr`` is the
                learning rate of the linear layer.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__(**kwargs)
        self.make_head(units * layers if all_layers else units)
        self.all_layers = all_layers
        self.layer_epochs = layer_epochs
        self.rates = [lr_gaussian] + (layers - 1) * [lr_binary]
        self.momentum = momentum
        self.mini_batch = mini_batch
        self.automatic_optimization = False
        self.stacks = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    Machine(units if layer else width, units, None if layer else noise)
                    for layer in range(layers)
                )
                for name, width in self.segments.dimensions.items()
            }
        )
        for name, width in self.segments.dimensions.items():
            self.register_buffer(f"compared_{name}", torch.zeros(COMPARED, width))

    def on_fit_start(self) -> None:
        """Fit the whitening, and warn if training ends before the topmost machine is trained."""
        super().on_fit_start()
        begins, epochs = (len(self.rates) - 1) * self.layer_epochs, self.trainer.max_epochs
        if epochs is not None and 0 <= epochs <= begins and self.trainer.is_global_zero:
            log.warning(
                "segment_dbn: training ends after %d epochs; the topmost layer, whose units are "
                "codes, learns from epoch %d on. Raise trainer.max_epochs or lower layer_epochs.",
                epochs,
                begins + 1,
            )

    def stack(self, feature: str) -> list[Machine]:
        """Return the machines of a feature, lowest first."""
        return [m for m in self.stacks[feature].children() if isinstance(m, Machine)]

    def learning(self) -> int:
        """Return the index of the machine to train in this epoch."""
        return min(self.current_epoch // self.layer_epochs, len(self.rates) - 1)

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Save training segments for the free energy gap."""
        for name, vectors in samples.items():
            rows = torch.arange(COMPARED, device=vectors.device) % len(vectors)
            self.get_buffer(f"compared_{name}").copy_(vectors[rows])

    def hidden(self, feature: str, vectors: Tensor) -> list[Tensor]:
        """Return the probabilities of the hidden units of each layer, lowest first."""
        layers = []
        for machine in self.stack(feature):
            vectors = machine.up(vectors)
            layers.append(vectors)
        return layers

    def code(self, feature: str, vectors: Tensor) -> Tensor:
        """Return the probabilities of the topmost hidden units, or of all layers."""
        layers = self.hidden(feature, vectors)
        return torch.cat(layers, -1) if self.all_layers else layers[-1]

    def error(self, feature: str, vectors: Tensor) -> Tensor:
        """Return the error of reconstructing vectors from the topmost layer."""
        reconstruction = self.hidden(feature, vectors)[-1]
        for machine in reversed(self.stack(feature)):
            reconstruction = machine.down(reconstruction)
        return (reconstruction - vectors).square().mean()

    def measures(self, feature: str, vectors: Tensor) -> dict[str, Tensor]:
        """Return the measures of each machine; see the class."""
        found, compared = {}, self.get_buffer(f"compared_{feature}")
        for number, machine in enumerate(self.stack(feature), 1):
            hidden = machine.up(vectors)
            error = (machine.down(hidden) - vectors).square().mean()
            variance = vectors.var(0, correction=0).mean()
            gap = machine.free_energy(vectors).mean() - machine.free_energy(compared).mean()
            found[f"unexplained_{number}"] = error / variance.clamp(min=1e-12)
            found[f"spread_{number}"] = hidden.std(0, correction=0).mean()
            found[f"free_energy_gap_{number}"] = gap
            vectors, compared = hidden, machine.up(compared)
        return found

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Train the current machine on each mini-batch, and the linear layer on the batch.

        Raises:
            MgcError: If a machine diverges.
        """
        loss, vectors = self.linear_loss(readable(batch))
        layer = self.learning()
        machines = {name: self.stack(name)[layer] for name in self.stacks}
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            for name in self.stacks:
                for machine in self.stack(name)[:layer]:
                    vectors[name] = machine.up(vectors[name])
        *optimizers, linear = self._own_optimizers()
        first = self.current_epoch == layer * self.layer_epochs
        for group in optimizers[layer].param_groups:
            group["momentum"] = min(FIRST_MOMENTUM, self.momentum) if first else self.momentum
        linear.zero_grad()
        errors = dict.fromkeys(machines, torch.zeros((), device=self.device))
        parts = self._mini_batches(len(next(iter(vectors.values()))))
        for number, rows in enumerate(parts, 1):
            # Other parameters get zero gradients, because several devices wait for all gradients.
            contrast = torch.stack([0 * p.sum() for p in self.parameters()]).sum()
            with torch.autocast(self.device.type, enabled=False):
                for name, machine in machines.items():
                    part, error = machine.divergence(vectors[name][rows])
                    contrast, errors[name] = contrast + part, errors[name] + error
            optimizers[layer].zero_grad()
            self.manual_backward(contrast + loss if number == len(parts) else contrast)
            optimizers[layer].step()
        linear.step()
        self._log_errors(layer, errors, vectors)
        return loss.detach()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return an SGD optimizer for each layer, and Adam for the linear layer.

        With separate optimizers, momentum does not move machines that are not being trained.
        """
        layers = [
            torch.optim.SGD(
                [p for name in self.stacks for p in self.stack(name)[layer].parameters()], rate
            )
            for layer, rate in enumerate(self.rates)
        ]
        return [*layers, torch.optim.Adam(self.head.parameters(), self.lr)]

    def _own_optimizers(self) -> list[Any]:
        optimizers = self.optimizers()
        if not isinstance(optimizers, list) or len(optimizers) != len(self.rates) + 1:
            raise MgcError(
                "segment_dbn has an optimizer for each layer: leave the optimizer section out of "
                "the configuration, and set lr_gaussian, lr_binary and momentum."
            )
        return optimizers

    def _mini_batches(self, count: int) -> tuple[Tensor, ...]:
        """Divide shuffled segments into mini-batches, the same number on all devices."""
        number = torch.tensor(float(max(1, round(count / self.mini_batch))), device=self.device)
        most = self.trainer.strategy.reduce(number, reduce_op="max")
        return torch.randperm(count, device=self.device).tensor_split(int(most))

    def _log_errors(
        self, layer: int, errors: dict[str, Tensor], vectors: dict[str, Tensor]
    ) -> None:
        """Log the errors of a batch, and raise an error if a machine diverges."""
        for name, x in vectors.items():
            # Reduced over devices, so that all of them stop.
            sums = torch.stack([errors[name], x.square().sum()])
            error, energy = self.trainer.strategy.reduce(sums, reduce_op="mean")
            self.log(f"train/{name}_error_{layer + 1}", error / energy.clamp(min=1e-12))
            if not error <= DIVERGED * energy:
                rate = "lr_binary" if layer else "lr_gaussian"
                raise MgcError(
                    f"{name}, machine {layer + 1} of segment_dbn: diverges. Lower {rate} (it is "
                    f"{self.rates[layer]:g})."
                )
