"""Exported models in ONNX Runtime, without PyTorch."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from mgc.core.description import check_description
from mgc.errors import MgcError

#: Where a file keeps its description, among the metadata of the graph.
KEY = "mgc"

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxModel:
    """A graph that ``mgc export`` wrote.

    Attributes:
        path: The file.
        about: What the model is (see :func:`mgc.deployment.graph.describe_graph`).
    """

    def __init__(
        self, path: str | PathLike[str], device: str = "cpu", threads: int | None = None
    ) -> None:
        """Load a graph.

        Args:
            path: File written by ``mgc export --format onnx``.
            device: Where it runs: ``cpu`` or ``cuda``.
            threads: Cores that it uses; by default all.

        Raises:
            MgcError: If ONNX Runtime is not installed, lacks the device, or the file is missing,
                broken or not written by ``mgc export``.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise MgcError(
                f"{path}: needs ONNX Runtime. Install it: pip install 'onnxruntime>=1.22'"
            ) from error
        if not Path(path).is_file():
            raise MgcError(f"{path}: no such file.")
        provider = PROVIDERS.get(device)
        if provider not in onnxruntime.get_available_providers():
            raise MgcError(f"The device {device} cannot be used: this ONNX Runtime is without it.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; they are raised as well
        if threads:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=[provider])
        except Exception as error:  # its errors have no common class
            raise MgcError(f"{path}: no ONNX graph, or only a part of one.") from error
        self.path = path
        told = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        if told is None:
            raise MgcError(f"{path}: does not say what it is; mgc export did not write it.")
        try:
            self.about: dict[str, Any] = check_description(path, json.loads(told))
        except ValueError as error:
            raise MgcError(f"{path}: what it says of itself cannot be understood.") from error

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Run the graph.

        Args:
            *inputs: Clips of shape (batch, samples), float32; or for a model that takes beats its
                chroma, timbre and lengths.

        Returns:
            The outputs, each of shape (batch, width).
        """
        given = {slot.name: x for slot, x in zip(self._session.get_inputs(), inputs, strict=True)}
        return self._session.run(None, given)

    def classify(self, clips: np.ndarray) -> np.ndarray:
        """Score clips.

        Args:
            clips: Of shape (batch, samples), float32.

        Returns:
            Probabilities of shape (batch, classes); for regression the ratings.

        Raises:
            MgcError: If the graph computes something else, or takes clips of another length only.
        """
        if self.about.get("outputs") != ["probabilities"]:
            raise MgcError(f"{self.path}: holds features, which do not tell classes.")
        length = self.about.get("samples")
        if length and clips.shape[1] != length:
            raise MgcError(
                f"{self.path}: takes clips of {length} samples, but one has {clips.shape[1]}."
            )
        return self(clips)[0]
