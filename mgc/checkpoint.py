"""Checkpoints that say what they are."""

import hashlib
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

import mgc
from mgc import registry
from mgc.core.description import checked
from mgc.errors import MgcError

#: Where a checkpoint keeps its description.
KEY = "mgc"

#: Where Lightning keeps what ``save_hyperparameters`` saves.
HYPER = LightningModule.CHECKPOINT_HYPER_PARAMS_KEY

#: Where a model keeps the arguments that it was built from.
INIT_ARGS = "mgc_init_args"

#: Where a loaded model keeps the description from its checkpoint.
DESCRIPTION = "mgc_description"


class DescribeCheckpoint(Callback):
    """Write into every checkpoint what is needed to use it: class, labels, task, sample rate."""

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the description."""
        data = getattr(trainer, "datamodule", None)
        checkpoint[KEY] = describe(pl_module, data)


def remember_init_args(model: LightningModule, init_args: Mapping[str, Any]) -> None:
    """Note what a model was built from, for its checkpoints.

    So a model that does not call ``save_hyperparameters`` can be loaded from its file alone.
    Arguments are only kept where all of them are plain values (numbers, strings, lists,
    dictionaries), and none describes an object, as a dictionary with a ``class_path`` does.

    Args:
        model: The model.
        init_args: All arguments that its class was called with, by name.
    """
    given = dict(init_args)
    setattr(model, INIT_ARGS, given if _is_plain(given) else None)


def describe(model: LightningModule, data: Any) -> dict[str, Any]:
    """Describe a trained model.

    Args:
        model: The model.
        data: The data module that it was trained on.

    Returns:
        Plain values: ``version`` of mgc, ``class_path``, ``labels``, ``task``, ``sample_rate``
        in Hz, ``clip_seconds`` and ``hop_seconds``, ``channel`` and ``short`` (see
        :class:`mgc.data.base.AudioDataModule`), ``resampling`` (see
        :data:`mgc.data.resampling.Resampling`), ``data``, the class of the data module, and
        ``init_args``, what the model was built from, or None where that is not known (see
        :func:`remember_init_args`).
    """
    rate = getattr(data, "sample_rate", 0)
    return {
        "version": mgc.__version__,
        "class_path": f"{type(model).__module__}.{type(model).__qualname__}",
        "labels": list(getattr(data, "labels", ())),
        "task": getattr(data, "task", None),
        "sample_rate": rate,
        "clip_seconds": data.clip_samples / rate if hasattr(data, "clip_samples") else None,
        "hop_seconds": data.hop_samples / rate if hasattr(data, "hop_samples") else None,
        "channel": getattr(data, "channel", None),
        "short": getattr(data, "short", "repeat"),
        "resampling": getattr(data, "resampling", "fast"),
        "data": f"{type(data).__module__}.{type(data).__qualname__}" if data else None,
        "init_args": getattr(model, INIT_ARGS, None),
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
    except Exception as error:  # what it raises depends on the first bytes of the file
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
        MgcError: If the file cannot be read, its class cannot be found, or its weights do not fit
            the class.
    """
    return read_model(path, map_location)[0]


def read_model(
    path: str | PathLike[str], map_location: "str | torch.device" = "cpu"
) -> tuple[LightningModule, dict[str, Any]]:
    """Load a trained model, and what its file says of it.

    Args:
        path: File written by ``mgc fit``.
        map_location: Device of the model.

    Returns:
        The model, in evaluation mode (see :func:`load`), and its description (see
        :func:`describe`).

    Raises:
        MgcError: As :func:`load` does.
    """
    checkpoint = read(path)
    about = _description(path, checkpoint)
    model_class = _find_class(path, about["class_path"])
    try:
        model = _build(model_class, path, checkpoint, about.get("init_args") or {})
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise MgcError(
            f"{path}: its weights do not fit {about['class_path']}, which may have changed since: "
            f"{_first_mismatch(error)}"
        ) from error
    except (TypeError, ValueError) as error:
        hint = "" if HYPER in checkpoint else " Call save_hyperparameters() in its constructor."
        raise MgcError(
            f"{path}: {about['class_path']} cannot be built from what the file holds: "
            f"{str(error).removesuffix('.')}.{hint}"
        ) from error
    setattr(model, DESCRIPTION, about)
    try:
        return model.to(map_location).eval(), about
    except (RuntimeError, AssertionError) as error:
        raise MgcError(f"The device {map_location} cannot be used: {error}") from error


def _build(
    model_class: type[LightningModule],
    path: str | PathLike[str],
    checkpoint: dict[str, Any],
    init_args: dict[str, Any],
) -> LightningModule:
    """Build a model from its hyperparameters, or from its arguments where it saves none."""
    if HYPER in checkpoint:
        return model_class.load_from_checkpoint(Path(path), map_location="cpu", weights_only=True)
    model = model_class(**init_args)
    model.configure_model()
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"], strict=model.strict_loading)
    return model


def _first_mismatch(error: RuntimeError) -> str:
    """What torch says first of weights that do not fit, with one name out of a list of names."""
    line = str(error).splitlines()[1].strip()
    return re.sub(r'("[^"]*"), ".*', r"\1, …", line)


def _description(path: str | PathLike[str], checkpoint: dict[str, Any]) -> dict[str, Any]:
    if KEY not in checkpoint:
        raise MgcError(f"{path}: does not say what it is; it was not written by mgc.")
    return checked(path, checkpoint[KEY])


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        named = all(isinstance(key, str | int) for key in value)
        return named and "class_path" not in value and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    # Their subclasses, such as those of numpy, are refused when the file is read.
    return value is None or type(value) in (bool, int, float, str)


def _find_class(path: str | PathLike[str], class_path: str) -> type[LightningModule]:
    module, _, name = class_path.rpartition(".")
    entry_point = registry.entry_point_of(class_path)
    if entry_point:
        try:
            return registry.load_claim("model", entry_point)
        except MgcError as error:
            raise MgcError(f"{path}: its model cannot be used: {error}") from error
    found = getattr(sys.modules.get(module), name, None)
    if not (isinstance(found, type) and issubclass(found, LightningModule)):
        raise MgcError(
            f"{path}: holds a {class_path}, which no installed package registers. Install the "
            "package of the model."
        )
    return found


def digest_of(path: str) -> str:
    """Digest of a file, by which a table of features knows its checkpoint.

    Args:
        path: The file.

    Returns:
        Hexadecimal SHA-256.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
