"""Trained models as graphs: what goes in, what comes out, and how far they are from the model."""

import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.func import functional_call

from mgc import registry
from mgc.core.writing import replacing
from mgc.data.msd.files import DIMENSIONS
from mgc.deployment.onnx_model import KEY, OnnxModel
from mgc.errors import MgcError
from mgc.evaluation.scores import probabilities
from mgc.task import Task

log = logging.getLogger(__name__)

Format = Literal["onnx", "torch_export"]
Outputs = Literal["probabilities", "features"]
Precision = Literal["float32", "float16"]

#: Inputs of a graph by what batches the model takes.
INPUTS = {"audio": ("audio",), "beats": ("chroma", "timbre", "length")}

#: Name of the description in an archive of ``torch.export``.
DESCRIPTION = "mgc.json"

#: Beats of the track that a model of beats is exported with; any number goes in later.
BEATS = 200

#: What a graph may differ from the model by, unless told otherwise: rounding, in another order; and
#: that of the weights.
TOLERANCE: dict[Precision, float] = {"float32": 1e-4, "float16": 1e-2}

Arrays = Sequence[np.ndarray]


class Probabilities(nn.Module):
    """A model with the softmax, sigmoid or nothing that its task asks for."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        """Initialize from a trained model."""
        super().__init__()
        self.model = model
        self.task: Task = task

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Score clips or tracks: probabilities of shape (batch, classes)."""
        return (probabilities(self.model(*inputs).float(), self.task),)


class Features(nn.Module):
    """The layers of a model."""

    def __init__(self, model: nn.Module) -> None:
        """Initialize from a model that offers features."""
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute all layers, each of shape (batch, width)."""
        return tuple(x.float() for x in self.model.features(*inputs).values())  # type: ignore[operator]


class HalfWeights(nn.Module):
    """A module whose weights are kept in half precision, and used in single precision.

    Its file takes half the space. Front ends and what they have been fitted to are no weights.
    """

    def __init__(self, module: nn.Module) -> None:
        """Initialize from a module, which stays as it is."""
        super().__init__()
        self.module = copy.deepcopy(module)
        for parameter in self.module.parameters():
            parameter.requires_grad_(False)
            parameter.data = parameter.data.half()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute what the module does."""
        weights = {name: weight.float() for name, weight in self.module.named_parameters()}
        return functional_call(self.module, weights, inputs)


@dataclass
class Exported:
    """What an export came to.

    Attributes:
        about: The description in the file.
        difference: Largest difference between the graph and the model.
        checked: Shapes that were compared.
    """

    about: dict[str, Any]
    difference: float
    checked: list[tuple[int, ...]]


def export_graph(
    model: LightningModule,
    about: dict[str, Any],
    path: str | Path,
    format: Format = "onnx",
    outputs: Outputs = "probabilities",
    precision: Precision = "float32",
    tolerance: float | None = None,
) -> Exported:
    """Write a model as a graph, and check that it computes what the model does.

    Any number of clips goes in, and clips of any length where the model allows. The graph is read
    back and compared with the model on several lengths and numbers of clips.

    Args:
        model: The model.
        about: What it is (see :func:`mgc.checkpoint.describe`).
        path: File to write, whole or not at all.
        format: ``onnx``, which runs in ONNX Runtime and others, or ``torch_export``, an archive for
            PyTorch (``torch.export.load``).
        outputs: ``probabilities``, or ``features`` for a graph with an output for each layer.
        precision: ``float16`` keeps weights in half precision; it computes in single precision.
        tolerance: Largest difference of a probability that is accepted, for other outputs as a
            share of the largest value of the output; by default 1e-4, or 1e-2 for ``float16``.

    Returns:
        What it came to.

    Raises:
        MgcError: If the model cannot be exported, or the graph differs by more than the tolerance.
    """
    tolerance = TOLERANCE[precision] if tolerance is None else tolerance
    kind = getattr(model, "kind", "audio")
    if kind not in INPUTS:
        raise MgcError(f"{type(model).__name__} takes {kind}, which mgc export does not know.")
    if kind == "audio" and not about["clip_seconds"]:
        raise MgcError(f"{type(model).__name__}: does not say how long its clips are.")
    whole = Probabilities(model, about["task"]) if outputs == "probabilities" else Features(model)
    whole = whole.cpu().eval()
    module = HalfWeights(whole).eval() if precision == "float16" else whole
    rate = about["sample_rate"]
    size = round(about["clip_seconds"] * rate) if kind == "audio" else BEATS
    given = example_inputs(kind, 2, size, rate)
    with torch.inference_mode():
        names = list(model.features(*map(torch.from_numpy, given))) if outputs == "features" else []  # type: ignore[operator]
    failure: Exception | None = None
    for variable in (True, False):
        told = describe_graph(model, about, None if variable else size, names or [outputs])
        try:
            program = _trace(module, given, variable)
            write = _translate(program, format, INPUTS[kind], told["outputs"])
            with replacing(path) as partial:
                write(partial, told)
                run = _read(partial, format)
                found = compare(run, whole, kind, size, rate, variable)
                if found[0] > tolerance:
                    raise MgcError(
                        f"{path}: not written, as the graph differs from the model by "
                        f"{found[0]:.1e}, more than {tolerance:g} (--tolerance)."
                    )
                if variable and kind == "audio":
                    told["shortest"] = shortest_clip(run, whole, size, rate, tolerance)
                    write(partial, told)
        except OSError:
            raise
        except MgcError as error:
            failure = error
        except Exception as error:  # of torch, ONNX and ONNX Runtime, of many classes
            log.debug("Export failed", exc_info=True)
            failure = error
        else:
            return Exported(told, *found)
    if isinstance(failure, MgcError):
        raise failure
    if format == "onnx" and any(p.dtype == torch.float64 for p in model.parameters()):
        raise MgcError(
            f"{type(model).__name__} cannot be exported to onnx: it computes in float64, for which "
            "PyTorch or ONNX Runtime lacks operations. Use --format torch_export."
        ) from failure
    raise MgcError(
        f"{type(model).__name__} cannot be exported to {format}: {_reason(failure)}"
    ) from failure


