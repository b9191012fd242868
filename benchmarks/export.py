"""Compare outputs and speed of exported ONNX graphs with PyTorch, on one thread.

    python benchmarks/export.py [NAME …]

Exports every kind of model with random weights, including its front end, and runs ONNX Runtime and
PyTorch on the same clips. Reports CPU time, which other programs hardly affect.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch and the BLAS of NumPy are loaded

import torch
from lightning.pytorch import LightningModule

from mgc import checkpoint
from mgc.deployment.graph import Outputs, example_inputs, export_graph
from mgc.deployment.onnx_model import OnnxModel
from mgc.errors import MgcError
from mgc.models.conv_dbn import ConvDBN
from mgc.models.kcnn import KCNNClassifier
from mgc.models.mfcc import MFCC
from mgc.models.residual_map_net import ResidualMapClassifier
from mgc.models.timm_finetune import TimmFinetune
from mgc.models.vgg import VGGTagger

BATCH, REPEATS = 8, 3


def kcnn() -> KCNNClassifier:
    """Make a KCNN with codebooks fitted on noise."""
    model = KCNNClassifier(num_classes=10, codebook_size=64)
    noise = torch.randn(4, 22050 * 10) * torch.rand(4, 1)
    joined = model.words.segments.join(noise)
    model.words.fit({name: x.flatten(0, 1) for name, x in joined.items()})
    with torch.no_grad():
        for name, table in model.net.tables.items():
            table.weight.copy_(model.words.centres(name))
    return model


residual_map_net = partial(ResidualMapClassifier, num_classes=10)
resnet18 = partial(TimmFinetune, "resnet18", pretrained=False, num_classes=10)

#: Model, sample rate in Hz and clip length in seconds; both are 0 for beats.
CASES: dict[str, tuple[Callable[[], LightningModule], int, float]] = {
    "vgg_tagger, 29 s": (partial(VGGTagger, num_classes=50, sample_rate=12000), 12000, 29),
    "residual_map_net stft, 3 s": (partial(residual_map_net, "stft"), 22050, 3),
    "residual_map_net music, 3 s": (partial(residual_map_net, "music"), 22050, 3),
    "residual_map_net both, 3 s": (partial(residual_map_net, "both"), 22050, 3),
    "kcnn, 30 s": (kcnn, 22050, 30),
    "timm_finetune resnet18, 5 s": (resnet18, 22050, 5),
    "timm_finetune harmonic, 5 s": (partial(resnet18, component="harmonic"), 22050, 5),
    "conv_dbn, 200 beats": (partial(ConvDBN, num_classes=10), 0, 0),
    "mfcc, 29 s": (partial(MFCC, 12000), 12000, 29),
}


def cpu_ms(run: Callable[..., object], inputs: Sequence[object]) -> float:
    """Return the shortest CPU time of several runs in milliseconds per item."""
    run(*inputs)
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        run(*inputs)
        times.append(time.process_time() - start)
    return 1000 * min(times) / BATCH


def main(names: list[str]) -> None:
    """Export, compare and print a table."""
    torch.set_num_threads(1)
    print(
        f"{'model':30}{'difference':>11}{'length':>9}{'PyTorch':>10}{'ONNX':>10}{'ratio':>7}{'MB':>7}"
    )
    for name, (make, rate, seconds) in CASES.items():
        if names and not any(part in name for part in names):
            continue
        torch.manual_seed(0)
        model = make().eval()
        for parameter in model.parameters():
            if not parameter.any():  # zero weights of a last layer would make all outputs equal
                torch.nn.init.normal_(parameter)
        outputs: Outputs = "features" if isinstance(model, MFCC) else "probabilities"
        about = checkpoint.describe(model, None) | {"sample_rate": rate, "task": "multiclass"}
        about["clip_seconds"] = seconds or None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            try:
                done = export_graph(model, about, path, outputs=outputs)
            except MgcError as error:
                print(f"{name:30} {error}", flush=True)
                continue
            megabytes = path.stat().st_size / 1e6
            graph = OnnxModel(path, threads=1)
        kind = getattr(model, "kind", "audio")
        inputs = example_inputs(kind, BATCH, round(rate * seconds) or 200, rate)
        tensors = [torch.from_numpy(x) for x in inputs]
        compute = model.features if outputs == "features" else model
        with torch.inference_mode():
            theirs = cpu_ms(compute, tensors)
        ours = cpu_ms(graph, inputs)
        length = "fixed" if done.about["samples"] else "any"
        print(
            f"{name:30}{done.difference:11.1e}{length:>9}{theirs:7.1f} ms{ours:7.1f} ms"
            f"{theirs / ours:7.2f}{megabytes:7.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
