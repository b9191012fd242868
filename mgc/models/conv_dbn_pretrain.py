"""Layer-wise pretraining of the convolutional deep belief network."""

import logging
from typing import Annotated, Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchmetrics import MeanMetric

from mgc.checkpoint import DescribeCheckpoint
from mgc.core.ranges import CheckedArguments, Epochs, LearningRate, Probability, Range, Share
from mgc.data.clips import Batch, keep_batch
from mgc.errors import MgcError
from mgc.models.base import missing_callbacks, zero_loss
from mgc.models.conv_dbn import LAYERS, ConvDBNNet
from mgc.models.conv_rbm import WEIGHT_STD, Divergence
from mgc.models.filter_plot import plot_filters
from mgc.runs.folder import run_folder, writes_files

log = logging.getLogger(__name__)

#: Logged fields of :class:`mgc.models.conv_rbm.Divergence`.
MEASURES = ("error", "activation")

#: Minimum factor by which training should increase the standard deviation of a layer's weights. On
#: synthetic tracks, layers below it did not separate classes (benchmarks/conv_dbn_convergence.py).
MIN_WEIGHT_GROWTH = 2

#: Maximum number of training tracks in the free energy comparison.
MAX_COMPARED_TRACKS = 512


class ConvDBNPretrain(CheckedArguments, LightningModule):
    """Convolutional RBMs trained on chroma and timbre without labels.

    Dieleman, Brakel and Schrauwen, "Audio-based music classification with a pretrained
    convolutional network", ISMIR 2011, section 5.2. The RBMs of chroma (layer 1a) and timbre (1b)
    are trained in the first epochs, the joint RBM (3) on their pooled activations in all later
    ones. The epoch alone determines the trained layers, so a run can be resumed at any point.
    ``conv_dbn`` takes the checkpoint as ``weights``.

    Metrics of each trained layer are ``…_error``, the mean squared reconstruction error;
    ``…_activation``, the mean activation of the hidden units, which should approach the sparsity;
    and ``val/…_free_energy_gap``, the free energy per beat of held-out tracks minus that of
    training tracks. If the gap grows, the RBM overfits (Hinton, "A practical guide to training
    restricted Boltzmann machines", 2010, section 6). After each epoch, plots of the filters are
    saved in ``filters`` in the run's folder and logged to W&B.

    Args:
        maps: Maps of each layer.
        width: Window of the first layer in beats.
        joint_width: Window of the joint layer in pooled steps.
        pooling: Pool size after each layer.
        first_epochs: Epochs that train chroma and timbre; the remaining ones train the joint layer.
        lr_binary: Learning rate of chroma and of the joint layer.
        lr_gaussian: Learning rate of timbre.
        sparsity: Target mean activation of the hidden units of chroma and timbre.
        joint_sparsity: Target mean activation of the hidden units of the joint layer.
        sparsity_cost: Weight of the sparsity target, from 0 to 1.
        momentum: Momentum of gradient descent.
    """

    kind: ClassVar[str] = "beats"

    training_settings = ("sparsity", "joint_sparsity", "sparsity_cost")

    def __init__(
        self,
        maps: Annotated[int, Range(1, 2**14)] = 100,
        width: Annotated[int, Range(1, 1024)] = 8,
        joint_width: Annotated[int, Range(1, 1024)] = 8,
        pooling: Annotated[int, Range(1, 1024)] = 4,
        first_epochs: Epochs = 1,
        lr_binary: LearningRate = 0.005,
        lr_gaussian: LearningRate = 0.0001,
        sparsity: Share = 0.05,
        joint_sparsity: Share = 0.1,
        sparsity_cost: Probability = 0.1,
        momentum: Annotated[float, Range(0, 1, closed="left")] = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.first_epochs = first_epochs
        self.rates = {"chroma": lr_binary, "timbre": lr_gaussian, "joint": lr_binary}
        self.sparsity = {"chroma": sparsity, "timbre": sparsity, "joint": joint_sparsity}
        self.sparsity_cost = sparsity_cost
        self.momentum = momentum
        self.net = ConvDBNNet(maps, width, joint_width, pooling, sparsity, joint_sparsity)
        names = [f"{layer}_energy_{split}" for layer in LAYERS for split in ("train", "val")]
        names += [
            f"{layer}_{measure}_{split}"
            for layer in LAYERS
            for measure in MEASURES
            for split in ("train", "val", "test")
        ]
        self.metrics = torch.nn.ModuleDict({name: MeanMetric() for name in names})
        self._positions = torch.zeros(())

    def learning(self) -> tuple[str, ...]:
        """Return the names of the layers trained in the current epoch."""
        return LAYERS[:2] if self.current_epoch < self.first_epochs else LAYERS[2:]

    def inputs(self, batch: Batch, layer: str) -> tuple[Tensor, Tensor]:
        """Return the input of a layer's RBM, of shape (batch, visible, steps), and its lengths."""
        length = batch["length"]
        if layer != "joint":
            return batch[layer].transpose(1, 2), length
        with torch.no_grad():
            chroma, timbre, count = self.net.forward_first(batch["chroma"], batch["timbre"], length)
        return torch.cat([chroma, timbre], 1), count

    def on_fit_start(self) -> None:
        """Warn if no epoch will train the joint layer."""
        for metric in self.metrics.values():
            # Tensors from an earlier validation cannot be changed outside inference mode.
            metric.reset()  # type: ignore[operator] # all of them are metrics
        epochs = self.trainer.max_epochs
        if epochs is not None and 0 <= epochs <= self.first_epochs:
            log.warning(
                "The joint layer will not be trained: chroma and timbre take %d of %d epochs. "
                "Raise trainer.max_epochs.",
                self.first_epochs,
                epochs,
            )

    def on_train_epoch_start(self) -> None:
        """Log which layers are trained."""
        self._positions = torch.zeros((), device=self.device)
        if self.trainer.is_global_zero:
            log.info("Epoch %d: training %s.", self.current_epoch, " and ".join(self.learning()))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of the trained layers: free energy of the data minus reconstruction."""
        # All parameters have gradients; those of frozen layers are dropped later.
        loss = zero_loss(self)
        for layer in self.learning():
            step = self._contrastive_divergence(batch, layer, sample=True)
            # Average over the positions of all devices, since gradients are averaged over devices.
            count = self.trainer.strategy.reduce(step.positions.float(), reduce_op="mean")
            loss = loss + step.loss / torch.as_tensor(count).clamp(min=1)
            self._positions += step.positions
            self._log("train", layer, step)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Drop the gradients of frozen layers, so that momentum does not move them."""
        for layer in set(LAYERS) - set(self.learning()):
            for parameter in self.net.machine(layer).parameters():
                parameter.grad = None

    def on_train_epoch_end(self) -> None:
        """Plot the filters of the trained layers, and warn if they hardly changed."""
        if not self.trainer.strategy.reduce(self._positions, reduce_op="sum"):
            beats = self.net.chroma.width
            if self.learning() == LAYERS[2:]:
                beats = self.net.joint.width * self.net.pooling + beats - 1
            raise MgcError(
                f"No training track has the {beats} beats of a window of "
                f"{' and '.join(self.learning())}. Use longer tracks, or smaller width, "
                "joint_width and pooling."
            )
        if not writes_files(self.trainer):
            return
        if self.current_epoch + 1 in (self.first_epochs, self.trainer.max_epochs):
            for layer in self.learning():
                spread = float(self.net.machine(layer).weight.detach().std())
                if spread < MIN_WEIGHT_GROWTH * WEIGHT_STD:
                    log.warning(
                        "%s has hardly been trained: the standard deviation of its weights is "
                        "%.3f, initially %.3f. Such weights are of little use to a classifier. "
                        "Raise %s or the number of epochs.",
                        layer,
                        spread,
                        WEIGHT_STD,
                        "lr_gaussian" if layer == "timbre" else "lr_binary",
                    )
        for layer in self.learning():
            path = run_folder(self.trainer) / "filters" / f"{layer}_{self.current_epoch:03}.png"
            title = f"{layer}: filters after epoch {self.current_epoch}"
            plot_filters(self.net.machine(layer).weight.detach().float().cpu().numpy(), title, path)
            for logger in self.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image(f"filters/{layer}", [str(path)])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure reconstruction error, activation and free energy on held-out tracks."""
        for layer in self._measured_layers():
            self._log("val", layer, self._contrastive_divergence(batch, layer, sample=False))
            self._add_free_energy(batch, layer, "val")

    def on_validation_epoch_end(self) -> None:
        """Log the free energy of held-out tracks minus that of training tracks."""
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            for batch in self._comparison_loader():
                for layer in self._measured_layers():
                    self._add_free_energy(
                        self.transfer_batch_to_device(batch, self.device, 0), layer
                    )
            for layer in self._measured_layers():
                held, train = (self._metric(f"{layer}_energy_{s}") for s in ("val", "train"))
                # Identical on every device.
                self.log(f"val/{layer}_free_energy_gap", held.compute() - train.compute())
        for layer in LAYERS:
            for split in ("val", "train"):
                self._metric(f"{layer}_energy_{split}").reset()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure reconstruction error and activation on test tracks."""
        for layer in LAYERS:
            self._log("test", layer, self._contrastive_divergence(batch, layer, sample=False))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD with one learning rate per layer."""
        groups = [
            {"params": self.net.machine(layer).parameters(), "lr": rate, "name": layer}
            for layer, rate in self.rates.items()
        ]
        return torch.optim.SGD(groups, momentum=self.momentum)

    def configure_callbacks(self) -> list[Callback]:
        """Add :class:`mgc.checkpoint.DescribeCheckpoint` if it is missing."""
        return missing_callbacks(self, DescribeCheckpoint)

    def _measured_layers(self) -> tuple[str, ...]:
        return self.learning() if self.trainer.state.fn == TrainerFn.FITTING else LAYERS

    def _contrastive_divergence(self, batch: Batch, layer: str, sample: bool) -> Divergence:
        sequences, length = self.inputs(batch, layer)
        cost = self.sparsity_cost if sample else 0.0
        machine = self.net.machine(layer)
        return machine.contrastive_divergence(sequences, length, self.sparsity[layer], cost, sample)

    def _log(self, split: str, layer: str, step: Divergence) -> None:
        for name in MEASURES:
            metric = self._metric(f"{layer}_{name}_{split}")
            metric(getattr(step, name), step.positions)
            in_bar = name == "error" and split == "train"
            self.log(
                f"{split}/{layer}_{name}", metric, on_step=in_bar, on_epoch=True, prog_bar=in_bar
            )

    def _metric(self, name: str) -> MeanMetric:
        return self.metrics[name]  # type: ignore[return-value] # all of them are

    def _add_free_energy(self, batch: Batch, layer: str, split: str = "train") -> None:
        sequences, length = self.inputs(batch, layer)
        machine = self.net.machine(layer)
        beats = length * (machine.positions(length) > 0)
        energy = machine.free_energy(sequences, length) / beats.clamp(min=1)
        self._metric(f"{layer}_energy_{split}").update(energy, beats)

    def _comparison_loader(self) -> DataLoader[Batch]:
        """Load this device's share of the training tracks for the free energy comparison."""
        loader: Any = self.trainer.train_dataloader
        tracks = range(min(MAX_COMPARED_TRACKS, len(loader.dataset)))
        share = tracks[self.trainer.global_rank :: self.trainer.world_size]
        part = Subset(loader.dataset, share)
        return DataLoader(part, loader.batch_size, collate_fn=keep_batch)  # type: ignore[arg-type] # the data set gives whole batches
