import librosa
import numpy as np
import pytest
import torch

from mgc.errors import MgcError
from mgc.features.spectrogram import LogMelSpectrogram


def test_agrees_with_librosa() -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, 36_000).astype(np.float32)
    ours = LogMelSpectrogram(12_000)(torch.from_numpy(audio[None]))[0].numpy()
    power = librosa.feature.melspectrogram(
        y=audio, sr=12_000, n_fft=512, hop_length=256, n_mels=96, pad_mode="constant"
    )
    theirs = librosa.power_to_db(power, ref=np.max, top_db=80)
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_the_paper_s_clip_has_1360_frames() -> None:
    assert LogMelSpectrogram(12_000)(torch.randn(2, 348_000)).shape == (2, 96, 1360)


def test_range_is_80_decibels_below_the_clip_s_maximum() -> None:
    decibels = LogMelSpectrogram(12_000)(torch.stack([torch.randn(8000), torch.randn(8000) / 1000]))
    assert decibels.amax(dim=(1, 2)).tolist() == [0, 0]
    assert decibels.min() >= -80


def test_silence_and_one_sample_are_finite() -> None:
    front_end = LogMelSpectrogram(12_000)
    assert front_end(torch.zeros(1, 8000)).isfinite().all()
    assert front_end(torch.ones(1, 1)).shape == (1, 96, 1)


def test_autocast_changes_nothing() -> None:
    front_end, audio = LogMelSpectrogram(12_000), torch.randn(1, 8000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = front_end(audio.bfloat16().float())
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, front_end(audio.bfloat16().float()))


def test_band_above_nyquist_raises() -> None:
    with pytest.raises(MgcError, match=r"f_max=6000: must be at most 4000 Hz"):
        LogMelSpectrogram(8000, f_max=6000)