def describe_graph(
    model: LightningModule, about: dict[str, Any], samples: int | None, outputs: list[str]
) -> dict[str, Any]:
    """Describe a graph.

    Args:
        model: The model that it is of.
        about: What the model is (see :func:`mgc.checkpoint.describe`).
        samples: Length that inputs must have, or None for any.
        outputs: Names of the outputs.

    Returns:
        The same with ``model`` (its short name, or None), ``outputs``, ``samples`` and, where clips
        may have any length, ``shortest``, the least number of samples.
    """
    claim = registry.entry_point_of(about["class_path"])
    name = claim.name if claim else None
    return about | {"model": name, "outputs": outputs, "samples": samples, "shortest": None}


def compare(
    run: Callable[..., Arrays],
    module: nn.Module,
    kind: str,
    size: int,
    rate: int,
    variable: bool = True,
) -> tuple[float, list[tuple[int, ...]]]:
    """Find the largest difference between a graph and a model.

    Args:
        run: Runs the graph.
        module: The model.
        kind: What they take: ``audio`` or ``beats``.
        size: Length of a clip in samples, or of a track in beats.
        rate: Rate of the audio in Hz.
        variable: Whether to try other lengths.

    Returns:
        The difference, of values above 1 as a share of the largest; and the shapes of what was
        compared. Lengths that the model itself refuses are left out.

    Raises:
        MgcError: If the outputs are of another shape or not finite.
    """
    largest, shapes = 0.0, []
    lengths = [size, size + size // 3, 2 * size + 1, size - size // 4] if variable else [size]
    for number, length in enumerate([*lengths, size]):
        inputs = example_inputs(kind, (1, 3, 2, 4, 5)[number], length, rate)
        try:
            with torch.inference_mode():
                expected = [x.numpy() for x in module(*map(torch.from_numpy, inputs))]
        except (MgcError, RuntimeError):
            if length == size:
                raise
            continue
        found = run(*inputs)
        for one, other in zip(found, expected, strict=True):
            if one.shape != other.shape or not np.isfinite(one).all():
                raise MgcError(f"The graph gives {one.shape}, not finite values {other.shape}.")
            scale = max(1.0, float(np.abs(other).max()))
            largest = max(largest, float(np.abs(one - other).max()) / scale)
        shapes.append(inputs[0].shape)
    return largest, shapes


def shortest_clip(
    run: Callable[..., Arrays], module: nn.Module, size: int, rate: int, tolerance: float
) -> int:
    """Find a length from which on a graph and a model agree, of a few that are tried.

    A graph is recorded from clips of the usual length. What a model does only with much shorter
    ones, such as padding up to a first window, is not in it.

    Args:
        run: Runs the graph.
        module: The model.
        size: Length of a clip in samples.
        rate: Rate of the audio in Hz.
        tolerance: Largest difference.

    Returns:
        Length in samples, at most three quarters of a clip.
    """
    longest = size - size // 4
    for length in (rate // part for part in (20, 4, 2, 1)):
        if length >= longest:
            break
        try:
            difference, _ = compare(run, module, "audio", length, rate, variable=False)
        except Exception:  # of torch, ONNX Runtime and ours: one of both takes none so short
            log.debug("No clips of %d samples", length, exc_info=True)
            continue
        if difference <= tolerance:
            return length
    return longest


def example_inputs(kind: str, batch: int, size: int, rate: int) -> Arrays:
    """Make music-like inputs: chords that change, over noise; a half-silent and a loud clip.

    Args:
        kind: ``audio`` or ``beats``.
        batch: Number of clips or tracks.
        size: Length in samples or beats.
        rate: Rate of the audio in Hz.

    Returns:
        The inputs of a graph, in order.
    """
    rng = np.random.default_rng(size + batch)
    if kind == "beats":
        features = rng.normal(0, 1, (2, batch, size, DIMENSIONS)).astype(np.float32)
        length = rng.integers(size // 2, size, batch, endpoint=True)
        return (features[0], features[1], length)
    time = np.arange(size) / rate
    notes = 55 * 2 ** (rng.integers(0, 48, (batch, 1 + int(time[-1] / 0.4), 4)) / 12)
    pitch = notes[:, (time / 0.4).astype(int)]  # (batch, samples, notes)
    phase = 2 * np.pi * np.cumsum(pitch, axis=1) / rate
    clips = rng.normal(0, 0.01, (batch, size))
    for k in (1, 2, 3, 5):
        clips += (np.sin(k * phase) * (k * pitch < rate / 2)).sum(2) / (20 * k)
    clips[1:2, : size // 2] = 0
    clips[2:3] = rng.normal(0, 0.5, clips[2:3].shape).clip(-1, 1)
    return (clips.astype(np.float32),)


def _trace(module: nn.Module, inputs: Arrays, variable: bool) -> ExportedProgram:
    """Record what a module computes, for any batch and, if asked for, any length."""
    sizes = [
        {0: Dim.DYNAMIC} | ({1: Dim.DYNAMIC} if variable and x.ndim > 1 else {}) for x in inputs
    ]
    with _quiet(), torch.no_grad():
        return torch.export.export(
            module, tuple(map(torch.from_numpy, inputs)), dynamic_shapes=(tuple(sizes),)
        )


def _translate(
    program: ExportedProgram, format: Format, inputs: Sequence[str], outputs: Sequence[str]
) -> Callable[[Path, dict[str, Any]], None]:
    """Put a program into a format; gives what writes it with a description of it."""
    if format == "torch_export":

        def archive(path: Path, about: dict[str, Any]) -> None:
            with path.open("wb") as file, _quiet():
                torch.export.save(program, file, extra_files={DESCRIPTION: json.dumps(about)})

        return archive
    from mgc.deployment.dft import TRANSLATIONS

    with _quiet():
        converted = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            custom_translation_table=TRANSLATIONS,
            verbose=False,
        )
    if converted is None:
        raise MgcError("PyTorch gave no graph.")
    _free_names(converted.model.graph)

    def write(path: Path, about: dict[str, Any]) -> None:
        converted.model.metadata_props[KEY] = json.dumps(about)
        with _quiet():
            converted.save(path, external_data=False)

    return write


def _free_names(graph: Any) -> None:
    """Rename inner values that are called like an input or output, such as a layer ``mean``."""
    ends = [*graph.inputs, *graph.outputs]
    taken = {value.name for value in ends}
    for node in graph:
        for value in node.outputs:
            if value.name in taken and not any(value is end for end in ends):
                value.name = f"{value.name}.inner"


def _read(path: Path, format: Format) -> Callable[..., Arrays]:
    """Read a graph back, as something that takes and gives arrays."""
    if format == "onnx":
        try:
            return OnnxModel(path)
        except MgcError as error:  # it names a temporary file
            raise RuntimeError("ONNX Runtime does not load the graph") from error
    with path.open("rb") as file, _quiet():
        # Guards of the trace ask for more than the graph needs.
        module = torch.export.load(file).module(check_guards=False)

    def run(*inputs: np.ndarray) -> Arrays:
        with torch.inference_mode():
            return [x.numpy() for x in module(*map(torch.from_numpy, inputs))]

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch says of its own inner workings from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _reason(error: BaseException | None) -> str:
    """What is behind an error, in a line."""
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
