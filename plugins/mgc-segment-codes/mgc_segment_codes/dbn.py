"""Stacked restricted Boltzmann machines."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.models.base import readable
from mgc_segment_codes.base import SegmentCoder

log = logging.getLogger(__name__)

#: Standard deviation of the first weights (Hinton 2010, section 8).
WEIGHT_STD = 0.01

#: Momentum in the first epoch of a machine, in which weights move far (Hinton 2010, section 9).
FIRST_MOMENTUM = 0.5

#: A machine whose reconstructions are so many times worse than none at all diverges.
DIVERGED = 10

#: Training segments that the free energy of held-out ones is compared with.
COMPARED = 1024


class Machine(nn.Module):
    """Restricted Boltzmann machine with binary hidden units.

    With x the sum of a hidden unit's bias and inputs, the free energy of visible units v is
    -b·v - Σ log(1 + eˣ) for binary, ½ Σ (v - b)² / σ² - Σ log(1 + eˣ) for Gaussian ones, whose
    inputs to the hidden units are v / σ.

    Hinton, "A practical guide to training restricted Boltzmann machines", 2010.
    """

    def __init__(self, visible: int, hidden: int, noise: float | None = None) -> None:
        """Initialize a new machine.

        Args:
            visible: Visible units.
            hidden: Hidden units.
            noise: σ, the standard deviation of Gaussian visible units about their means; nothing
                for binary ones.
        """
        super().__init__()
        self.weight = nn.Parameter(WEIGHT_STD * torch.randn(hidden, visible))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.noise = noise

    def inputs(self, visible: Tensor) -> Tensor:
        """Sums of bias and inputs of the hidden units."""
        return F.linear(visible / (self.noise or 1), self.weight, self.hidden_bias)

    def up(self, visible: Tensor) -> Tensor:
        """Probabilities of the hidden units."""
        return self.inputs(visible).sigmoid()

    def down(self, hidden: Tensor) -> Tensor:
        """Means of the visible units."""
        if self.noise is None:
            return F.linear(hidden, self.weight.T, self.visible_bias).sigmoid()
        return self.noise * F.linear(hidden, self.weight.T) + self.visible_bias

    def free_energy(self, visible: Tensor) -> Tensor:
        """Free energy of each row of visible units."""
        bound = F.softplus(self.inputs(visible)).sum(-1)
        if self.noise is None:
            return -visible @ self.visible_bias - bound
        return ((visible - self.visible_bias) / self.noise).square().sum(-1) / 2 - bound

    def divergence(self, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Contrastive divergence of one step (CD-1).

        Hidden states are sampled, as the guide has it, and reconstructions are means. The gradient
        of the first result is that of Hinton (2002).

        Args:
            visible: Data of shape (rows, visible).

        Returns:
            Free energy of the data less that of their reconstruction, mean of the rows (0 if there
            are none), and the sum of the squared errors of the reconstruction.
        """
        with torch.no_grad():
            hidden = self.up(visible)
            # Drawn by comparison, which takes NaN; the error then tells of it.
            again = self.down((torch.rand_like(hidden) < hidden).to(hidden))
            error = (again - visible).square().sum()
        contrast = self.free_energy(visible) - self.free_energy(again)
        return contrast.sum() / max(1, len(visible)), error


