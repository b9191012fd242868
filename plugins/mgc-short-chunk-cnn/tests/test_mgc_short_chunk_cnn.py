from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from mgc_short_chunk_cnn import ShortChunkCNN, ShortChunkNet

from mgc.cli import main
from mgc.data.gtzan import GTZAN
from mgc.testing import MODEL_CHECKS, ModelCase

CONFIG = Path(__file__).parents[1] / "configs" / "short_chunk_cnn_gtzan.yaml"


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_contract(check, residual):
    check(ModelCase(ShortChunkCNN, {"channels": 4, "n_mels": 64, "residual": residual, "lr": 0.01}))


def test_shapes_of_the_paper():
    """Seven blocks halve 128 bands and 231 frames to one band and two frames."""
    net, shapes = ShortChunkNet(50).eval(), []
    for block in net.blocks:
        block.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape[1:])))
    net(torch.randn(1, 128, 231))
    assert shapes == [
        (128, 64, 116),
        (128, 32, 58),
        (256, 16, 29),
        (256, 8, 15),
        (256, 4, 8),
        (256, 2, 4),
        (512, 1, 2),
    ]


def test_number_of_weights():
    """A block has three convolutions with normalisation; then follow two dense layers."""
    widths = [1, 128, 128, 256, 256, 256, 256, 512]
    blocks = sum(2 * (9 * a * b + b) + (9 * b * b + b) + 3 * 2 * b for a, b in pairwise(widths))
    dense = 2 + 512 * 512 + 512 + 2 * 512 + 513 * 50
    assert sum(p.numel() for p in ShortChunkNet(50).parameters()) == blocks + dense


def test_without_residual_connections_it_is_smaller():
    sizes = [
        sum(p.numel() for p in ShortChunkNet(50, residual=residual).parameters())
        for residual in (True, False)
    ]
    assert sizes[1] < sizes[0] / 3


def test_trains_with_its_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "data synth music --tracks-per-genre 2 --seconds 2 --workers 1"
    main(words.split())
    words = f"fit --config {CONFIG} --data.root music --data.split stratified"
    words += " --data.batch_size 2 --data.num_workers 0 --model.channels 2 --trainer.max_epochs 1"
    words += " --trainer.limit_train_batches 1 --trainer.limit_val_batches 1"
    main([*words.split(), "--trainer.logger=false", "--trainer.accelerator=cpu"])
    assert list(tmp_path.rglob("best.ckpt"))


def test_settings_of_the_configuration():
    config = yaml.safe_load(CONFIG.read_text())
    model = ShortChunkCNN(num_classes=10, sample_rate=16000, **config["model"]["init_args"])
    data = GTZAN(**config["data"]["init_args"])
    assert data.clip_samples == 59049
    assert model.spectrogram(torch.zeros(1, data.clip_samples)).shape == (1, 128, 231)


def test_output_depends_on_loudness():
    """The spectrogram is not normalised by the maximum of the clip."""
    torch.manual_seed(0)
    model = ShortChunkCNN(num_classes=2, sample_rate=8000, channels=4).eval()
    audio = 0.1 * torch.randn(1, 8000)
    assert not torch.allclose(model(audio), model(0.1 * audio), rtol=1e-3)
