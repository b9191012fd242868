"""Reads files of initial weights, from any training program."""

import logging
import pickle
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mgc import checkpoint
from mgc.errors import MgcError

log = logging.getLogger(__name__)

#: Entries of checkpoints that hold weights, best first: averaged weights are the better ones.
ENTRIES = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict"),
    *("model", "module", "net", "network", "weights", "params"),
)


def read_weights(path: str) -> dict[str, Tensor]:
    """Read safetensors, a PyTorch state dictionary, or a checkpoint that contains one.

    Raises:
        MgcError: If the file cannot be read.
    """
    if not Path(path).is_file():
        raise MgcError(f"weights={path}: no such file. Set weights to a local file.")
    found: Any
    try:
        if path.lower().endswith(".safetensors"):
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
        while not any(isinstance(value, Tensor) for value in found.values()):
            parts = [found.get(name) for name in ENTRIES]
            found = next(part for part in parts if part and isinstance(part, Mapping))
    except StopIteration:
        found = {}
    except PermissionError as error:
        raise MgcError(f"weights={path}: cannot be read: {error.strerror}.") from error
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OSError,
        EOFError,
    ) as error:
        raise MgcError(
            f"weights={path}: not a safetensors file or PyTorch state dictionary, or truncated: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def select_weights(state: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """Return the weights of a network that is a part of a checkpoint's model.

    Wrappers put the network's name in front of all keys, such as ``module.`` (DDP), ``_orig_mod.``
    (torch.compile) or the attribute of a LightningModule. The most frequent one is removed.
    """
    prefixes: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in wanted:
                prefixes[".".join([*parts[:start], ""]) if start else ""] += 1
    if not prefixes:
        return {}
    prefix = max(prefixes, key=lambda name: (prefixes[name], -len(name)))
    return {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }


def fit_weights(
    state: dict[str, Tensor], own: Mapping[str, Tensor], head: Collection[str], path: str, name: str
) -> dict[str, Tensor]:
    """Return the weights to load into a network.

    The last layer keeps its own, random weights if the file has none, or those of another number of
    classes.

    Args:
        state: Weights of a file (see :func:`select_weights`).
        own: Weights of the network.
        head: Names of the weights of the last layer.
        path: The file, for messages.
        name: Name of the network, for messages.

    Raises:
        MgcError: If weights are missing, not finite numbers, or have other names or shapes.
    """
    if not state.keys() & own.keys():
        raise MgcError(f"weights={path}: no weights of {name} found.")
    other = "Are the weights from another network?"
    if any(key not in state or state[key].shape != own[key].shape for key in head):
        top = tuple({f"{key.rpartition('.')[0]}." for key in head})
        state = {key: value for key, value in state.items() if not key.startswith(top)}
        state |= {key: own[key] for key in head}
        log.info("weights=%s: without the last layer, which starts from random weights.", path)
    for key, value in own.items():
        if key not in state and key.endswith("num_batches_tracked"):
            state[key] = value  # files of other programs lack it
        elif key not in state:
            raise MgcError(f"weights={path}: {key} of {name} is missing. {other}")
        if state[key].shape != value.shape:
            raise MgcError(
                f"weights={path}: {key} has shape {tuple(state[key].shape)}, expected "
                f"{tuple(value.shape)} for {name}. {other}"
            )
        if not checkpoint.is_finite(state[key]):
            raise MgcError(
                f"weights={path}: {key} has values that are not finite numbers. The training "
                "diverged, or the file is damaged."
            )
    extra = next((key for key in state if key not in own), None)
    if extra:
        raise MgcError(f"weights={path}: {name} has no {extra}. {other}")
    return state
