"""Checkpoints that say what they are."""

import pickle
import sys
import zipfile
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

import mgc
from mgc import registry
from mgc.errors import MgcError

#: Where a checkpoint keeps its description.
KEY = "mgc"


class DescribeCheckpoint(Callback):
    """Write into every checkpoint what is needed to use it: class, labels, task, sample rate."""

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the description."""
        data = getattr(trainer, "datamodule", None)
        checkpoint[KEY] = describe(pl_module, data)


def describe(model: LightningModule, data: Any) -> dict[str, Any]:
    """Describe a trained model.

    Args:
        model: The model.
        data: The data module that it was trained on.

    Returns:
        Plain values: ``version`` of mgc, ``class_path``, ``labels``, ``task``, ``sample_rate``
        in Hz, ``clip_seconds``, and ``data``, the class of the data module.
    """
    rate = getattr(data, "sample_rate", 0)
    return {
        "version": mgc.__version__,
        "class_path": f"{type(model).__module__}.{type(model).__qualname__}",
        "labels": list(getattr(data, "labels", ())),
        "task": getattr(data, "task", None),
        "sample_rate": rate,
        "clip_seconds": data.clip_samples / rate if hasattr(data, "clip_samples") else None,
        "data": f"{type(data).__module__}.{type(data).__qualname__}" if data else None,
    }


def read(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Args:
        path: File written by ``mgc fit``.

    Returns:
        Everything in the file, tensors on the CPU.

    Raises:
        MgcError: If the file is missing, cut short, or holds more than plain values and tensors.
    """
    if "://" in str(path):
        raise MgcError(f"{path}: checkpoints are not loaded from the network. Download it first.")
    if not Path(path).is_file():
        raise MgcError(f"{path}: no such checkpoint.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path):
            raise MgcError(f"{path}: no checkpoint, or only a part of one.") from error
        raise MgcError(
            f"{path}: holds more than weights and plain values, so it is not loaded: it could "
            "run code. Keep hyperparameters to numbers, strings, lists and dictionaries."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise MgcError(f"{path}: no checkpoint, or only a part of one.") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise MgcError(f"{path}: not a checkpoint of a LightningModule.")
    return checkpoint


def description(path: str | PathLike[str]) -> dict[str, Any]:
    """Read what a checkpoint is.

    Args:
        path: File written by ``mgc fit``.

    Returns:
        See :func:`describe`.

    Raises:
        MgcError: If the file cannot be read or does not say what it is.
    """
    return _description(path, read(path))


def load(path: str | PathLike[str], map_location: "str | torch.device" = "cpu") -> LightningModule:
    """Load a trained model from its file alone.

    The file names the model's class. It is imported only if it belongs to a registered model, or
    is imported already: a file from somebody else cannot make any other module run.

    Args:
        path: File written by ``mgc fit``.
        map_location: Device of the model.

    Returns:
        The model, in evaluation mode.

    Raises:
        MgcError: If the file cannot be read, or its class cannot be found.
    """
    class_path = _description(path, read(path))["class_path"]
    model = _find_class(path, class_path).load_from_checkpoint(
        Path(path), map_location=map_location
    )
    return model.eval()


def _description(path: str | PathLike[str], checkpoint: dict[str, Any]) -> dict[str, Any]:
    if KEY not in checkpoint:
        raise MgcError(f"{path}: does not say what it is; it was not written by mgc.")
    return checkpoint[KEY]


def _find_class(path: str | PathLike[str], class_path: str) -> type[LightningModule]:
    module, _, name = class_path.rpartition(".")
    for claims in registry.find("model").values():
        for entry_point in claims:
            if entry_point.value.replace(":", ".") == class_path:
                try:
                    import_module(module)
                except Exception as error:
                    raise MgcError(
                        f"{path}: its model, {class_path} of {registry.owner(entry_point)}, cannot "
                        f"be imported: {type(error).__name__}: {error}"
                    ) from error
    found = getattr(sys.modules.get(module), name, None)
    if not (isinstance(found, type) and issubclass(found, LightningModule)):
        raise MgcError(
            f"{path}: holds a {class_path}, which no installed package registers. Install the "
            "package of the model."
        )
    return found