class DeepBeliefNet(SegmentCoder):
    """Deep belief net of segments, and max-pooling.

    Restricted Boltzmann machines on top of one another, the lowest with Gaussian inputs. Each
    learns for ``layer_epochs`` epochs, from the lowest up, the topmost as long as there are epochs;
    which one learns follows from the epoch, so that a run can be resumed. Codes are the
    probabilities of the topmost hidden units. There is no supervised fine-tuning.

    The segments of a batch of tracks are shuffled and cut into mini-batches, each one step of
    contrastive divergence with momentum. So the model steps its optimizers by itself: an
    ``optimizer`` section, gradient clipping and accumulation are not for it.

    Gaussian units have the standard deviation ``noise`` about their means. Whitened vectors have
    the standard deviation 1: if all of that were noise, nothing would be left to learn, and units
    stay near a half whatever they see.

    Logged for each feature and machine, numbered from 1, on held-out tracks (``val/``):
    ``…_unexplained_1``, the error of its reconstruction as a share of the variance of its inputs;
    ``…_spread_1``, the standard deviation of its hidden units over the segments, their mean; and
    ``…_free_energy_gap_1``, the free energy of held-out segments less that of training segments,
    always the same ones: if it grows, the machine begins to overfit (Hinton 2010, section 6).

    Hinton, Osindero and Teh, "A fast learning algorithm for deep belief nets", Neural Computation,
    2006; for music Hamel and Eck, ISMIR 2010.
    """

    def __init__(
        self,
        units: int = 256,
        layers: int = 2,
        layer_epochs: int = 5,
        noise: float = 0.5,
        lr_gaussian: float = 0.003,
        lr_binary: float = 0.05,
        momentum: float = 0.9,
        mini_batch: int = 128,
        **kwargs: Any,
    ) -> None:
        """Initialize a new model.

        Args:
            units: Hidden units of each layer.
            layers: Number of machines.
            layer_epochs: Epochs in which a machine learns before the next one begins.
            noise: Standard deviation of the vectors about what the lowest machine makes of them.
            lr_gaussian: Learning rate of the lowest machine.
            lr_binary: Learning rate of the others.
            momentum: Of gradient descent, after the first epoch of a machine, in which it is at
                most 0.5.
            mini_batch: Segments of a step.
            **kwargs: Arguments of :class:`mgc_segment_codes.base.SegmentCoder`; ``lr`` is the
                learning rate of the linear layer.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__(**kwargs)
        self.make_head(units)
        if min(layers, layer_epochs, mini_batch) < 1:
            raise MgcError("layers, layer_epochs and mini_batch: at least 1 is needed.")
        above = {"noise": noise, "lr_gaussian": lr_gaussian, "lr_binary": lr_binary}
        for key, value in above.items():
            if not value > 0:
                raise MgcError(f"{key}={value}: must be greater than 0.")
        if not 0 <= momentum < 1:
            raise MgcError(f"momentum={momentum}: must be at least 0 and below 1.")
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
        """Fit the whitening, and tell if training ends before the topmost machine learns."""
        super().on_fit_start()
        begins, epochs = (len(self.rates) - 1) * self.layer_epochs, self.trainer.max_epochs
        if epochs is not None and 0 <= epochs <= begins and self.trainer.is_global_zero:
            log.warning(
                "segment_dbn: training ends after %d epochs; the topmost layer, which gives the "
                "codes, learns from epoch %d on. Raise trainer.max_epochs or lower layer_epochs.",
                epochs,
                begins + 1,
            )

    def stack(self, feature: str) -> list[Machine]:
        """Machines of a feature, the lowest first."""
        return [m for m in self.stacks[feature].children() if isinstance(m, Machine)]

    def learning(self) -> int:
        """Number, from 0, of the machine that learns in this epoch."""
        return min(self.current_epoch // self.layer_epochs, len(self.rates) - 1)

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Keep segments to compare with (see :meth:`SegmentCoder.prepare`)."""
        for name, vectors in samples.items():
            rows = torch.arange(COMPARED, device=vectors.device) % len(vectors)
            self.get_buffer(f"compared_{name}").copy_(vectors[rows])

    def code(self, feature: str, vectors: Tensor) -> Tensor:
        """Probabilities of the topmost hidden units (see :meth:`SegmentCoder.code`)."""
        for machine in self.stack(feature):
            vectors = machine.up(vectors)
        return vectors

    def error(self, feature: str, vectors: Tensor) -> Tensor:
        """Error of the vectors given back from the top (see :meth:`SegmentCoder.error`)."""
        given_back = self.code(feature, vectors)
        for machine in reversed(self.stack(feature)):
            given_back = machine.down(given_back)
        return (given_back - vectors).square().mean()

    def measures(self, feature: str, vectors: Tensor) -> dict[str, Tensor]:
        """What is measured of each machine (see :meth:`SegmentCoder.measures`)."""
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
        """Take a step of the machine that learns for every mini-batch, and one of the linear layer.

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
            # The others take part with nothing, as several devices wait for every gradient.
            contrast = torch.stack([0 * p.sum() for p in self.parameters()]).sum()
            with torch.autocast(self.device.type, enabled=False):
                for name, machine in machines.items():
                    part, error = machine.divergence(vectors[name][rows])
                    contrast, errors[name] = contrast + part, errors[name] + error
            optimizers[layer].zero_grad()
            self.manual_backward(contrast + loss if number == len(parts) else contrast)
            optimizers[layer].step()
        linear.step()
        self._note(layer, errors, vectors)
        return loss.detach()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Make gradient descent for each layer's machines, and Adam for the linear layer.

        Apart, so that a machine that does not learn is not moved by momentum.
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
        """Cut shuffled segments into mini-batches, as many on every device."""
        wanted = torch.tensor(float(max(1, round(count / self.mini_batch))), device=self.device)
        most = self.trainer.strategy.reduce(wanted, reduce_op="max")
        return torch.randperm(count, device=self.device).tensor_split(int(most))

    def _note(self, layer: int, errors: dict[str, Tensor], vectors: dict[str, Tensor]) -> None:
        """Log the errors of a batch, and stop if a machine diverges."""
        for name, x in vectors.items():
            # Of all devices, as they stop together.
            sums = torch.stack([errors[name], x.square().sum()])
            error, energy = self.trainer.strategy.reduce(sums, reduce_op="mean")
            self.log(f"train/{name}_error_{layer + 1}", error / energy.clamp(min=1e-12))
            if not error <= DIVERGED * energy:
                rate = "lr_binary" if layer else "lr_gaussian"
                raise MgcError(
                    f"{name}, machine {layer + 1} of segment_dbn: diverges. Lower {rate} (it is "
                    f"{self.rates[layer]:g})."
                )
