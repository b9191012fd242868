"""Convolutional deep belief network over beats (Dieleman, Brakel and Schrauwen, 2011)."""

import logging
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgc import checkpoint
from mgc.core.lightning_internals import epochs_begun
from mgc.core.ranges import CheckedArguments, LearningRate, Range, Share
from mgc.data.msd.files import DIMENSIONS
from mgc.errors import MgcError
from mgc.features.beat_batches import length_mask, repeat_short
from mgc.models.beat_windows import BeatClassifier, average_posteriors
from mgc.models.conv_rbm import ConvRBM
from mgc.models.weight_files import select_weights

log = logging.getLogger(__name__)

#: Initial weights: the pretrained ones, or Gaussian ones with the mean and variance of each layer
#: (section 6).
Start = Literal["pretrained", "matched"]

#: Layers in the order of training: 1a and 1b, then 3 (section 5.1).
LAYERS = ("chroma", "timbre", "joint")

#: Seed of the Gaussian weights, so that all devices draw the same ones.
_MATCHED_SEED = 0


class ConvDBNNet(CheckedArguments, nn.Module):
    """Two layers of convolutional RBMs, each followed by max-pooling.

    Chroma and timbre each have an RBM (layers 1a and 1b). Their pooled activations (2a and 2b) are
    concatenated as the input of the joint RBM (layer 3, pooled: layer 4). Only complete windows and
    pools count, so the padding after a track does not affect its outputs. A track shorter than the
    ``receptive_field`` in beats has no outputs. ``sparsity`` is the initial activation of the
    hidden units.
    """

    def __init__(
        self,
        maps: Annotated[int, Range(1, 2**14)] = 100,
        width: Annotated[int, Range(1, 1024)] = 8,
        joint_width: Annotated[int, Range(1, 1024)] = 8,
        pooling: Annotated[int, Range(1, 1024)] = 4,
        sparsity: Share = 0.05,
        joint_sparsity: Share = 0.1,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.chroma = ConvRBM(DIMENSIONS, maps, width, "binary", sparsity)
        self.timbre = ConvRBM(DIMENSIONS, maps, width, "gaussian", sparsity)
        self.joint = ConvRBM(2 * maps, maps, joint_width, "binary", joint_sparsity)
        self.receptive_field = (pooling + joint_width - 1) * pooling + width - 1

    def machine(self, layer: str) -> ConvRBM:
        """Return the RBM of a layer: ``chroma``, ``timbre`` or ``joint``."""
        return getattr(self, layer)

    def forward_first(
        self, chroma: Tensor, timbre: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return layers 2a and 2b, and the number of pools of each track.

        Both layers have shape (batch, maps, pools).
        """
        missing = max(0, self.chroma.width + self.pooling - 1 - chroma.shape[1])
        chroma, timbre = (F.pad(x, (0, 0, 0, missing)).transpose(1, 2) for x in (chroma, timbre))
        pooled = (self._pool(self.chroma(chroma)), self._pool(self.timbre(timbre)))
        return *pooled, self.chroma.positions(length) // self.pooling

    def forward_joint(self, pooled: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Return layer 4, of shape (batch, maps, steps), and the number of steps of each track.

        The input is layers 2a and 2b, of shape (batch, 2 * maps, pools).
        """
        missing = max(0, self.joint.width + self.pooling - 1 - pooled.shape[2])
        steps = self._pool(self.joint(F.pad(pooled, (0, missing))))
        return steps, self.joint.positions(length) // self.pooling

    def match(self) -> None:
        """Replace the weights of each layer by Gaussian ones of the same mean and variance.

        The paper (section 6) does not mention biases; hidden biases are drawn in the same way,
        since zero biases would saturate the joint layer.
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
            # In an exported graph, max_pool1d supports only one length. Otherwise it is faster.
            return F.max_pool2d(hidden, (1, self.pooling))
        return F.max_pool1d(hidden, self.pooling)


class ConvDBN(BeatClassifier):
    """Convolutional network on chroma and timbre, with the layers of a deep belief network.

    Dieleman, Brakel and Schrauwen, "Audio-based music classification with a pretrained
    convolutional network", ISMIR 2011. Logistic regression classifies each time step of layer 4,
    and a track's posteriors are the mean over its steps. All layers are trained by plain gradient
    descent. A track shorter than the receptive field (51 beats) is repeated to that length. Without
    ``weights``, layers are initialized as in Glorot and Bengio (2010) for sigmoid units.

    Args:
        weights: Checkpoint of ``conv_dbn_pretrain`` or ``conv_dbn`` with the initial weights.
        start: Use the weights as they are (``pretrained``), or Gaussian ones of the same mean and
            variance (``matched``), the paper's comparison.
        maps: Maps of each layer.
        width: Window of the first layer in beats.
        joint_width: Window of the joint layer in pooled steps.
        pooling: Pool size after each layer.
        lr: Learning rate of gradient descent, unless the configuration has an ``optimizer``
            section.
        **kwargs: Arguments of :class:`mgc.models.base.MusicModel`.
    """

    training_settings = ("start",)

    def __init__(
        self,
        weights: str | None = None,
        start: Start = "pretrained",
        maps: Annotated[int, Range(1, 2**14)] = 100,
        width: Annotated[int, Range(1, 1024)] = 8,
        joint_width: Annotated[int, Range(1, 1024)] = 8,
        pooling: Annotated[int, Range(1, 1024)] = 4,
        lr: LearningRate = 0.005,
        **kwargs: Any,
    ) -> None:
        super().__init__(lr=lr, **kwargs)
        if start == "matched" and not weights:
            raise MgcError("start='matched' needs weights, whose mean and variance it matches.")
        self.weights = weights
        self.start: Start = start
        self.net = ConvDBNNet(maps, width, joint_width, pooling, 0.5, 0.5)
        for name in LAYERS:
            rbm = self.net.machine(name)
            # Four times the gain for tanh, since the slope of the sigmoid is a quarter of tanh's.
            nn.init.xavier_uniform_(rbm.weight, gain=4)
            # Visible biases are only used for reconstruction.
            rbm.visible_bias.requires_grad_(False)
        self.head = nn.Linear(maps, self.num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def load_initial_weights(self) -> None:
        """Load the layers of another checkpoint."""
        if not self.weights:
            return
        found = checkpoint.read(self.weights)
        own = self.net.state_dict()
        layers = select_weights(found["state_dict"], own)
        if set(layers) != set(own):
            raise MgcError(
                f"{self.weights}: contains no convolutional deep belief network. Use a checkpoint "
                "of conv_dbn_pretrain."
            )
        for name, value in layers.items():
            if value.shape != own[name].shape:
                raise MgcError(
                    f"{self.weights}: {name} has shape {tuple(value.shape)}, expected "
                    f"{tuple(own[name].shape)}. Set maps, width and joint_width as in pretraining."
                )
        self.net.load_state_dict(layers)
        if epochs_begun(found) <= found.get(checkpoint.HYPER, {}).get("first_epochs", 0):
            log.warning("%s: the joint layer is not trained yet.", self.weights)
        if self.start == "matched":
            self.net.match()

    def forward(self, chroma: Tensor, timbre: Tensor, length: Tensor) -> Tensor:
        """Return the logarithm of the mean posteriors over steps, of shape (batch, classes)."""
        steps, count = self._steps(chroma, timbre, length)[-1]
        log_posteriors = self.head(steps.transpose(1, 2)).float().log_softmax(2).transpose(1, 2)
        return average_posteriors(log_posteriors, length_mask(count, steps.shape[2]))

    def features(  # type: ignore[override] # beats instead of audio
        self, chroma: Tensor, timbre: Tensor, length: Tensor
    ) -> dict[str, Tensor]:
        """Return the means of ``chroma``, ``timbre`` and ``joint`` (layers 2a, 2b and 4)."""
        outputs = self._steps(chroma, timbre, length)
        means = {}
        for name, (steps, count) in zip(LAYERS, outputs, strict=True):
            inside = length_mask(count, steps.shape[2])[:, None]
            means[name] = (steps * inside).sum(2) / count[:, None]
        return means

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD without momentum, as in the paper."""
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.SGD(learning, self.lr)

    def _steps(self, chroma: Tensor, timbre: Tensor, length: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return layers 2a, 2b and 4, each with the number of steps of each track."""
        both = torch.cat([chroma, timbre], 2)
        both, length = repeat_short(both, length, self.net.receptive_field)
        chroma, timbre = both.split(DIMENSIONS, 2)
        first = self.net.forward_first(chroma, timbre, length)
        joint = self.net.forward_joint(torch.cat(first[:2], 1), first[2])
        return [(first[0], first[2]), (first[1], first[2]), joint]
