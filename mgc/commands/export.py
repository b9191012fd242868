"""``mgc export``: export a trained model for deployment."""

import logging
from pathlib import Path
from typing import Annotated, Any, Literal

from mgc.core.ranges import Range, SampleRate, Seconds
from mgc.core.writing import writes_file
from mgc.errors import MgcError
from mgc.installation import pip_install

log = logging.getLogger(__name__)


@writes_file("out")
def export(
    *,
    out: str,
    ckpt: str | None = None,
    model: str | None = None,
    model_args: dict[str, Any] | None = None,
    format: Literal["onnx", "torch_export"] = "onnx",
    outputs: Literal["probabilities", "features"] = "probabilities",
    precision: Literal["float32", "float16"] = "float32",
    tolerance: Annotated[float, Range(0, 1000, closed="right")] | None = None,
    sample_rate: SampleRate = 12000,
    clip_seconds: Seconds = 29.0,
) -> None:
    """Export a model as a graph from raw audio to probabilities, and compare it with the model.

    The graph includes the front end, such as the spectrogram. Its input is a batch of clips of
    shape (batch, samples), of any size and, if the model allows it, any length. The inputs of beat
    models are chroma and timbre of shape (batch, beats, 12) and the lengths in beats. The file also
    contains labels, task, sample rate and clip settings.

    mgc classify runs ONNX files without PyTorch. Load a torch_export file with
    torch.export.load(FILE).module(check_guards=False).

    The graph is compared with the model on several batch sizes and clip lengths. If the largest
    difference exceeds the tolerance, no file is written.

    Example: mgc export --ckpt runs/mgc/abc/checkpoints/best.ckpt --out vgg.onnx

    Example: mgc export --ckpt best.ckpt --outputs features --out embeddings.onnx

    Example: mgc export --model mfcc --outputs features --out mfcc.onnx

    Args:
        out: File to write: .onnx, or .pt2 for torch_export.
        ckpt: Checkpoint written by mgc fit.
        model: Without --ckpt, name or class path of an untrained model (see mgc list). With --ckpt,
            class path of its model, such as my_package.MyNet, if no installed package registers it.
        model_args: Arguments of an untrained model.
        format: onnx for ONNX Runtime, torch_export for PyTorch.
        outputs: probabilities (ratings for regression), or features: one output per layer.
        precision: float16 stores the weights in half precision, which halves the file, and computes
            in single precision.
        tolerance: Maximum difference between graph and model: absolute for probabilities, relative
            to the largest value for features. By default 1e-4, or 1e-2 with float16.
        sample_rate: With --model, sample rate of the audio in Hz.
        clip_seconds: With --model, length of a clip in seconds.

    Raises:
        MgcError: If the model cannot be exported, or the graph differs from it.
    """
    if ckpt is None and model is None:
        raise MgcError("Set a checkpoint (--ckpt FILE) or the name of a model (--model NAME).")
    if ckpt is not None and model_args:
        raise MgcError("--model_args: a checkpoint contains the arguments of its model.")
    if ckpt is None and outputs != "features":
        raise MgcError("--model: an untrained model has no classes: add --outputs features.")
    extension = {"onnx": ".onnx", "torch_export": ".pt2"}[format]
    if Path(out).suffix != extension:
        raise MgcError(f"--out {out}: the name must end in {extension} with --format {format}.")
    if format == "onnx":
        _check_installed()

    from mgc import checkpoint
    from mgc.deployment.graph import export_graph
    from mgc.transfer.inputs import make_model

    if ckpt is not None:
        network, about = checkpoint.read_model(ckpt, model=model)
    else:
        network = make_model(str(model), sample_rate, model_args or {}, seed=0).eval()
        about = checkpoint.describe(network, None)
        about |= {"sample_rate": sample_rate, "clip_seconds": clip_seconds}
    done = export_graph(network, about, out, format, outputs, precision, tolerance)
    length = done.about["samples"]
    shapes = ", ".join(" by ".join(map(str, shape)) for shape in done.checked)
    log.info(
        "%s: %.1f MB, clips of %s. Largest difference from the model: %.1e (shapes: %s).",
        out,
        Path(out).stat().st_size / 1e6,
        f"exactly {length} samples" if length else _lengths(done.about),
        done.difference,
        shapes,
    )


def _lengths(about: dict[str, Any]) -> str:
    shortest = about["shortest"]
    return f"{shortest / about['sample_rate']:.2f} s and more" if shortest else "any length"


def _check_installed() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise MgcError(
            f"--format onnx needs {', '.join(missing)}. Install: {pip_install('export')}"
        )
