from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from lightning.pytorch import LightningModule

from mgc import checkpoint
from mgc.deployment.dft import factorize
from mgc.deployment.graph import export_graph
from mgc.deployment.onnx_model import OnnxModel

#: Small, a power of two, odd, prime, and with a large factor.
SIZES = (6, 1024, 675, 97, 1006)


class Spectra(LightningModule):
    def features(self, audio):
        made = {}
        for size in SIZES:
            spectrum = torch.fft.rfft(audio[:, :size])
            made[f"real{size}"], made[f"imag{size}"] = spectrum.real, spectrum.imag
        window = torch.hann_window(512)
        frames = torch.stft(audio, 512, 100, window=window, center=False, return_complex=True)
        made["stft"] = frames.abs().flatten(1)
        return made


def test_factors_are_as_close_as_possible() -> None:
    assert [factorize(size) for size in (1024, 132_300, 97, 1)] == [
        (32, 32),
        (350, 378),
        (1, 97),
        (1, 1),
    ]


def test_matrix_products_equal_fourier_transforms(tmp_path: Path) -> None:
    path = tmp_path / "spectra.onnx"
    model = Spectra()
    about = checkpoint.describe(model, None) | {"sample_rate": 8000, "clip_seconds": 0.25}
    export_graph(model, about, path, outputs="features", tolerance=1e-5)
    assert not {"DFT", "STFT"} & {node.op_type for node in onnx.load(path).graph.node}
    audio = np.random.default_rng(0).normal(0, 1, (2, 3000))
    names = list(model.features(torch.zeros(1, 3000)))
    graph = OnnxModel(path)
    found = dict(zip(names, graph(audio.astype(np.float32)), strict=True))
    for size in SIZES:
        spectrum = np.fft.rfft(audio[:, :size])
        both = found[f"real{size}"] + 1j * found[f"imag{size}"]
        assert np.abs(both - spectrum).max() < 1e-6 * np.abs(spectrum).max() * np.sqrt(size)
    assert found["stft"].shape == (2, 257 * 25)


def test_large_primes_use_the_operator_of_onnx(tmp_path: Path) -> None:
    class Prime(LightningModule):
        def features(self, audio):
            return {"power": torch.fft.rfft(audio[:, :4099]).abs()}

    model = Prime()
    about = checkpoint.describe(model, None) | {"sample_rate": 8000, "clip_seconds": 1.0}
    # The operator of ONNX Runtime is less exact.
    export_graph(model, about, tmp_path / "prime.onnx", outputs="features", tolerance=1e-2)
    assert "DFT" in {node.op_type for node in onnx.load(tmp_path / "prime.onnx").graph.node}
    assert pytest.approx(0) == OnnxModel(tmp_path / "prime.onnx")(np.zeros((1, 8000), "f"))[0].max()
