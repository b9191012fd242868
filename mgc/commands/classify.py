"""``mgc classify``: classify songs with a trained model."""

import json
import sys
from typing import Annotated, Any, Literal

import numpy as np
from tqdm import tqdm

from mgc.core.ranges import BatchSize, Range, Seconds
from mgc.core.terminal import print_line
from mgc.data import audio
from mgc.deployment.classifier import Classifier
from mgc.errors import MgcError


def classify(
    files: list[str],
    ckpt: str,
    top: Annotated[int, Range(1, 10**6)] = 3,
    over_time: bool = False,
    hop_seconds: Seconds | None = None,
    batch_size: BatchSize = 32,
    device: Literal["cpu", "cuda", "mps"] = "cpu",
    model: str | None = None,
    format: Literal["text", "json"] = "text",
) -> None:
    """Predict genre, tags or ratings of songs with a checkpoint or an exported ONNX model.

    A song's probabilities are the means over its clips. Unreadable files are reported and skipped,
    and the exit code is then 2.

    Example: mgc classify song.mp3 more/*.wav --ckpt runs/mgc/abc/checkpoints/best.ckpt

    Without PyTorch: mgc classify song.mp3 --ckpt vgg.onnx

    Args:
        files: Audio files.
        ckpt: Checkpoint written by mgc fit, or ONNX file written by mgc export.
        top: Number of classes to print, best first.
        over_time: Also print the classes of every clip, with its start in seconds.
        hop_seconds: Distance between the starts of two clips in seconds; by default the same as in
            mgc test, read from the checkpoint.
        batch_size: Clips per batch.
        device: Device that runs the model.
        model: Class path of the checkpoint's model, such as my_package.MyNet, if no installed
            package registers it.
        format: text prints a line per song, json an object per song with all probabilities.
    """
    classifier = Classifier(ckpt, device, hop_seconds, batch_size, model)
    failures = 0
    for file in tqdm(files, unit="song", disable=not sys.stderr.isatty() or len(files) == 1):
        try:
            values, starts = classifier.classify(file)
        except audio.AudioError as error:
            failures += 1
            print_line(f"mgc: {error}", error=True)
            continue
        labels = classifier.about["labels"] or [str(i) for i in range(values.shape[1])]
        _print_song(file, values, starts, labels, top, over_time, format)
    if failures:
        raise MgcError(f"{failures} of {len(files)} files could not be classified.")


def _print_song(
    file: str,
    values: np.ndarray,
    starts: np.ndarray,
    labels: list[str],
    top: Annotated[int, Range(1, 10**6)],
    over_time: bool,
    format: str,
) -> None:
    """Print the outputs of one song, of shape (clips, classes)."""
    mean = values.mean(axis=0)
    if format == "json":
        song: dict[str, Any] = {
            "file": file,
            "outputs": dict(zip(labels, mean.tolist(), strict=True)),
        }
        if over_time:
            song["clips"] = [
                {"start": start, "outputs": dict(zip(labels, row, strict=True))}
                for start, row in zip(starts.tolist(), values.tolist(), strict=True)
            ]
        print_line(json.dumps(song))
        return
    print_line(f"{file}: {_best(mean, labels, top)}")
    if over_time:
        for start, row in zip(starts, values, strict=True):
            print_line(f"  {start:7.1f} s  {_best(row, labels, top)}")


def _best(values: np.ndarray, labels: list[str], top: int) -> str:
    return ", ".join(f"{labels[i]} {values[i]:.2f}" for i in np.argsort(-values)[:top])
