"""Front ends within models and trainers of true half precision."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from mgc.data.gtzan import GTZAN
from mgc.features.frames import STFTMap
from mgc.features.mfcc import MFCCStatistics
from mgc.features.music_map import MusicMap
from mgc.features.spectrogram import LogMelSpectrogram
from mgc.models.residual_map_net import ResidualMapClassifier
from mgc.models.vgg import VGGTagger

FRONT_ENDS = {
    "log_mel": lambda: LogMelSpectrogram(8000),
    "mfcc": lambda: MFCCStatistics(8000),
    "stft": lambda: STFTMap(8000),
    "music": lambda: MusicMap(8000),
}
HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture
def audio() -> Tensor:
    return torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0)) / 10


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_a_cast_model_keeps_its_front_end(name: str, dtype: torch.dtype, audio: Tensor) -> None:
    front_end = FRONT_ENDS[name]()
    expected = front_end(audio)
    model = nn.Sequential(front_end, nn.Linear(3, 3))
    model.to(dtype)
    assert model[1].weight.dtype == dtype
    assert torch.equal(front_end(audio), expected)
    model.half()
    assert torch.equal(front_end(audio), expected)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_buffers_do_not_depend_on_the_default_dtype(
    name: str, dtype: torch.dtype, audio: Tensor
) -> None:
    expected = FRONT_ENDS[name]()(audio)
    torch.set_default_dtype(dtype)
    try:
        found = FRONT_ENDS[name]()(audio)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["log_mel", "stft", "music"])
def test_half_precision_clips_give_half_precision_features(name: str, audio: Tensor) -> None:
    front_end, clips = FRONT_ENDS[name]().bfloat16(), audio.bfloat16()
    found = front_end(clips)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, front_end(clips.float()).bfloat16())


def test_moves_to_another_device() -> None:
    front_end = LogMelSpectrogram(8000).to("meta", torch.bfloat16)
    assert (front_end.window.device.type, front_end.window.dtype) == ("meta", torch.float32)


@pytest.mark.parametrize("maps", [None, "both"])
def test_training_in_true_half_precision(maps: str | None, tones: Path) -> None:
    trainer = Trainer(precision="bf16-true", fast_dev_run=1, accelerator="cpu")
    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=1.0, batch_size=4)
    settings = {"num_classes": 10, "sample_rate": 8000}
    if maps:
        model = ResidualMapClassifier(maps=maps, standardize=False, **settings)
    else:
        model = VGGTagger(channels=2, **settings)
    trainer.fit(model, data)
    assert next(model.net.parameters()).dtype == torch.bfloat16
    assert trainer.callback_metrics["train/loss"].isfinite()
