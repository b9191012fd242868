"""Classification of songs from a checkpoint or an exported graph alone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mgc.data import audio
from mgc.data.resampling import Resampling
from mgc.errors import MgcError

#: Probabilities of clips of shape (batch, samples).
Scorer = Callable[[np.ndarray], np.ndarray]


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


class Classifier:
    """Classifies songs, clip by clip.

    Attributes:
        about: What the model's file says of it (see :func:`mgc.checkpoint.describe`).
        hop_seconds: Distance between the starts of two clips in seconds.
    """

    def __init__(
        self, ckpt: str, device: str = "cpu", hop_seconds: float | None = None, batch_size: int = 32
    ) -> None:
        """Load a model.

        Args:
            ckpt: Checkpoint written by ``mgc fit``, or ONNX file written by ``mgc export``.
            device: Where the model runs.
            hop_seconds: Distance between the starts of two clips in seconds; by default that of
                ``mgc test``, which the checkpoint holds.
            batch_size: Clips per batch.

        Raises:
            MgcError: If the model cannot be loaded or does not take audio.
        """
        self.ckpt = ckpt
        self.score, self.about = _load(ckpt, device)
        about = self.about
        if not about["clip_seconds"]:
            raise MgcError(f"{ckpt}: a model that does not take audio cannot classify files.")
        self.rate = about["sample_rate"]
        self.clip = round(about["clip_seconds"] * self.rate)
        if hop_seconds is None:
            hop_seconds = about.get("hop_seconds") or about["clip_seconds"]
        self.hop = round(hop_seconds * self.rate)
        if self.hop < 1:
            raise MgcError(f"hop_seconds={hop_seconds}: must be greater than 0.")
        self.hop_seconds = hop_seconds
        self.batch_size = batch_size

    def classify(self, file: str) -> tuple[np.ndarray, np.ndarray]:
        """Compute the outputs for every clip of a song.

        Args:
            file: Audio file.

        Returns:
            Outputs of shape (clips, classes), and the start of each clip in seconds.

        Raises:
            AudioError: If the file cannot be read, or is too short for the model.
        """
        about, rate = self.about, self.rate
        # What checkpoints of earlier versions do not say was always so.
        channel, short = about.get("channel"), about.get("short", "repeat")
        resampling = about.get("resampling", "fast")
        shortest = about.get("shortest") or 0
        outputs = []
        for clips in _batches(
            file, rate, self.clip, self.hop, self.batch_size, channel, short, resampling
        ):
            if clips.shape[1] < shortest:
                raise audio.AudioError(
                    f"{file}: lasts {clips.shape[1] / rate:.2f} s, but {self.ckpt} needs "
                    f"{shortest / rate:.2f} s. Use the checkpoint."
                )
            outputs.append(self.score(clips))
        values = np.concatenate(outputs)
        return values, np.arange(len(values)) * self.hop / rate
