"""``mgc classify``: genres of songs."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from mgc.data import audio
from mgc.data.resampling import Resampling
from mgc.errors import MgcError

#: Probabilities of clips of shape (batch, samples).
Scorer = Callable[[np.ndarray], np.ndarray]


def classify(
    files: list[str],
    ckpt: str,
    top: int = 3,
    over_time: bool = False,
    hop_seconds: float | None = None,
    batch_size: int = 32,
    device: Literal["cpu", "cuda", "mps"] = "cpu",
    format: Literal["text", "json"] = "text",
) -> None:
    """Tell the genre, tags or ratings of songs, from a checkpoint or an exported graph alone.

    Probabilities of a song are the means over its clips. A file that cannot be read is reported;
    the others are classified, and the exit code is 2.

    Example: mgc classify song.mp3 more/*.wav --ckpt runs/mgc/abc/checkpoints/best.ckpt

    Example, without PyTorch: mgc classify song.mp3 --ckpt vgg.onnx

    Args:
        files: Audio files: WAV, AU, FLAC, OGG, MP3.
        ckpt: Checkpoint written by mgc fit, or ONNX file written by mgc export.
        top: How many classes to tell, the best first.
        over_time: Tell the classes of every clip as well, with its start in seconds.
        hop_seconds: Distance between two clips in seconds; by default that of mgc test, which the
            checkpoint tells.
        batch_size: Clips per batch.
        device: Where the model runs.
        format: A line per song, or a JSON object per song with all probabilities.
    """
    score, about = _load(ckpt, device)
    if not about["clip_seconds"]:
        raise MgcError(f"{ckpt}: a model that does not take audio cannot classify files.")
    rate = about["sample_rate"]
    clip = round(about["clip_seconds"] * rate)
    if hop_seconds is None:
        hop_seconds = about.get("hop_seconds") or about["clip_seconds"]
    hop = round(hop_seconds * rate)
    if hop < 1:
        raise MgcError(f"hop_seconds={hop_seconds}: must be greater than 0.")
    # What checkpoints of earlier versions do not say was always so.
    channel, short = about.get("channel"), about.get("short", "repeat")
    resampling = about.get("resampling", "fast")
    shortest = about.get("shortest") or 0
    failures = 0
    for file in tqdm(files, unit="song", disable=not sys.stderr.isatty() or len(files) == 1):
        outputs = []
        try:
            for clips in _batches(file, rate, clip, hop, batch_size, channel, short, resampling):
                if clips.shape[1] < shortest:
                    raise audio.AudioError(
                        f"{file}: lasts {clips.shape[1] / rate:.2f} s, but {ckpt} needs "
                        f"{shortest / rate:.2f} s. Use the checkpoint."
                    )
                outputs.append(score(clips))
        except audio.AudioError as error:
            failures += 1
            print(f"mgc: {error}", file=sys.stderr)
            continue
        values = np.concatenate(outputs)
        labels = about["labels"] or [str(i) for i in range(values.shape[1])]
        starts = np.arange(len(values)) * hop / rate
        _tell(file, values, starts, labels, top, over_time, format)
    if failures:
        raise MgcError(f"{failures} of {len(files)} files could not be classified.")


def _load(path: str, device: str) -> tuple[Scorer, dict[str, Any]]:
    """Load a model, and what its file says of it; an exported one without PyTorch."""
    if Path(path).suffix == ".pt2":
        raise MgcError(
            f"{path}: PyTorch could run code of its own when it reads such an archive, so it is "
            "not read. Give a checkpoint, or a file of mgc export --format onnx."
        )
    if Path(path).suffix == ".onnx":
        from mgc.deployment.onnx_model import OnnxModel

        graph = OnnxModel(path, device)
        return graph.classify, graph.about
    import torch

    from mgc import checkpoint
    from mgc.evaluation.scores import probabilities

    model, about = checkpoint.read_model(path, device)

    def score(clips: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = model(torch.from_numpy(clips).to(device))
        return probabilities(logits.float(), about["task"]).cpu().numpy()

    return score, about


def _batches(
    path: str,
    rate: int,
    clip: int,
    hop: int,
    batch_size: int,
    channel: int | None,
    short: str,
    resampling: Resampling,
) -> Iterator[np.ndarray]:
    """Read a file a batch of clips at a time, however long it is."""
    info = audio.probe(path)
    audio.check_rates(path, info.sample_rate, rate)
    length = audio.resampled_length(info.frames, info.sample_rate, rate)
    starts = np.arange(0, max(1, length - clip + 1), hop)
    for first in range(0, len(starts), batch_size):
        some = starts[first : first + batch_size]
        samples = int(some[-1] - some[0]) + clip
        part = audio.read(path, rate, int(some[0]), samples, channel, resampling)
        yield np.stack([audio.fit_length(part[s - some[0] :], clip, short) for s in some.tolist()])


def _tell(
    file: str,
    values: np.ndarray,
    starts: np.ndarray,
    labels: list[str],
    top: int,
    over_time: bool,
    format: str,
) -> None:
    """Print what was found in a song."""
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
        print(json.dumps(song))
        return
    print(f"{file}: {_best(mean, labels, top)}")
    if over_time:
        for start, row in zip(starts, values, strict=True):
            print(f"  {start:7.1f} s  {_best(row, labels, top)}")


def _best(values: np.ndarray, labels: list[str], top: int) -> str:
    return ", ".join(f"{labels[i]} {values[i]:.2f}" for i in np.argsort(-values)[:top])
