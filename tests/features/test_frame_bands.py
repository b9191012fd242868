import librosa
import numpy as np
import pytest
import torch

from mgc.errors import MgcError
from mgc.features.frame_bands import (
    FrameBands,
    quarter_octave_bands,
    spectral_crest,
    spectral_flatness,
)


def noise(seconds=0.3, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, int(22050 * seconds)))


def numpy_powers(audio):
    """Powers of Hamming-windowed frames, relative to those of a sine of full scale."""
    window = np.hamming(1024)
    frames = np.lib.stride_tricks.sliding_window_view(audio.numpy(), 1024)[::512]
    return np.abs(np.fft.rfft(frames * window)) ** 2 / (window.sum() / 2) ** 2


def test_bands_of_mpeg_7_and_marsyas():
    """21 of the 24 bands lie below 11 025 Hz; the first goes from 237.5 to 312.2 Hz."""
    bands = quarter_octave_bands(22050, 1024)
    assert len(bands) == 21
    assert bands[0] == (round(237.5 * 1024 / 22050), round(312.2 * 1024 / 22050))
    assert bands[-1] == (round(7600 * 1024 / 22050), round(9513.7 * 1.05 * 1024 / 22050))
    assert len(quarter_octave_bands(44100, 2048)) == 24
    assert quarter_octave_bands(400, 20) == []


def test_features_equal_numpy():
    audio = noise()
    power = numpy_powers(audio)
    found = FrameBands()(audio[None].float())
    for band, (first, last) in enumerate(quarter_octave_bands(22050, 1024)):
        inside = power[:, first : last + 1]
        flatness = np.prod(inside ** (1 / inside.shape[1]), axis=1) / inside.mean(axis=1)
        crest = np.sqrt(inside).max(axis=1) / np.sqrt(inside.mean(axis=1))
        np.testing.assert_allclose(found["SFM"][0, :, band], flatness, rtol=1e-3)
        np.testing.assert_allclose(found["SCF"][0, :, band], crest, rtol=1e-3)


def test_features_equal_librosa():
    audio = noise()
    power = numpy_powers(audio)
    mel = librosa.feature.melspectrogram(S=power.T, sr=22050, n_mels=40)
    decibels = librosa.power_to_db(mel, top_db=None)
    found = FrameBands(features=["MEL"])(audio[None].float())["MEL"][0]
    np.testing.assert_allclose(found.T, decibels, atol=1e-3)
    flatness = librosa.feature.spectral_flatness(S=np.sqrt(power.T))
    whole = spectral_flatness(torch.from_numpy(power), [(0, 512)])
    np.testing.assert_allclose(whole[:, 0], flatness[0], rtol=1e-6)


def test_range_of_flatness_and_crest():
    """A flat spectrum and a single line."""
    flat, line = torch.ones(16), torch.full((16,), 1e-10).index_fill(0, torch.tensor(3), 1.0)
    assert spectral_flatness(flat, [(0, 15)]) == 1
    assert spectral_crest(flat, [(0, 15)]) == 1
    assert spectral_flatness(line, [(0, 15)]) < 1e-7
    assert spectral_crest(line, [(0, 15)]) == pytest.approx(4)


def test_silence_and_broken_samples_are_finite():
    audio = torch.zeros(4, 4096)
    audio[1, 5], audio[2, 7], audio[3] = torch.nan, torch.inf, 1e30
    for values in FrameBands()(audio).values():
        assert values.isfinite().all()
    silent = FrameBands()(audio[:1])
    assert (silent["SFM"] - 1).abs().max() < 1e-5
    assert (silent["SCF"] - 1).abs().max() < 1e-5


def test_padding_changes_no_frame_before_it():
    audio = noise()[None].float()
    alone = FrameBands()(audio)
    padded = FrameBands()(torch.nn.functional.pad(audio, (0, 5000)))
    for name, values in alone.items():
        assert torch.equal(padded[name][:, : values.shape[1]], values)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"features": ["mel"]}, "choose one of MEL, SFM, SCF"),
        ({"sample_rate": 600}, "too low for SFM"),
    ],
)
def test_invalid_settings_raise(settings, match):
    with pytest.raises(MgcError, match=match):
        FrameBands(**settings)
