"""Reads and describes checkpoints."""

import pickle
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from packaging.version import InvalidVersion, Version
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

import mgc
from mgc import registry
from mgc.core.description import check_description
from mgc.core.ranges import INT64, Range, check_value
from mgc.errors import MgcError

#: Checkpoint entry with the description.
KEY = "mgc"

#: Checkpoint entry of ``save_hyperparameters``.
HYPER = LightningModule.CHECKPOINT_HYPER_PARAMS_KEY

#: Checkpoint entry with the version of Lightning.
VERSION = "pytorch-lightning_version"

#: Types and ranges of the entries that Lightning writes. ``mgc fit`` needs all of them to resume.
ENTRIES: dict[str, Any] = {
    "epoch": Annotated[int, Range(0, 2**31)],
    "global_step": Annotated[int, Range(0, 2**53)],
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list[dict],
    "lr_schedulers": list[dict],
}

#: Last part of the name of a module's own entry among the weights, of any type.
EXTRA_STATE = "_extra_state"

#: First version of Lightning whose checkpoints are read as they are.
OLDEST_LIGHTNING = Version("2.0")

#: Bounds of the values in a checkpoint. Lists that contain each other can be endless.
MAX_DEPTH, MAX_VALUES, MAX_TEXT = 50, 500_000, 10_000_000

#: Bounds of a model that is built, as multiples of the weights in the checkpoint, plus slack for
#: parts that are replaced, such as the heads of image networks.
MAX_RATIO, MAX_EXTRA_VALUES, MAX_EXTRA_PARTS = 4, 2**26, 10_000

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
    """Read and check a checkpoint, tensors on the CPU, without running code from it.

    Raises:
        MgcError: If the file is missing or truncated, contains more than plain values and tensors,
            or an entry is missing, of the wrong type, out of range, or contradicts another.
    """
    _check_file(path)
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
    _check_values(path, checkpoint)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise MgcError(f"{path}: not a checkpoint of a LightningModule.")
    _check_weights(path, checkpoint["state_dict"])
    _check_entries(path, checkpoint)
    return checkpoint


def _check_file(path: str | PathLike[str]) -> None:
    """Raise an error unless the path is a file that needs no more memory than its size."""
    if "://" in str(path):
        raise MgcError(f"{path}: cannot load a checkpoint from the network. Download it first.")
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise MgcError(f"{path}: no such checkpoint ({reason}).") from error
    if not stat.S_ISREG(status.st_mode):
        raise MgcError(f"{path}: no such checkpoint (not a file).")
    try:
        with Path(path).open("rb") as file:
            file.read(1)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                contents = sum(entry.file_size for entry in archive.infolist())
            # PyTorch does not compress, so a compressed archive may be a zip bomb.
            if contents > status.st_size:
                raise MgcError(f"{path}: compressed, so it was not written by PyTorch.")
    except OSError as error:
        raise MgcError(f"{path}: cannot be read: {error.strerror}.") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise MgcError(f"{path}: not a checkpoint, or truncated.") from error


