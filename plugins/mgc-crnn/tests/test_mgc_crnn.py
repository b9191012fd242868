from pathlib import Path

import pytest
import torch
import yaml
from mgc_crnn import CRNN, CRNNTagger

from mgc.cli import main
from mgc.data.gtzan import GTZAN
from mgc.errors import MgcError
from mgc.testing import MODEL_CHECKS, ModelCase

CONFIG = Path(__file__).parents[1] / "configs" / "crnn_gtzan.yaml"


@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_contract(check):
    small = {"channels": [4, 8, 8, 8], "hidden": 16, "n_mels": 48, "head_dropout": 0.0, "lr": 0.02}
    check(ModelCase(CRNNTagger, small))


@pytest.mark.parametrize(("width", "weights"), [(30, 0.1e6), (68, 0.5e6), (96, 1e6), (169, 3e6)])
def test_sizes_of_the_paper(width, weights):
    channels = [width, *(round(2.005 * width),) * 3]
    count = sum(p.numel() for p in CRNN(50, 96, channels, width).parameters())
    assert abs(count - weights) < 0.06 * weights


def test_number_of_recurrent_steps():
    net, seen = CRNN(50).eval(), []
    net.rnn.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    net(torch.randn(1, 96, 1366))
    assert seen == [(1, 15, 137)]


def test_output_depends_on_the_end_of_a_clip():
    torch.manual_seed(0)
    net = CRNN(3).eval()
    spectrogram = torch.randn(1, 96, 960)
    other = spectrogram.clone()
    other[:, :, 800:] = 0
    assert not torch.allclose(net(spectrogram), net(other))


def test_trains_with_its_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "data synth music --tracks-per-genre 2 --seconds 2 --workers 1"
    main(words.split())
    words = f"fit --config {CONFIG} --data.root music --data.split stratified"
    words += " --data.batch_size 2 --data.num_workers 0 --data.clip_seconds 2"
    words += " --model.channels=[4,8,8,8] --model.hidden 4 --trainer.max_epochs 1"
    words += " --trainer.limit_train_batches 1 --trainer.limit_val_batches 1"
    main([*words.split(), "--trainer.logger=false", "--trainer.accelerator=cpu"])
    assert list(tmp_path.rglob("best.ckpt"))


def test_settings_of_the_configuration():
    config = yaml.safe_load(CONFIG.read_text())
    model = CRNNTagger(num_classes=10, sample_rate=12000, **config["model"]["init_args"])
    data = GTZAN(**config["data"]["init_args"])
    frames = model.spectrogram(torch.zeros(1, data.clip_samples)).shape
    assert frames == (1, 96, 1366)


def test_wrong_number_of_convolutions():
    with pytest.raises(MgcError, match="channels of 4 convolutions"):
        CRNNTagger(num_classes=2, channels=[4, 4])
