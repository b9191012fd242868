"""Classifies songs with a checkpoint or an exported graph."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgc.data import audio
from mgc.data.resampling import Resampling
from mgc.errors import MgcError

if TYPE_CHECKING:
    import pandas as pd
    from lightning.pytorch import LightningModule
    from matplotlib.axes import Axes

#: Function from clips of shape (batch, samples) to probabilities of shape (batch, classes).
Scorer = Callable[[np.ndarray], np.ndarray]


def _load(
    path: str, device: str, model_class: "str | type[LightningModule] | None"
) -> tuple[Scorer, dict[str, Any]]:
    """Load a model and its description; an ONNX file without importing PyTorch."""
    if Path(path).suffix == ".pt2":
        raise MgcError(
            f"{path}: loading a .pt2 archive could run arbitrary code. Use a checkpoint, or a file "
            "from mgc export --format onnx."
        )
    if Path(path).suffix == ".onnx":
        if model_class is not None:
            raise MgcError(f"{path}: an ONNX file contains its model. Omit --model.")
        from mgc.deployment.onnx_model import OnnxModel

        graph = OnnxModel(path, device)
        return graph.classify, graph.about
    import torch

    from mgc import checkpoint
    from mgc.evaluation.contract import check_outputs
    from mgc.evaluation.scores import probabilities

    model, about = checkpoint.read_model(path, device, model_class)

    def score(clips: np.ndarray) -> np.ndarray:
        inputs = torch.from_numpy(clips).to(device)
        with torch.inference_mode():
            logits = check_outputs(model, model(inputs), inputs, len(about["labels"]))
        return probabilities(logits.cpu().double(), about["task"]).numpy()

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
    """Yield the clips of a file in batches of shape (batch, samples)."""
    info = audio.probe(path)
    audio.check_rates(path, info.sample_rate, rate)
    length = audio.resampled_length(info.frames, info.sample_rate, rate)
    starts = np.arange(0, max(1, length - clip + 1), hop)
    for first in range(0, len(starts), batch_size):
        batch_starts = starts[first : first + batch_size]
        samples = int(batch_starts[-1] - batch_starts[0]) + clip
        part = audio.read(path, rate, int(batch_starts[0]), samples, channel, resampling)
        offsets = (batch_starts - batch_starts[0]).tolist()
        yield np.stack([audio.fit_length(part[offset:], clip, short) for offset in offsets])


class Classifier:
    """Classifies songs with a trained model.

    Example:
        >>> classifier = mgc.Classifier("best.ckpt")
        >>> classifier.predict(["first.mp3", "second.wav"])  # a row per song
        >>> classifier.predict_over_time("first.mp3")  # a row per clip
        >>> classifier.plot("first.mp3")

    Attributes:
        about: Description of the model (see :func:`mgc.checkpoint.describe`).
        hop_seconds: Distance between the starts of clips.
        errors: Error message by song, for songs that the last :meth:`predict` skipped.
    """

    def __init__(
        self,
        ckpt: str | PathLike[str],
        device: str = "cpu",
        hop_seconds: float | None = None,
        batch_size: int = 32,
        model: "str | type[LightningModule] | None" = None,
    ) -> None:
        """Load a model.

        Args:
            ckpt: Checkpoint written by ``mgc fit``, or ONNX file written by ``mgc export``.
            device: torch device, such as ``cpu`` or ``cuda``.
            hop_seconds: Distance between the starts of clips; by default as in ``mgc test``.
            batch_size: Clips per batch.
            model: Class of the checkpoint's model (see :func:`mgc.load`).

        Raises:
            MgcError: If the model cannot be loaded or does not take audio.
        """
        self.ckpt = ckpt = fspath(ckpt)
        self.score, self.about = _load(ckpt, device, model)
        about = self.about
        if not about["clip_seconds"]:
            raise MgcError(f"{ckpt}: the model does not take audio, so it cannot classify files.")
        if about["task"] is None:
            raise MgcError(f"{ckpt}: its description has no task, so it cannot classify files.")
        self.rate = about["sample_rate"]
        self.clip = round(about["clip_seconds"] * self.rate)
        if hop_seconds is None:
            hop_seconds = about.get("hop_seconds") or about["clip_seconds"]
        self.hop = round(hop_seconds * self.rate)
        if self.hop < 1:
            raise MgcError(f"hop_seconds={hop_seconds}: must be greater than 0.")
        self.hop_seconds = hop_seconds
        self.batch_size = batch_size
        self.errors: dict[str, str] = {}

    @property
    def labels(self) -> list[str]:
        """Names of the classes, tags or quantities."""
        return list(self.about["labels"])

    def predict(self, songs: str | PathLike[str] | Iterable[str | PathLike[str]]) -> "pd.DataFrame":
        """Classify one or several audio files.

        Files that cannot be read are skipped with a warning; see :attr:`errors`.

        Returns:
            One row per song, indexed by its path, and one column per label: mean probability over
            the song's clips (mean prediction for regression).
        """
        import pandas as pd

        if isinstance(songs, str | PathLike):
            songs = [songs]
        rows: dict[str, np.ndarray] = {}
        self.errors = {}
        for song in [fspath(song) for song in songs]:
            try:
                rows[song] = self.classify(song)[0].mean(axis=0)
            except audio.AudioError as error:
                self.errors[song] = str(error)
                warnings.warn(f"Skipped: {error}", stacklevel=2)
        values = np.stack(list(rows.values())) if rows else np.empty((0, len(self.labels)))
        index = pd.Index(list(rows), name="song", dtype=object)
        return pd.DataFrame(values, index, self._columns(values))

    def predict_over_time(self, song: str | PathLike[str]) -> "pd.DataFrame":
        """Classify every clip of an audio file.

        Returns:
            One row per clip, indexed by its start in seconds, and one column per label.

        Raises:
            AudioError: If the file cannot be read, or is too short for the model.
        """
        import pandas as pd

        values, starts = self.classify(fspath(song))
        return pd.DataFrame(values, pd.Index(starts, name="start"), self._columns(values))

    def plot(self, song: str | PathLike[str], top: int = 5, ax: "Axes | None" = None) -> "Axes":
        """Plot the probabilities of the ``top`` labels over the time of a song.

        Args:
            song: Audio file.
            top: Number of labels to plot, by highest mean.
            ax: Axes to draw on; by default new ones.

        Raises:
            AudioError: If the file cannot be read, or is too short for the model.
        """
        table = self.predict_over_time(song)
        best = table.mean().nlargest(top).index
        # Draw the step of the last clip too.
        table.loc[table.index[-1] + self.hop_seconds] = table.iloc[-1]
        kind = "prediction" if self.about["task"] == "regression" else "probability"
        axes: Axes = table[best].plot(
            ax=ax, drawstyle="steps-post", xlabel="time (s)", ylabel=kind, title=Path(song).name
        )
        legend = axes.get_legend()
        for text in (axes.title, *(legend.get_texts() if legend else ())):
            text.set_parse_math(False)  # names may have dollar signs
        return axes

    def _columns(self, values: np.ndarray) -> list[str]:
        return self.labels or [str(number) for number in range(values.shape[1])]

    def classify(self, file: str) -> tuple[np.ndarray, np.ndarray]:
        """Compute the outputs for every clip of an audio file.

        Returns:
            Outputs of shape (clips, classes), and the start of each clip in seconds.

        Raises:
            AudioError: If the file cannot be read or is too short for the model, or its outputs are
                not finite.
        """
        about, rate = self.about, self.rate
        # Defaults for checkpoints of earlier versions.
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
        if self.labels and values.shape[1:] != (len(self.labels),):
            raise MgcError(
                f"{self.ckpt}: the model returns outputs of shape {values.shape}, but its "
                f"description has {len(self.labels)} labels."
            )
        if not np.isfinite(values).all():
            raise audio.AudioError(f"{file}: the model's outputs are not finite numbers")
        return values, np.arange(len(values)) * self.hop / rate
