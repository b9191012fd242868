"""Checks what a model returns: outputs, features and loss. The only definition of its contract."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import RunningStage
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from mgc.core.checks import describe_value
from mgc.core.plugins import name_class
from mgc.data.base import MusicDataModule
from mgc.data.clips import Batch
from mgc.data.contract import check_batch, check_labels, check_tracks
from mgc.errors import ContractError

#: Characters that layer names must not contain, because columns and lists use them as separators.
SEPARATORS = ".,"

#: Stages of a trainer and their names in messages.
STAGES: dict[RunningStage | None, str] = {
    RunningStage.TRAINING: "train",
    RunningStage.SANITY_CHECKING: "validation",
    RunningStage.VALIDATING: "validation",
    RunningStage.TESTING: "test",
    RunningStage.PREDICTING: "prediction",
}


def check_outputs(
    model: object, outputs: Any, inputs: Tensor, labels: int = 0, method: str = "forward"
) -> Tensor:
    """Check the outputs of a model for a batch of clips.

    Args:
        model: Model, which the message names.
        outputs: What the method returned.
        inputs: Tensor with a row per clip, on the device of the outputs.
        labels: Expected number of outputs per clip; 0 if unknown.
        method: Method that returned the outputs.

    Returns:
        The outputs: a floating-point tensor of shape (batch, labels).

    Raises:
        ContractError: If they are anything else.
    """
    rows = len(inputs)
    if (
        not isinstance(outputs, Tensor)
        or not outputs.is_floating_point()
        or outputs.ndim != 2
        or len(outputs) != rows
        or outputs.shape[1] != (labels or max(1, outputs.shape[1]))
        or outputs.device != inputs.device
    ):
        elsewhere = getattr(outputs, "device", inputs.device) != inputs.device
        place = f" on {outputs.device}" if elsewhere else ""
        width = labels or "labels"
        raise ContractError(
            f"{name_class(model)}: {method} returned {describe_value(outputs)}{place}; expected "
            f"floating-point outputs of shape ({rows}, {width}): a row per clip of the batch, an "
            "output per label."
        )
    return outputs


def check_features(
    model: object, layers: Any, inputs: Tensor, widths: Mapping[str, int] | None = None
) -> dict[str, Tensor]:
    """Check the features of a model for a batch of clips.

    Args:
        model: Model, which the message names.
        layers: What ``features`` returned.
        inputs: Tensor with a row per clip.
        widths: Width of each layer in an earlier batch.

    Returns:
        The layers by name: floating-point tensors of shape (batch, width).

    Raises:
        ContractError: If they are anything else, or names or widths have changed.
    """
    rows = len(inputs)
    if not isinstance(layers, dict) or not layers:
        raise ContractError(
            f"{name_class(model)}: features returned {describe_value(layers)}; expected a "
            "dictionary of layers, tensors of shape (batch, width) by name."
        )
    for layer, values in layers.items():
        if not isinstance(layer, str) or not layer or set(SEPARATORS) & set(layer):
            raise ContractError(
                f"{name_class(model)}: features returned a layer named {layer!r}; expected a name "
                "without dots and commas, which separate layers in columns and lists."
            )
        if (
            not isinstance(values, Tensor)
            or not values.is_floating_point()
            or values.ndim != 2
            or len(values) != rows
            or not values.shape[1]
        ):
            raise ContractError(
                f"{name_class(model)}: features returned {describe_value(values)} for layer "
                f"{layer!r}; expected floating-point values of shape ({rows}, width): a row per "
                "clip of the batch."
            )
    found = {layer: values.shape[1] for layer, values in layers.items()}
    if widths is not None and found != widths:
        raise ContractError(
            f"{name_class(model)}: features returned layers of widths {found}, after "
            f"{dict(widths)} for an earlier batch; expected the same layers and widths for every "
            "batch."
        )
    return layers


def check_loss(model: object, loss: Any) -> None:
    """Check the loss of a training step.

    Raises:
        ContractError: If it is not a single number with gradients.
    """
    problem = ""
    if not isinstance(loss, Tensor) or not loss.is_floating_point() or loss.numel() != 1:
        problem = describe_value(loss)
    elif not loss.requires_grad:
        problem = "a loss without gradients"
    if problem:
        raise ContractError(
            f"{name_class(model)}: training_step returned {problem}; expected the loss: a scalar "
            "tensor computed from the model's parameters."
        )


def calls_forward(model: LightningModule, step: str) -> bool:
    """Return whether a step only calls ``forward`` (see :mod:`mgc.models.adapt`)."""
    return isinstance(vars(model).get(step), partial)


class CheckContract(Callback):
    """Checks the data of a run, the first batch of each stage, and the loss of each batch."""

    def __init__(self) -> None:
        """Initialize without a checked batch."""
        self.checked: set[str] = set()
        self.hook: RemovableHandle | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the tracks of the data module."""
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, MusicDataModule):
            check_labels(data)
            check_tracks(data)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Check the first batch, and outputs for it if evaluation calls ``forward`` too."""
        if "train" not in self.checked and calls_forward(pl_module, "test_step"):
            labels = getattr(getattr(trainer, "datamodule", None), "num_classes", 0)
            self.hook = pl_module.register_forward_hook(
                # DDP calls the training step as forward, with a dictionary.
                lambda model, inputs, outputs: (
                    check_outputs(model, outputs, inputs[0], labels)
                    if inputs and isinstance(inputs[0], Tensor)
                    else outputs
                )
            )
        self._check_first(trainer, batch)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Check the first batch."""
        self._check_first(trainer, batch)

    on_test_batch_start = on_predict_batch_start = on_validation_batch_start

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Check the loss."""
        check_loss(pl_module, loss)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Check that the first batch was not skipped, as Lightning skips None."""
        self._check_first(trainer, batch)
        if self.hook:
            self.hook.remove()
            self.hook = None
        if "loss" not in self.checked and pl_module.automatic_optimization and trainer.optimizers:
            self.checked.add("loss")
            if isinstance(outputs, dict) and outputs.get("loss") is not None:
                return
            check_loss(pl_module, None)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Name the model in Lightning's error about its optimizers."""
        if "configure_optimizers" in str(exception):
            exception.add_note(name_class(pl_module))

    def _check_first(self, trainer: Trainer, batch: Batch) -> None:
        stage = STAGES[trainer.state.stage]
        data = getattr(trainer, "datamodule", None)
        if stage not in self.checked and isinstance(data, MusicDataModule):
            self.checked.add(stage)
            check_batch(data, batch, stage)
