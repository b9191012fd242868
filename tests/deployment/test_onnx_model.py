from pathlib import Path

import numpy as np
import pytest
from generated_graph import save_graph

from mgc.cli import main
from mgc.deployment.onnx_model import OnnxModel
from mgc.errors import MgcError

ABOUT = {
    "class_path": "somewhere.Else",
    "labels": ["quiet", "loud"],
    "task": "multiclass",
    "sample_rate": 8000,
    "clip_seconds": 0.5,
    "outputs": ["probabilities"],
    "samples": None,
}


def test_runs_a_graph(tmp_path: Path) -> None:
    model = OnnxModel(save_graph(tmp_path / "m.onnx", ABOUT))
    assert model.about["labels"] == ["quiet", "loud"]
    clips = np.array([[0.25, 0.75, 0.5]], np.float32)
    np.testing.assert_array_equal(model.classify(clips), [[0.25, 0.75]])


def test_a_graph_with_a_fixed_clip_length(tmp_path: Path) -> None:
    model = OnnxModel(save_graph(tmp_path / "m.onnx", ABOUT | {"samples": 4}))
    assert model.classify(np.zeros((2, 4), np.float32)).shape == (2, 2)
    with pytest.raises(MgcError, match="takes clips of 4 samples, but one has 3"):
        model.classify(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (None, "It was not written by mgc export"),
        ("{", "invalid description"),
        ([], "invalid description"),
        ({"labels": []}, "no valid 'class_path'"),
        (ABOUT | {"task": 3}, "task=3: choose one of multiclass, multilabel, regression"),
        (ABOUT | {"labels": ["a", "a"]}, "the label 'a' occurs twice"),
        (ABOUT | {"sample_rate": 10**9}, "sample_rate=1000000000: must be a whole number from"),
    ],
)
def test_graphs_without_a_description_are_refused(
    tmp_path: Path, about: object, message: str
) -> None:
    with pytest.raises(MgcError, match=message):
        OnnxModel(save_graph(tmp_path / "m.onnx", about))


def test_broken_files_and_missing_devices(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(MgcError, match="no such file"):
        OnnxModel(path)
    path.write_bytes(b"no graph")
    with pytest.raises(MgcError, match="not a complete ONNX file"):
        OnnxModel(path)
    with pytest.raises(MgcError, match="does not support the device mps"):
        OnnxModel(path, "mps")


def test_torch_archives_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["classify", "song.wav", "--ckpt", "model.pt2"])
    assert "could run arbitrary code" in capsys.readouterr().err
