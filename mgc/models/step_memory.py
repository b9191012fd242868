"""Estimates the memory of a training step or a batch before anything is allocated."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mgc.core.memory import memory_limit
from mgc.errors import MgcError

#: Estimates up to this multiple of the memory pass: half precision, gradient checkpointing and
#: memory shared by tensors reduce what a step needs.
TOLERANCE = 4

#: Memory of the largest accelerators. Asking a device for its own would initialize it too early.
LARGEST_DEVICE = 288 << 30

#: Copies of a trained weight: the weight, its gradient, and two moments of Adam.
COPIES = 4

#: Number of settings in a message.
MAX_SETTINGS = 3


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a model's weights, and of a step without them."""

    weights: int
    step: int


class _LargestOutput(TorchDispatchMode):
    """Records the size of the largest result of an operation."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [_bytes(x) for x in tree_leaves(result) if isinstance(x, Tensor)]
        self.bytes = max(self.bytes, *sizes, 0)
        return result


def estimate_memory(
    build: Callable[[], LightningModule], shape: tuple[int, int], training: bool
) -> StepMemory:
    """Estimate the memory of a model and of a step on clips of shape (batch, samples).

    The model is built and run without data. If it cannot be run so, its activations do not count;
    if it cannot be built so, only the clips do.
    """
    clips = 4 * shape[0] * shape[1]
    state = torch.random.get_rng_state()
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = build()
    except Exception:  # constructors of plugins may do anything
        return StepMemory(0, clips)
    finally:
        torch.random.set_rng_state(state)
    weights = sum(_bytes(x) for x in model.state_dict().values())
    learnt = sum(_bytes(p) for p in model.parameters() if p.requires_grad)
    saved, largest = _run_without_data(model, shape)
    step = clips + 2 * largest
    return StepMemory(weights, step + saved + (COPIES - 1) * learnt if training else step)


def _run_without_data(model: nn.Module, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the bytes that a forward pass saves for the gradient, and its largest result."""
    saved: dict[int, int] = {}
    kept = []  # keeps the storages, whose addresses identify them

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage.nbytes()
        kept.append(storage)
        return tensor

    largest = _LargestOutput()
    # Operations that depend on data cannot run. Autocast does not know the meta device.
    with (
        suppress(Exception),
        patch("torch.autocast", lambda *args, **kwargs: nullcontext()),
        torch.device("meta"),
        largest,
        saved_tensors_hooks(count, lambda x: x),
    ):
        model.to("meta")(torch.empty(shape))
    return sum(saved.values()), largest.bytes


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def check_memory(
    build: Callable[[], LightningModule],
    shape: tuple[int, int],
    settings: Mapping[str, Any],
    on_cpu: bool,
    training: bool = True,
) -> None:
    """Raise an error if a step needs far more memory than there is.

    Args:
        build: Creates the model.
        shape: Shape (batch, samples) of a batch of clips.
        settings: Settings for the message, by name, the most important first.
        on_cpu: Whether the model runs in the machine's memory.
        training: Whether the step is one of training.

    Raises:
        MgcError: If the estimate exceeds :data:`TOLERANCE` times the memory.
    """
    machine = memory_limit()
    found = estimate_memory(build, shape, training)
    limit = machine if on_cpu else max(machine, LARGEST_DEVICE)
    for needed, available in ((found.weights, machine), (found.weights + found.step, limit)):
        if needed > TOLERANCE * available:
            names = [f"{name} ({value})" for name, value in settings.items()]
            raise MgcError(
                f"A {'training step' if training else 'batch'} would need about "
                f"{needed / 2**30:.3g} GiB; there are {available / 2**30:.3g} GiB. Lower "
                f"{', '.join(names[:MAX_SETTINGS])}."
            )


def largest_settings(arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that exceed their defaults, by how much."""
    ratios = {
        name: value / defaults[name]
        for name, value in arguments.items()
        if _is_positive(value) and _is_positive(defaults.get(name)) and value > defaults[name]
    }
    return {name: arguments[name] for name in sorted(ratios, key=ratios.__getitem__, reverse=True)}


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