def _check_values(path: str | PathLike[str], checkpoint: Any) -> None:
    """Raise an error if a checkpoint contains too many or too deeply nested values."""
    # The same list may be in it many times, so its memory does not limit the number of values.
    todo, count, text = [(checkpoint, 0)], 0, 0
    while todo:
        value, depth = todo.pop()
        count += 1
        if isinstance(value, dict):
            inner = [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            inner = list(value)
        else:
            inner = []
            if isinstance(value, str | bytes | bytearray):
                text += len(value)
            elif isinstance(value, Tensor):
                dense = value.layout == torch.strided and not value.is_meta
                if dense and value.nbytes > value.untyped_storage().nbytes():
                    raise MgcError(f"{path}: contains a tensor with more values than the file.")
            elif isinstance(value, int) and value not in INT64:
                raise MgcError(f"{path}: contains an integer of more than 64 bits.")
        todo += [(item, depth + 1) for item in inner]
        if depth > MAX_DEPTH or count + len(todo) > MAX_VALUES or text > MAX_TEXT:
            raise MgcError(
                f"{path}: contains too many or too deeply nested values. It was not written by "
                "Lightning."
            )


def _check_weights(path: str | PathLike[str], weights: dict[Any, Any]) -> None:
    """Raise an error if weights are not dense tensors of finite numbers."""
    for name, weight in weights.items():
        if not isinstance(name, str):
            raise MgcError(f"{path}: the weights {name!r} have no name.")
        if name.endswith(EXTRA_STATE):
            continue
        if not isinstance(weight, Tensor):
            raise MgcError(f"{path}: the weights {name} are no tensor.")
        if weight.layout != torch.strided or weight.is_quantized or weight.is_meta:
            raise MgcError(f"{path}: the weights {name} are sparse, quantized or without values.")
        if not is_finite(weight):
            raise MgcError(
                f"{path}: the weights {name} are not finite numbers. The training diverged, or the "
                "file is damaged."
            )


def is_finite(weight: Tensor) -> bool:
    """Return whether all values of a tensor are finite; -inf is allowed in masks of zeros."""
    if not weight.numel() or not (weight.is_floating_point() or weight.is_complex()):
        return True
    if weight.is_complex():
        weight = torch.view_as_real(weight.resolve_conj())
    if weight.dtype.itemsize < 2:  # float8 lacks operations
        weight = weight.float()
    low, high = weight.detach().aminmax()
    return bool(low.isfinite() & high.isfinite()) or bool(
        (low == -torch.inf) & (high == 0) & ((weight == 0) | (weight == -torch.inf)).all()
    )


def _check_entries(path: str | PathLike[str], checkpoint: dict[str, Any]) -> None:
    """Raise an error if an entry of Lightning or the description is wrong."""
    if VERSION in checkpoint:
        check_version(path, checkpoint)
    for name, hint in ENTRIES.items():
        if name in checkpoint:
            check_value(f"{path}: {name}", hint, checkpoint[name])
    arguments = checkpoint.get(HYPER, {})
    check_value(f"{path}: {HYPER}", dict, arguments)
    unnamed = next((name for name in arguments if not (isinstance(name, str) and name)), None)
    if unnamed is not None:
        raise MgcError(f"{path}: {HYPER}: {str(unnamed)[:60]!r} is no name of an argument.")
    if KEY in checkpoint:
        about = check_description(path, checkpoint[KEY])
        _check_agreement(path, init_arguments(checkpoint), about)


def check_version(path: str | PathLike[str], checkpoint: dict[str, Any]) -> None:
    """Check that Lightning can load a checkpoint.

    Raises:
        MgcError: If its version is missing, invalid or too old.
    """
    try:
        known = Version(checkpoint[VERSION]) >= OLDEST_LIGHTNING
    except (KeyError, TypeError, InvalidVersion):
        known = False
    if not known:
        raise MgcError(f"{path}: has no valid '{VERSION}'. It was not written by Lightning 2.")


def init_arguments(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that the model of a checkpoint is built with."""
    arguments = checkpoint.get(HYPER)
    if arguments is None:
        arguments = checkpoint.get(KEY, {}).get("init_args")
    return arguments or {}


def _check_agreement(
    path: str | PathLike[str], arguments: dict[str, Any], about: dict[str, Any]
) -> None:
    """Raise an error if the model's arguments differ from the data that it was trained on."""
    if about["task"] is None:
        return  # trained without one of mgc's data modules
    labels = len(about["labels"])
    for name, expected, description in (
        ("num_classes", labels, f"{labels} labels"),
        ("task", about["task"], f"task={about['task']}"),
        ("sample_rate", about["sample_rate"], f"sample_rate={about['sample_rate']}"),
    ):
        given = arguments.get(name)
        unknown = given is None or (name == "sample_rate" and not expected)
        if not unknown and not (isinstance(given, int | float | str) and given == expected):
            raise MgcError(
                f"{path}: its description has {description}, but its model has {name}="
                f"{str(given)[:60]}."
            )


def description(path: str | PathLike[str]) -> dict[str, Any]:
    """Read the description of a checkpoint (see :func:`describe`).

    Raises:
        MgcError: If the file cannot be read or has no valid description.
    """
    return _description(path, read(path))


def load(
    path: str | PathLike[str],
    map_location: "str | torch.device" = "cpu",
    model: str | type[LightningModule] | None = None,
) -> LightningModule:
    """Load a trained model from a checkpoint, in evaluation mode.

    For security, no code that only the checkpoint names is imported: its class must be registered
    by an installed package, already imported, or given as ``model``.

    Args:
        path: File written by ``mgc fit``.
        map_location: Device of the model.
        model: Class of the model, or its name or class path.

    Raises:
        MgcError: If the file cannot be read, its class cannot be found or is not ``model``, or its
            weights do not fit the class.
    """
    return read_model(path, map_location, model)[0]


def read_model(
    path: str | PathLike[str],
    map_location: "str | torch.device" = "cpu",
    model: str | type[LightningModule] | None = None,
) -> tuple[LightningModule, dict[str, Any]]:
    """Load a model (see :func:`load`) and its description (see :func:`describe`)."""
    checkpoint = read(path)
    about = _description(path, checkpoint)
    check_version(path, checkpoint)
    model_class = find_class(path, about["class_path"], model)
    try:
        with _limit_size(checkpoint["state_dict"]):
            built = _build(model_class, path, checkpoint)
    except Exception as error:  # constructors of plugins raise any class
        reason = describe_failure(error)
        if "loading state_dict" in str(error):
            raise MgcError(
                f"{path}: weights do not fit {about['class_path']}, which may have changed: "
                f"{reason}"
            ) from error
        lacks_arguments = isinstance(error, TypeError) and HYPER not in checkpoint
        hint = " Call save_hyperparameters() in its constructor." if lacks_arguments else ""
        raise MgcError(
            f"{path}: cannot build {about['class_path']} from the checkpoint: {reason}.{hint}"
        ) from error
    setattr(built, DESCRIPTION, about)
    try:
        return built.to(map_location).eval(), about
    except (RuntimeError, AssertionError) as error:
        raise MgcError(f"Cannot use device {map_location}: {error}") from error


def _build(
    model_class: type[LightningModule], path: str | PathLike[str], checkpoint: dict[str, Any]
) -> LightningModule:
    """Build a model from its hyperparameters, or from its init arguments if it saves none."""
    nested = "." in model_class.__qualname__  # Lightning finds only classes of modules
    if HYPER in checkpoint and not nested:
        model = model_class.load_from_checkpoint(Path(path), map_location="cpu", weights_only=True)
    else:
        arguments = init_arguments(checkpoint)
        # Lightning's command line adds names that begin with an underscore.
        model = model_class(**{name: arguments[name] for name in arguments if name[0] != "_"})
        model.configure_model()
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"], strict=model.strict_loading)
    for name, weight in model.state_dict().items():
        given = checkpoint["state_dict"].get(name)
        if isinstance(given, Tensor) and _number_kind(given) != _number_kind(weight):
            raise TypeError(f"the weights {name} are {given.dtype}, not {weight.dtype}")
    return model


def _number_kind(tensor: Tensor) -> tuple[bool, bool]:
    """Return whether a tensor has real numbers, and whether it has complex numbers."""
    return tensor.is_floating_point(), tensor.is_complex()


@contextmanager
def _limit_size(weights: dict[str, Any]) -> Iterator[None]:
    """Refuse to build a model that is far larger than the weights in its checkpoint."""
    sizes = [weight.numel() for weight in weights.values() if isinstance(weight, Tensor)]
    values = MAX_RATIO * sum(sizes) + MAX_EXTRA_VALUES
    parts = MAX_RATIO * len(sizes) + MAX_EXTRA_PARTS

    def count(module: nn.Module, name: str, part: nn.Module | nn.Parameter | None) -> None:
        nonlocal values, parts
        parts -= 1
        # Memory is only used once a parameter is initialized, after it is registered.
        values -= part.numel() if isinstance(part, Tensor) else 0
        if values < 0 or parts < 0:
            raise ValueError("its arguments ask for a network that is larger than its weights")

    hooks = [
        register_module_parameter_registration_hook(count),
        register_module_module_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def describe_failure(error: Exception) -> str:
    """Return an error of reading a checkpoint in one line, without the full stop.

    If weights do not fit, it is the first mismatch, with one parameter name instead of all.
    """
    text = str(error) or type(error).__name__
    if "loading state_dict" in text:
        return re.sub(r'("[^"]*"), ".*', r"\1, …", text.splitlines()[1].strip())
    if isinstance(error, KeyError):
        text = f"no entry {text}"
    line = " ".join(text.split())
    return f"{line[:200]}…" if len(line) > 200 else line.removesuffix(".")


def _description(path: str | PathLike[str], checkpoint: dict[str, Any]) -> dict[str, Any]:
    if KEY not in checkpoint:
        raise MgcError(f"{path}: has no description. It was not written by mgc.")
    about: dict[str, Any] = checkpoint[KEY]
    return about


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        named = all(isinstance(key, str | int) for key in value)
        return named and "class_path" not in value and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    # Subclasses, such as NumPy's, cannot be loaded with weights_only.
    return value is None or type(value) in (bool, int, float, str)


def find_class(
    path: str | PathLike[str], class_path: str, model: str | type[LightningModule] | None = None
) -> type[LightningModule]:
    """Find the model class of a checkpoint.

    Args:
        path: Checkpoint, for error messages.
        class_path: Class path in its description.
        model: The class, or its name or class path, if the user gives it.

    Raises:
        MgcError: If the class is not ``model``, cannot be imported, or is neither registered nor
            imported.
    """
    if model is not None:
        given = model if isinstance(model, type) else registry.load("model", model)
        registry.check("model", given, f"The model {registry.path_of(given)}")
        if not registry.is_class(given, class_path):
            raise MgcError(
                f"{path} contains a {class_path}, but the given model is {registry.path_of(given)}."
            )
        return given
    entry_point = registry.entry_point_of(class_path)
    if entry_point:
        try:
            return registry.load_claim("model", entry_point)
        except MgcError as error:
            raise MgcError(f"{path}: cannot load its model class: {error}") from error
    found = registry.find_imported(class_path)
    if not (isinstance(found, type) and issubclass(found, LightningModule)):
        raise MgcError(
            f"{path}: no installed package registers its model {class_path}. Install the model's "
            f"package, or name the class if you trust its code: --model {class_path} (in Python: "
            f"model={class_path!r})."
        )
    return found
