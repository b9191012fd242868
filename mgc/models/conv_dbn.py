"""Convolutional deep belief network over beats (Dieleman, Brakel and Schrauwen, 2011)."""

import logging
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc import checkpoint
from mgc.core.lightning_internals import epochs_begun
from mgc.data.clips import Batch
from mgc.data.msd.files import DIMENSIONS
from mgc.errors import MgcError
from mgc.features.beat_batches import length_mask, repeat_short
from mgc.models.base import MusicModel
from mgc.models.conv_rbm import ConvRBM

log = logging.getLogger(__name__)

#: What pretrained weights are used for: to start from them, or from Gaussian weights of the same
#: mean and variance, layer by layer (section 6).
Start = Literal["pretrained", "matched"]

#: Layers in the order in which they learn: 1a and 1b, then 3 (section 5.1).
LAYERS = ("chroma", "timbre", "joint")

#: Seed of Gaussian weights: the same on all devices, and no matter what was drawn before.
_MATCHED_SEED = 0


class ConvDBNNet(nn.Module):
    """Two layers of convolutional machines, each followed by max-pooling.

    Chroma and timbre have a machine of their own (layers 1a and 1b), whose pooled activations
    (2a and 2b) side by side are what the joint machine sees (layer 3; pooled: layer 4). Windows and
    pools are whole, so no output depends on anything behind the end of a track.

    Attributes:
        receptive_field: Beats that one output depends on; a shorter track has none.
    """

    def __init__(
        self,
        maps: int = 100,
        width: int = 8,
        joint_width: int = 8,
        pooling: int = 4,
        sparsity: float = 0.05,
        joint_sparsity: float = 0.1,
    ) -> None:
        """Initialize a new network, to be pretrained.

        Args:
            maps: Maps of each layer.
            width: Window of the first layer in beats.
            joint_width: Window of the joint layer, in pools of beats.
            pooling: Positions that become one, after each layer.
            sparsity: Activation that the hidden units of the first layer start with.
            joint_sparsity: Activation that those of the joint layer start with.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__()
        sizes = {"maps": maps, "width": width, "joint_width": joint_width, "pooling": pooling}
        for name, size in sizes.items():
            if size < 1:
                raise MgcError(f"{name}={size}: at least 1 is needed.")
        self.pooling = pooling
        self.chroma = ConvRBM(DIMENSIONS, maps, width, "binary", sparsity)
        self.timbre = ConvRBM(DIMENSIONS, maps, width, "gaussian", sparsity)
        self.joint = ConvRBM(2 * maps, maps, joint_width, "binary", joint_sparsity)
        self.receptive_field = (pooling + joint_width - 1) * pooling + width - 1

    def machine(self, layer: str) -> ConvRBM:
        """Give the machine of a layer.

        Args:
            layer: ``chroma``, ``timbre`` or ``joint``.

        Returns:
            The machine.
        """
        return getattr(self, layer)

    def forward_first(
        self, chroma: Tensor, timbre: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute layers 2a and 2b.

        Args:
            chroma: Chroma of shape (batch, beats, 12).
            timbre: Timbre of shape (batch, beats, 12).
            length: Length of each track in beats, of shape (batch,).

        Returns:
            Pooled activations of chroma and of timbre, of shape (batch, maps, pools) each, and how
            many of them each track has, of shape (batch,).
        """
        missing = max(0, self.chroma.width + self.pooling - 1 - chroma.shape[1])
        chroma, timbre = (F.pad(x, (0, 0, 0, missing)).transpose(1, 2) for x in (chroma, timbre))
        pooled = (self._pool(self.chroma(chroma)), self._pool(self.timbre(timbre)))
        return *pooled, self.chroma.positions(length) // self.pooling

    def forward_joint(self, pooled: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Compute layer 4.

        Args:
            pooled: Layers 2a and 2b, of shape (batch, 2 maps, pools).
            length: How many pools each track has, of shape (batch,).

        Returns:
            Pooled activations of shape (batch, maps, steps), and how many of them each track has,
            of shape (batch,).
        """
        missing = max(0, self.joint.width + self.pooling - 1 - pooled.shape[2])
        steps = self._pool(self.joint(F.pad(pooled, (0, missing))))
        return steps, self.joint.positions(length) // self.pooling

    def match(self) -> None:
        """Replace weights by Gaussian ones of the same mean and variance in each layer.

        The paper's start without pretraining (section 6). It says nothing of biases: those of the
        hidden units are drawn in the same way. Were they 0, the first layer's units would be on
        half of the time in place of seldom, and so many active inputs saturate the joint layer.
        """
        generator = torch.Generator().manual_seed(_MATCHED_SEED)
        with torch.no_grad():
            for name in LAYERS:
                rbm = self.machine(name)
                for learnt in (rbm.weight, rbm.hidden_bias):
                    noise = torch.randn(learnt.shape, generator=generator).to(learnt)
                    learnt.copy_(learnt.mean() + learnt.std(correction=0) * noise)

    def _pool(self, hidden: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            # In a graph, max_pool1d would be of one length only; everywhere else it is faster.
            return F.max_pool2d(hidden, (1, self.pooling))
        return F.max_pool1d(hidden, self.pooling)


class ConvDBN(MusicModel):
    """Convolutional perceptron on chroma and timbre, with the layers of a deep belief network.

    Dieleman, Brakel and Schrauwen, "Audio-based music classification with a pretrained
    convolutional network", ISMIR 2011. Each time step of layer 4 is classified by logistic
    regression, and the posteriors of a track are the mean of its steps'; ``logits`` are their
    logarithm, and the loss is that of the mean posteriors. All layers learn, by plain gradient
    descent. A track shorter than the receptive field (51 beats) is repeated up to it.

    Without ``weights``, layers start at random in the range of Glorot and Bengio (2010) for
    sigmoid units.
    """

    kind: ClassVar[str] = "beats"

    def __init__(
        self,
        weights: str | None = None,
        start: Start = "pretrained",
        maps: int = 100,
        width: int = 8,
        joint_width: int = 8,
        pooling: int = 4,
        lr: float = 0.005,
        **kwargs: Any,
    ) -> None:
        """Initialize a new classifier.

        Args:
            weights: Checkpoint of ``conv_dbn_pretrain``, or of a ``conv_dbn``, to start from.
            start: Use the weights as they are (``pretrained``), or Gaussian ones of the same mean
                and variance (``matched``), the paper's comparison.
            maps: Maps of each layer.
            width: Window of the first layer in beats.
            joint_width: Window of the joint layer, in pools of beats.
            pooling: Positions that become one, after each layer.
            lr: Learning rate of gradient descent, unless the configuration has an ``optimizer``
                section.
            **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.

        Raises:
            MgcError: If a setting is out of range, or the task is not to tell classes apart.
        """
        super().__init__(lr=lr, **kwargs)
        if self.task != "multiclass":
            raise MgcError(f"task={self.task!r}: conv_dbn tells classes apart (multiclass).")
        if start not in get_args(Start):
            raise MgcError(f"start={start!r}: choose one of {', '.join(get_args(Start))}.")
        if start == "matched" and not weights:
            raise MgcError("start='matched': give the weights whose mean and variance to match.")
        self.weights = weights
        self.start: Start = start
        self.net = ConvDBNNet(maps, width, joint_width, pooling, 0.5, 0.5)
        for name in LAYERS:
            rbm = self.net.machine(name)
            # Four times the range for tanh, as the sigmoid's slope is a quarter of its.
            nn.init.xavier_uniform_(rbm.weight, gain=4)
            # Nothing is reconstructed here.
            rbm.visible_bias.requires_grad_(False)
        self.head = nn.Linear(maps, self.num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def load_initial_weights(self) -> None:
        """Start from the layers of another checkpoint.

        Raises:
            MgcError: If it cannot be read, holds no such layers, or layers of another size.
        """
        if not self.weights:
            return
        found = checkpoint.read(self.weights)
        layers = {
            name.removeprefix("net."): value
            for name, value in found["state_dict"].items()
            if name.startswith("net.")
        }
        own = self.net.state_dict()
        if set(layers) != set(own):
            raise MgcError(
                f"{self.weights}: holds no convolutional deep belief network. Give weights that "
                "conv_dbn_pretrain learnt."
            )
        for name, value in layers.items():
            if value.shape != own[name].shape:
                raise MgcError(
                    f"{self.weights}: {name} is of size {tuple(value.shape)}, but the model's of "
                    f"{tuple(own[name].shape)}. Set maps, width and joint_width as in pretraining."
                )
        self.net.load_state_dict(layers)
        if epochs_begun(found) <= found.get(checkpoint.HYPER, {}).get("first_epochs", 0):
            log.warning("%s: the joint layer has learnt nothing yet.", self.weights)
        if self.start == "matched":
            self.net.match()

    def forward(self, chroma: Tensor, timbre: Tensor, length: Tensor) -> Tensor:
        """Score whole tracks.

        Args:
            chroma: Chroma of shape (batch, beats, 12).
            timbre: Timbre of shape (batch, beats, 12).
            length: Length of each track in beats, of shape (batch,); later beats do not count.

        Returns:
            Logarithm of the mean posteriors over time steps, of shape (batch, classes).
        """
        steps, count = self._steps(chroma, timbre, length)[-1]
        posteriors = self.head(steps.transpose(1, 2)).float().log_softmax(2)
        inside = length_mask(count, steps.shape[2])[:, :, None]
        return posteriors.masked_fill(~inside, -torch.inf).logsumexp(1) - count[:, None].log()

    def logits(self, batch: Batch) -> Tensor:
        """Score a batch of tracks (see :meth:`forward`)."""
        return self(batch["chroma"], batch["timbre"], batch["length"])

    def features(  # type: ignore[override] # beats are no audio
        self, chroma: Tensor, timbre: Tensor, length: Tensor
    ) -> dict[str, Tensor]:
        """Compute the means of each pooled layer over time.

        Args:
            chroma: Chroma of shape (batch, beats, 12).
            timbre: Timbre of shape (batch, beats, 12).
            length: Length of each track in beats, of shape (batch,).

        Returns:
            ``chroma``, ``timbre`` and ``joint`` (layers 2a, 2b and 4), of shape (batch, maps) each.
        """
        outputs = self._steps(chroma, timbre, length)
        means = {}
        for name, (steps, count) in zip(LAYERS, outputs, strict=True):
            inside = length_mask(count, steps.shape[2])[:, None]
            means[name] = (steps * inside).sum(2) / count[:, None]
        return means

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer: gradient descent without momentum, as in the paper."""
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.SGD(learning, self.lr)

    def _steps(self, chroma: Tensor, timbre: Tensor, length: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Layers 2a, 2b and 4, and how many steps each track has in them."""
        both = torch.cat([chroma, timbre], 2)
        both, length = repeat_short(both, length, self.net.receptive_field)
        chroma, timbre = both.split(DIMENSIONS, 2)
        first = self.net.forward_first(chroma, timbre, length)
        joint = self.net.forward_joint(torch.cat(first[:2], 1), first[2])
        return [(first[0], first[2]), (first[1], first[2]), joint]
