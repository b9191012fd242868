"""Runs exported models in ONNX Runtime, without PyTorch."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from mgc.core.description import check_description
from mgc.errors import MgcError

#: Metadata key of the description in an ONNX file.
KEY = "mgc"

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxModel:
    """ONNX graph written by ``mgc export``.

    Attributes:
        path: Path of the file.
        about: Description of the graph (see :func:`mgc.deployment.graph.describe_graph`).
    """

    def __init__(
        self, path: str | PathLike[str], device: str = "cpu", threads: int | None = None
    ) -> None:
        """Load a graph.

        Args:
            path: File written by ``mgc export --format onnx``.
            device: ``cpu`` or ``cuda``.
            threads: Number of threads; by default one per core.

        Raises:
            MgcError: If ONNX Runtime is not installed or lacks the device, or if the file does not
                exist, is broken or was not written by ``mgc export``.
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
            raise MgcError(f"This ONNX Runtime does not support the device {device}.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        if threads:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=[provider])
        except Exception as error:  # its errors have no common base class
            raise MgcError(f"{path}: not a complete ONNX file.") from error
        self.path = path
        description = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        if description is None:
            raise MgcError(f"{path}: no description. It was not written by mgc export.")
        try:
            self.about: dict[str, Any] = check_description(path, json.loads(description))
        except (ValueError, RecursionError) as error:
            raise MgcError(f"{path}: invalid description.") from error

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Run the graph.

        Args:
            *inputs: Clips of shape (batch, samples), float32; or chroma, timbre and lengths of beat
                features.

        Returns:
            Outputs of shape (batch, width).

        Raises:
            MgcError: If the graph takes other inputs.
        """
        slots = self._session.get_inputs()
        try:
            given = {slot.name: x for slot, x in zip(slots, inputs, strict=True)}
            return self._session.run(None, given)
        except Exception as error:  # its errors have no common base class
            reason = " ".join(str(error).split())[:200]
            raise MgcError(f"{self.path}: the graph cannot be run: {reason}") from error

    def classify(self, clips: np.ndarray) -> np.ndarray:
        """Compute probabilities, or predictions for regression.

        Args:
            clips: Clips of shape (batch, samples), float32.

        Returns:
            Array of shape (batch, classes).

        Raises:
            MgcError: If the graph computes features, or requires clips of another length.
        """
        if self.about.get("outputs") != ["probabilities"]:
            raise MgcError(f"{self.path}: computes features, not probabilities.")
        length = self.about.get("samples")
        if length and clips.shape[1] != length:
            raise MgcError(
                f"{self.path}: takes clips of {length} samples, but one has {clips.shape[1]}."
            )
        return self(clips)[0]
