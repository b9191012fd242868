"""Convolutional restricted Boltzmann machine over time (Lee, Grosse, Ranganath and Ng, 2009)."""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc.features.beat_batches import length_mask

#: Type of the visible units: binary, with values in [0, 1] as probabilities, or real numbers.
Visible = Literal["binary", "gaussian"]

#: Standard deviation of the initial weights (Hinton, "A practical guide to training restricted
#: Boltzmann machines", 2010, section 8).
WEIGHT_STD = 0.01

#: Maximum number of positions per batch for ranking activations. Sorting more positions would
#: dominate the run time, and change a rank by less than 1 / 1024.
MAX_RANKED = 1024


class Divergence(NamedTuple):
    """Loss and statistics of one step of contrastive divergence on a batch.

    The loss is the sum over all positions of the hidden units. The squared reconstruction error and
    the activation of the hidden units are means.
    """

    loss: Tensor
    positions: Tensor
    error: Tensor
    activation: Tensor


class ConvRBM(nn.Module):
    """Restricted Boltzmann machine whose hidden units see a window of a sequence.

    A hidden unit sees ``width`` beats, with the weights of its map, at every position where a
    complete window fits ("valid"). Sequences are padded at the end; the padding is ignored, and so
    are sequences shorter than a window. ``activation`` is the initial activation of the hidden
    units, between 0 and 1.

    With x the sum of a hidden unit's bias and inputs, the free energy of a sequence v is
    -b·v - Σ log(1 + eˣ) for binary, ½ Σ (v - b)² - Σ log(1 + eˣ) for Gaussian visible units (of
    unit variance); b is the same for all beats.
    """

    def __init__(
        self, visible: int, hidden: int, width: int, kind: Visible, activation: float = 0.5
    ) -> None:
        super().__init__()
        self.width = width
        self.kind: Visible = kind
        self.weight = nn.Parameter(WEIGHT_STD * torch.randn(hidden, visible, width))
        start = math.log(activation / (1 - activation))
        self.hidden_bias = nn.Parameter(torch.full((hidden,), start))
        self.visible_bias = nn.Parameter(torch.zeros(visible))

    def positions(self, length: Tensor) -> Tensor:
        """Return the number of complete windows in sequences, given their lengths in beats."""
        return (length - self.width + 1).clamp(min=0)

    def inputs(self, visible: Tensor) -> Tensor:
        """Return bias plus inputs of the hidden units, of shape (batch, hidden, positions)."""
        return F.conv1d(visible, self.weight, self.hidden_bias)

    def forward(self, visible: Tensor) -> Tensor:
        """Return the probabilities of the hidden units, of shape (batch, hidden, positions)."""
        return self.inputs(visible).sigmoid()

    def reconstruct(self, hidden: Tensor) -> Tensor:
        """Return the means of the visible units, of shape (batch, visible, beats)."""
        means = F.conv_transpose1d(hidden, self.weight) + self.visible_bias[:, None]
        return means.sigmoid() if self.kind == "binary" else means

    def free_energy(self, visible: Tensor, length: Tensor) -> Tensor:
        """Return the free energy of each sequence, of shape (batch,); 0 if shorter than a window.

        Sequences have shape (batch, visible, beats), their lengths in beats (batch,). Padding may
        have any finite value.
        """
        visible, length = self._windowed(visible, length)
        return self._free_energy(visible, self.inputs(visible).float(), length)

    def contrastive_divergence(
        self,
        visible: Tensor,
        length: Tensor,
        sparsity: float | None = None,
        sparsity_cost: float = 0.0,
        sample: bool = True,
    ) -> Divergence:
        """Compute one step of contrastive divergence (CD-1).

        The loss is the free energy of the data minus that of their reconstruction, which is held
        constant. Its gradient is the update, so it works with any optimizer and several devices.
        Only the hidden states for the reconstruction are sampled; all other values are means.

        For sparsity, the activations h of the data are replaced by (1 - cost) h + cost p in the
        update (Goh, Thome and Cord, "Biasing restricted Boltzmann machines to manipulate latent
        selectivity and sparsity", 2010). The targets p are r^(1 / sparsity - 1), where r are the
        ranks of a map's activations over all positions, from 0 to 1; their mean is ``sparsity``.
        This is the gradient of cost times the cross-entropy of h and p.

        For ``visible`` and ``length``, see :meth:`free_energy`. Without ``sample``, the hidden
        states are their means, as in evaluation.
        """
        visible, length = self._windowed(visible, length)
        x = self.inputs(visible).float()
        count = self.positions(length)
        inside = length_mask(count, x.shape[2])
        with torch.no_grad():
            hidden = x.sigmoid() * inside[:, None]
            states = (torch.rand_like(hidden) < hidden).to(hidden) if sample else hidden
            reconstruction = self.reconstruct(states)
            beats = length_mask(length, visible.shape[2])[:, None]
            squares = (reconstruction.float() - visible).square() * beats
            error = squares.sum() / (beats.sum() * visible.shape[1]).clamp(min=1)
            total = count.sum()
            activation = hidden.sum() / (total * hidden.shape[1]).clamp(min=1)
        negative = self._free_energy(reconstruction, self.inputs(reconstruction).float(), length)
        loss = (self._free_energy(visible, x, length) - negative).sum()
        if sparsity is not None and sparsity_cost:
            track, position = inside.nonzero().unbind(1)
            sampled = slice(None, None, max(1, -(-len(track) // MAX_RANKED)))
            penalty = _sparsity_penalty(x[track[sampled], :, position[sampled]], sparsity)
            loss = loss + sparsity_cost * total * penalty
        return Divergence(loss, total, error, activation)

    def _windowed(self, visible: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Set the length of sequences without a window to 0, and pad the batch to one window."""
        missing = max(0, self.width - visible.shape[2])
        return F.pad(visible, (0, missing)), length * (length >= self.width)

    def _free_energy(self, visible: Tensor, x: Tensor, length: Tensor) -> Tensor:
        hidden = -F.logsigmoid(-x).sum(1) * length_mask(self.positions(length), x.shape[2])
        bias = self.visible_bias[:, None]
        if self.kind == "binary":
            energy = -(bias * visible.float()).sum(1)
        else:
            energy = 0.5 * (visible.float() - bias).square().sum(1)
        energy = energy * length_mask(length, visible.shape[2])
        return energy.sum(1) - hidden.sum(1)


def _sparsity_penalty(x: Tensor, sparsity: float) -> Tensor:
    """Return the cross-entropy of activations and targets: sum over maps, mean over positions."""
    if len(x) < 2:
        return 0 * x.sum()
    ranked = torch.linspace(0, 1, len(x), device=x.device).pow(1 / sparsity - 1)
    order = x.detach().argsort(0)
    targets = torch.empty_like(x).scatter_(0, order, ranked[:, None].expand_as(x))
    return F.binary_cross_entropy_with_logits(x, targets, reduction="sum") / len(x)
