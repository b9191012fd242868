"""``mgc export``: a trained model as a graph for deployment."""

import logging
from pathlib import Path
from typing import Any, Literal

from mgc.errors import MgcError
from mgc.installation import pip_install

log = logging.getLogger(__name__)


def export(
    *,
    out: str,
    ckpt: str | None = None,
    model: str | None = None,
    model_args: dict[str, Any] | None = None,
    format: Literal["onnx", "torch_export"] = "onnx",
    outputs: Literal["probabilities", "features"] = "probabilities",
    precision: Literal["float32", "float16"] = "float32",
    tolerance: float | None = None,
    sample_rate: int = 12000,
    clip_seconds: float = 29.0,
) -> None:
    """Write a model as a graph from raw audio to probabilities, and check it against the model.

    The spectrogram and all else between audio and network are part of the graph. It takes clips of
    shape (batch, samples), any number of them and of any length where the model allows. A model of
    beats takes chroma and timbre of shape (batch, beats, 12) and the lengths in beats. The file
    says what it is: labels, task, sample rate, how clips are cut. mgc classify runs ONNX files,
    without PyTorch; torch.export.load(FILE).module(check_guards=False) gives the other kind to
    PyTorch.

    The graph is compared with the model right away, on several lengths and numbers of clips; the
    largest difference is told, and with a larger one than accepted nothing is written.

    Example: mgc export --ckpt runs/mgc/abc/checkpoints/best.ckpt --out vgg.onnx

    Example: mgc export --ckpt best.ckpt --outputs features --out embeddings.onnx

    Example: mgc export --model mfcc --outputs features --out mfcc.onnx

    Args:
        out: File to write: .onnx, or .pt2 for torch_export.
        ckpt: Checkpoint written by mgc fit.
        model: Name of a model that needs no training, as in mgc list, in place of a checkpoint.
        model_args: Arguments of that model.
        format: onnx, for ONNX Runtime and others; or torch_export, an archive for PyTorch.
        outputs: probabilities (ratings for regression), or features: an output for each layer.
        precision: float16 halves the file: weights are kept in half precision, but everything is
            computed in single precision.
        tolerance: Largest difference from the model that is accepted, in probabilities, or as a
            share of the largest value of an output; by default 1e-4, with float16 1e-2.
        sample_rate: With --model, rate of the audio in Hz; a checkpoint tells its own.
        clip_seconds: With --model, length of a clip in seconds.

    Raises:
        MgcError: If the model cannot be exported, or the graph differs from it.
    """
    if (ckpt is None) == (model is None):
        raise MgcError("Give a checkpoint (--ckpt FILE) or the name of a model (--model NAME).")
    if model is not None and outputs != "features":
        raise MgcError("--model: an untrained model tells no classes; add --outputs features.")
    ending = {"onnx": ".onnx", "torch_export": ".pt2"}[format]
    if Path(out).suffix != ending:
        raise MgcError(f"--out {out}: a file of --format {format} ends in {ending}.")
    if tolerance is not None and not tolerance > 0:
        raise MgcError(f"--tolerance {tolerance:g}: must be greater than 0.")
    if format == "onnx":
        _check_installed()

    from mgc import checkpoint
    from mgc.deployment.graph import export_graph
    from mgc.transfer.inputs import make_model

    if ckpt is not None:
        network, about = checkpoint.read_model(ckpt)
    else:
        network = make_model(str(model), sample_rate, model_args or {}, seed=0).eval()
        about = checkpoint.describe(network, None)
        about |= {"sample_rate": sample_rate, "clip_seconds": clip_seconds}
    done = export_graph(network, about, out, format, outputs, precision, tolerance)
    length = done.about["samples"]
    shapes = ", ".join(" by ".join(map(str, shape)) for shape in done.checked)
    log.info(
        "%s: %.1f MB, clips of %s. Largest difference from the model: %.1e (compared: %s).",
        out,
        Path(out).stat().st_size / 1e6,
        f"{length} samples, no others" if length else _lengths(done.about),
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
