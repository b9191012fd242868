"""Exports trained models as graphs and verifies them against the model."""

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
from mgc.core.writing import WriteError, replacing, writes_file
from mgc.data.msd.files import DIMENSIONS
from mgc.deployment.onnx_model import KEY, OnnxModel
from mgc.errors import MgcError
from mgc.evaluation.contract import check_features, check_outputs
from mgc.evaluation.scores import probabilities
from mgc.task import Task

log = logging.getLogger(__name__)

Format = Literal["onnx", "torch_export"]
Outputs = Literal["probabilities", "features"]
Precision = Literal["float32", "float16"]

#: Input names of a graph by the kind of batch.
INPUTS = {"audio": ("audio",), "beats": ("chroma", "timbre", "length")}

#: File name of the description in a ``torch.export`` archive.
DESCRIPTION_FILE = "mgc.json"

#: Number of beats in the example inputs of an export.
EXAMPLE_BEATS = 200

#: Default tolerance for rounding errors, with ``float16`` including those of the weights.
DEFAULT_TOLERANCE: dict[Precision, float] = {"float32": 1e-4, "float16": 1e-2}

Arrays = Sequence[np.ndarray]


class Probabilities(nn.Module):
    """A model followed by the output function of its task: softmax, sigmoid or identity."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        """Initialize from a trained model."""
        super().__init__()
        self.model = model
        self.task: Task = task

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute probabilities of shape (batch, classes)."""
        outputs = probabilities(self.model(*inputs).float(), self.task)
        return (_invalidate(outputs, inputs[0]),)


class Features(nn.Module):
    """A model whose outputs are its feature layers."""

    def __init__(self, model: nn.Module) -> None:
        """Initialize from a model with a ``features`` method."""
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute all layers of shape (batch, width)."""
        layers = self.model.features(*inputs).values()  # type: ignore[operator]
        return tuple(_invalidate(x.float(), inputs[0]) for x in layers)


def _invalidate(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Replace the outputs of inputs that are not finite with NaN.

    Runtimes handle NaN differently: ``max(NaN, x)`` may be x, so that outputs look plausible.
    """
    return outputs + 0 * inputs.flatten(1).sum(1, keepdim=True)


class HalfWeights(nn.Module):
    """A module that stores its parameters in float16 and computes in float32.

    Buffers, such as those of front ends, are stored as they are.
    """

    def __init__(self, module: nn.Module) -> None:
        """Initialize from a copy of a module."""
        super().__init__()
        self.module = copy.deepcopy(module)
        for parameter in self.module.parameters():
            parameter.requires_grad_(False)
            parameter.data = parameter.data.half()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Call the module."""
        weights = {name: weight.float() for name, weight in self.module.named_parameters()}
        return functional_call(self.module, weights, inputs)


@dataclass
class Exported:
    """Result of an export.

    Attributes:
        about: Description in the file.
        difference: Largest difference between graph and model.
        checked: Input shapes of the comparison.
    """

    about: dict[str, Any]
    difference: float
    checked: list[tuple[int, ...]]


@writes_file("path")
def export_graph(
    model: LightningModule,
    about: dict[str, Any],
    path: str | Path,
    format: Format = "onnx",
    outputs: Outputs = "probabilities",
    precision: Precision = "float32",
    tolerance: float | None = None,
) -> Exported:
    """Export a model as a graph and verify its outputs.

    The graph accepts batches of any size, and clips of any length if the model does. The written
    file is compared with the model for several batch sizes and lengths.

    Args:
        model: Model to export. It is moved to the CPU.
        about: Description of the model (see :func:`mgc.checkpoint.describe`).
        path: Output file, written atomically.
        format: ``onnx``, or ``torch_export`` for an archive that ``torch.export.load`` reads.
        outputs: ``probabilities``, or ``features`` for one output per layer.
        precision: Data type of the stored weights. Both compute in float32.
        tolerance: Maximum difference: absolute for values up to 1, else relative to the largest
            value. By default 1e-4, or 1e-2 for ``float16``.

    Raises:
        MgcError: If the model cannot be exported, or the difference exceeds the tolerance.
    """
    tolerance = DEFAULT_TOLERANCE[precision] if tolerance is None else tolerance
    kind = getattr(model, "kind", "audio")
    if kind not in INPUTS:
        raise MgcError(f"{type(model).__name__} takes {kind}, which mgc export does not support.")
    if kind == "audio" and not about["clip_seconds"]:
        raise MgcError(f"{type(model).__name__} has no clip_seconds.")
    whole = Probabilities(model, about["task"]) if outputs == "probabilities" else Features(model)
    whole = whole.cpu().eval()
    module = HalfWeights(whole).eval() if precision == "float16" else whole
    rate = about["sample_rate"]
    size = round(about["clip_seconds"] * rate) if kind == "audio" else EXAMPLE_BEATS
    given = example_inputs(kind, 2, size, rate)
    inputs = [torch.from_numpy(values) for values in given]
    names: list[str] = []
    with torch.inference_mode():
        if outputs == "features":
            names = list(check_features(model, model.features(*inputs), inputs[0]))  # type: ignore[operator]
        else:
            check_outputs(model, model(*inputs), inputs[0], len(about["labels"]))
    failure: Exception | None = None
    for variable in (True, False):
        description = describe_graph(model, about, None if variable else size, names or [outputs])
        try:
            program = _trace(module, given, variable)
            write = _translate(program, format, INPUTS[kind], description["outputs"])
            with replacing(path) as partial:
                write(partial, description)
                run = _read(partial, format)
                found = measure_difference(run, whole, kind, size, rate, variable)
                if found[0] > tolerance:
                    raise MgcError(
                        f"{path}: not written. The graph differs from the model by {found[0]:.1e}, "
                        f"more than the --tolerance of {tolerance:g}."
                    )
                if variable and kind == "audio":
                    description["shortest"] = find_shortest_clip(run, whole, size, rate, tolerance)
                    write(partial, description)
        except WriteError:
            raise
        except MgcError as error:
            failure = error
        except Exception as error:  # torch and ONNX Runtime raise many classes
            log.debug("Export failed", exc_info=True)
            failure = error
        else:
            return Exported(description, *found)
    if isinstance(failure, MgcError):
        raise failure
    if format == "onnx" and any(p.dtype == torch.float64 for p in model.parameters()):
        raise MgcError(
            f"{type(model).__name__} cannot be exported to onnx: PyTorch or ONNX Runtime lacks "
            "float64 operations. Use --format torch_export."
        ) from failure
    raise MgcError(
        f"{type(model).__name__} cannot be exported to {format}: {_reason(failure)}"
    ) from failure


def describe_graph(
    model: LightningModule, about: dict[str, Any], samples: int | None, outputs: list[str]
) -> dict[str, Any]:
    """Add the properties of a graph to the description of its model.

    Returns:
        ``about`` with ``model``, the short name or None; ``outputs``, their names; ``samples``, the
        fixed input length or None; ``shortest``, the minimum length, which is filled in later.
    """
    claim = registry.entry_point_of(about["class_path"])
    name = claim.name if claim else None
    return about | {"model": name, "outputs": outputs, "samples": samples, "shortest": None}


def measure_difference(
    run: Callable[..., Arrays],
    module: nn.Module,
    kind: str,
    size: int,
    rate: int,
    variable: bool = True,
) -> tuple[float, list[tuple[int, ...]]]:
    """Compare the outputs of a graph and a model on example inputs.

    Args:
        run: Function that runs the graph.
        module: Reference model.
        kind: Kind of input: ``audio`` or ``beats``.
        size: Length of a clip in samples, or of a track in beats.
        rate: Sample rate in Hz.
        variable: Whether to try other lengths too. Lengths that the model rejects are skipped.

    Returns:
        Largest difference (relative to the largest value if that exceeds 1), and the input shapes
        of the comparison.

    Raises:
        MgcError: If the outputs differ in shape or are not finite.
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
                raise MgcError(
                    f"The graph returned shape {one.shape}, not finite values of {other.shape}."
                )
            scale = max(1.0, float(np.abs(other).max()))
            largest = max(largest, float(np.abs(one - other).max()) / scale)
        shapes.append(inputs[0].shape)
    return largest, shapes


