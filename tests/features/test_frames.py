import librosa
import numpy as np
import pytest
import torch

from mgc.errors import MgcError
from mgc.features.frames import FrameSpectrum, STFTMap, clean_audio


def test_clip_of_three_seconds_gives_the_map_of_the_paper():
    audio = torch.randn(2, 66150)
    stft_map = STFTMap()
    assert stft_map(audio).shape == (2, 513, 128)
    assert stft_map.height == 513


def test_magnitudes_equal_librosa():
    audio = np.random.default_rng(0).standard_normal(22050).astype(np.float32)
    expected = np.abs(
        librosa.stft(audio, n_fft=1024, hop_length=512, window=np.hamming(1024), center=False)
    )
    np.testing.assert_allclose(STFTMap()(torch.from_numpy(audio)[None])[0], expected, atol=1e-3)


@pytest.mark.parametrize(
    ("sample_rate", "length", "hop"), [(22050, 1024, 512), (44100, 2048, 1024), (16000, 744, 372)]
)
def test_frames_last_as_long_at_any_rate(sample_rate, length, hop):
    spectrum = FrameSpectrum(sample_rate)
    assert (spectrum.frame_length, spectrum.hop_length) == (length, hop)


def test_only_complete_frames_count():
    spectrum = FrameSpectrum()
    for samples in (1024, 1535, 1536, 66150):
        frames = spectrum(torch.randn(1, samples)).shape[1]
        assert frames == 1 + (samples - 1024) // 512


def test_nan_and_infinity_become_finite():
    audio = torch.tensor([[torch.nan, torch.inf, -torch.inf, 1e30, 0.5]])
    assert clean_audio(audio, 1).tolist() == [[0, 1, -1, 1e6, 0.5]]


def test_clip_shorter_than_a_frame_raises():
    with pytest.raises(MgcError, match="1023 samples are shorter than one frame of 1024"):
        STFTMap()(torch.zeros(1, 1023))


def test_waveform_without_batch_raises():
    with pytest.raises(MgcError, match=r"\(batch, samples\)"):
        STFTMap()(torch.zeros(2048))


@pytest.mark.parametrize(
    "settings", [{"sample_rate": 0}, {"overlap": 1.0}, {"overlap": -0.1}, {"frame_seconds": 1e-5}]
)
def test_invalid_settings_raise(settings):
    with pytest.raises(MgcError, match=next(iter(settings))):
        STFTMap(**settings)
