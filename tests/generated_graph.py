"""ONNX graph like those of mgc export, made without PyTorch."""

import json
from pathlib import Path

import onnx
from onnx import TensorProto, helper


def save_graph(path: Path, about: object) -> Path:
    """Save a graph that outputs the first two samples of a clip."""
    ends = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("start", 0), ("end", 2), ("axis", 1))
    ]
    graph = helper.make_graph(
        [helper.make_node("Slice", ["audio", "start", "end", "axis"], ["probabilities"])],
        "test",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", "samples"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])],
        ends,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if about is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "mgc", about if isinstance(about, str) else json.dumps(about)
    onnx.save(model, path)
    return path