def find_shortest_clip(
    run: Callable[..., Arrays], module: nn.Module, size: int, rate: int, tolerance: float
) -> int:
    """Find the shortest of several lengths for which graph and model agree, in samples.

    The graph is traced with clips of ``size`` samples, so it lacks operations that the model only
    applies to shorter clips, such as padding. Returns at most three quarters of ``size``.
    """
    longest = size - size // 4
    for length in (rate // part for part in (20, 4, 2, 1)):
        if length >= longest:
            break
        try:
            difference, _ = measure_difference(run, module, "audio", length, rate, variable=False)
        except Exception:  # the graph or the model rejects such short clips
            log.debug("Clips of %d samples failed", length, exc_info=True)
            continue
        if difference <= tolerance:
            return length
    return longest


def example_inputs(kind: str, batch: int, size: int, rate: int) -> Arrays:
    """Generate inputs of ``size`` samples or beats.

    Audio contains changing chords over noise; one clip is half silent, one loud.
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
    """Trace a module with a dynamic batch size and, if ``variable``, a dynamic length."""
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
    """Convert a program; returns a function that writes it with a description to a path."""
    if format == "torch_export":

        def archive(path: Path, about: dict[str, Any]) -> None:
            with path.open("wb") as file, _quiet():
                torch.export.save(program, file, extra_files={DESCRIPTION_FILE: json.dumps(about)})

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
        raise MgcError("torch.onnx.export returned no graph.")
    _free_names(converted.model.graph)

    def write(path: Path, about: dict[str, Any]) -> None:
        converted.model.metadata_props[KEY] = json.dumps(about)
        with _quiet():
            converted.save(path, external_data=False)

    return write


def _free_names(graph: Any) -> None:
    """Rename inner values that share a name with an input or output, such as ``mean``."""
    ends = [*graph.inputs, *graph.outputs]
    taken = {value.name for value in ends}
    for node in graph:
        for value in node.outputs:
            if value.name in taken and not any(value is end for end in ends):
                value.name = f"{value.name}.inner"


def _read(path: Path, format: Format) -> Callable[..., Arrays]:
    """Read a graph as a function of arrays."""
    if format == "onnx":
        try:
            return OnnxModel(path)
        except MgcError as error:  # its message names a temporary file
            raise RuntimeError("ONNX Runtime cannot load the graph") from error
    with path.open("rb") as file, _quiet():
        # The guards of the trace are stricter than the graph.
        module = torch.export.load(file).module(check_guards=False)

    def run(*inputs: np.ndarray) -> Arrays:
        with torch.inference_mode():
            return [x.numpy() for x in module(*map(torch.from_numpy, inputs))]

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide logs and warnings of torch about the export."""
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
    """Return the first line of an error's root cause."""
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
