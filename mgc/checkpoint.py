"""Reads and describes checkpoints."""

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
from mgc.core.description import check_description
from mgc.errors import MgcError

#: Checkpoint entry with the description.
KEY = "mgc"

#: Checkpoint entry of ``save_hyperparameters``.
HYPER = LightningModule.CHECKPOINT_HYPER_PARAMS_KEY

#: Attribute of a model with its init arguments.
INIT_ARGS = "mgc_init_args"

#: Attribute of a loaded model with the description from its checkpoint.
DESCRIPTION = "mgc_description"


class DescribeCheckpoint(Callback):
    """Adds the description to every checkpoint: class, labels, task, sample rate."""

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the description."""
        data = getattr(trainer, "datamodule", None)
        checkpoint[KEY] = describe(pl_module, data)


def remember_init_args(model: LightningModule, init_args: Mapping[str, Any]) -> None:
    """Store the init arguments in a model, so that they are saved in its checkpoints.

    A model that does not call ``save_hyperparameters`` can then be loaded from a checkpoint.
    Arguments are stored only if all are plain values (numbers, strings, lists, dictionaries) and
    none is a dictionary with a ``class_path``.
    """
    given = dict(init_args)
    setattr(model, INIT_ARGS, given if _is_plain(given) else None)


def describe(model: LightningModule, data: Any) -> dict[str, Any]:
    """Describe a model and the data module that it was trained on.

    Returns:
        Plain values: ``version`` of mgc, ``class_path``, ``labels``, ``task``, ``sample_rate``
        in Hz, ``clip_seconds`` and ``hop_seconds``, ``channel`` and ``short`` (see
        :class:`mgc.data.base.AudioDataModule`), ``resampling`` (see
        :data:`mgc.data.resampling.Resampling`), ``data`` (class path of the data module) and
        ``init_args`` of the model, None if unknown (see :func:`remember_init_args`).
    """
    rate = getattr(data, "sample_rate", 0)
    return {
        "version": mgc.__version__,
        "class_path": registry.path_of(type(model)),
        "labels": list(getattr(data, "labels", ())),
        "task": getattr(data, "task", None),
        "sample_rate": rate,
        "clip_seconds": data.clip_samples / rate if hasattr(data, "clip_samples") else None,
        "hop_seconds": data.hop_samples / rate if hasattr(data, "hop_samples") else None,
        "channel": getattr(data, "channel", None),
        "short": getattr(data, "short", "repeat"),
        "resampling": getattr(data, "resampling", "fast"),
        "data": registry.path_of(type(data)) if data else None,
        "init_args": getattr(model, INIT_ARGS, None),
    }


def read(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint, tensors on the CPU, without running code from it.

    Raises:
        MgcError: If the file is missing, truncated, or contains more than plain values and tensors.
    """
    if "://" in str(path):
        raise MgcError(f"{path}: cannot load a checkpoint from the network. Download it first.")
    if not Path(path).is_file():
        raise MgcError(f"{path}: no such checkpoint.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path):
            raise MgcError(f"{path}: not a checkpoint, or truncated.") from error
        raise MgcError(
            f"{path}: not loaded, because it contains more than weights and plain values and could "
            "run code. Hyperparameters may be numbers, strings, lists and dictionaries."
        ) from error
    except Exception as error:  # its type depends on the first bytes of the file
        raise MgcError(f"{path}: not a checkpoint, or truncated.") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise MgcError(f"{path}: not a checkpoint of a LightningModule.")
    return checkpoint


def description(path: str | PathLike[str]) -> dict[str, Any]:
    """Read the description of a checkpoint (see :func:`describe`).

    Raises:
        MgcError: If the file cannot be read or has no valid description.
    """
    return _description(path, read(path))


def load(path: str | PathLike[str], map_location: "str | torch.device" = "cpu") -> LightningModule:
    """Load a trained model from a checkpoint, in evaluation mode.

    For security, the checkpoint's model class must be registered or already imported.

    Args:
        path: File written by ``mgc fit``.
        map_location: Device of the model.

    Raises:
        MgcError: If the file cannot be read, its class cannot be found, or its weights do not fit
            the class.
    """
    return read_model(path, map_location)[0]


def read_model(
    path: str | PathLike[str], map_location: "str | torch.device" = "cpu"
) -> tuple[LightningModule, dict[str, Any]]:
    """Load a model (see :func:`load`) and its description (see :func:`describe`)."""
    checkpoint = read(path)
    about = _description(path, checkpoint)
    model_class = _find_class(path, about["class_path"])
    try:
        model = _build(model_class, path, checkpoint, about.get("init_args") or {})
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise MgcError(
            f"{path}: weights do not fit {about['class_path']}, which may have changed: "
            f"{_first_mismatch(error)}"
        ) from error
    except (TypeError, ValueError) as error:
        hint = "" if HYPER in checkpoint else " Call save_hyperparameters() in its constructor."
        raise MgcError(
            f"{path}: cannot build {about['class_path']} from the checkpoint: "
            f"{str(error).removesuffix('.')}.{hint}"
        ) from error
    setattr(model, DESCRIPTION, about)
    try:
        return model.to(map_location).eval(), about
    except (RuntimeError, AssertionError) as error:
        raise MgcError(f"Cannot use device {map_location}: {error}") from error


def _build(
    model_class: type[LightningModule],
    path: str | PathLike[str],
    checkpoint: dict[str, Any],
    init_args: dict[str, Any],
) -> LightningModule:
    """Build a model from its hyperparameters, or from its init arguments if it saves none."""
    if HYPER in checkpoint:
        return model_class.load_from_checkpoint(Path(path), map_location="cpu", weights_only=True)
    model = model_class(**init_args)
    model.configure_model()
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"], strict=model.strict_loading)
    return model


def _first_mismatch(error: RuntimeError) -> str:
    """Return the first line of torch's message, with one parameter name instead of all."""
    line = str(error).splitlines()[1].strip()
    return re.sub(r'("[^"]*"), ".*', r"\1, …", line)


def _description(path: str | PathLike[str], checkpoint: dict[str, Any]) -> dict[str, Any]:
    if KEY not in checkpoint:
        raise MgcError(f"{path}: has no description. It was not written by mgc.")
    return check_description(path, checkpoint[KEY])


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        named = all(isinstance(key, str | int) for key in value)
        return named and "class_path" not in value and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    # Subclasses, such as NumPy's, cannot be loaded with weights_only.
    return value is None or type(value) in (bool, int, float, str)


def _find_class(path: str | PathLike[str], class_path: str) -> type[LightningModule]:
    module, _, name = class_path.rpartition(".")
    entry_point = registry.entry_point_of(class_path)
    if entry_point:
        try:
            return registry.load_claim("model", entry_point)
        except MgcError as error:
            raise MgcError(f"{path}: cannot load its model class: {error}") from error
    found = getattr(sys.modules.get(module), name, None)
    if not (isinstance(found, type) and issubclass(found, LightningModule)):
        raise MgcError(
            f"{path}: no installed package registers its model {class_path}. Install the model's "
            "package."
        )
    return found


def digest_of(path: str) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
