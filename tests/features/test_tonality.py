import librosa
import numpy as np
import pytest
import torch

from mgc.errors import MgcError
from mgc.features.tonality import (
    KEYS,
    Chroma,
    KeyClarity,
    KeyStrength,
    TonalCentroid,
    chroma_filters,
    harmonic_change,
)

RATE = 22050
MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 11)  # harmonic


def tone(semitones_above_c4, seconds):
    time = torch.arange(round(seconds * RATE)) / RATE
    frequency = 261.6256 * 2 ** (semitones_above_c4 / 12)
    return sum(torch.sin(2 * torch.pi * h * frequency * time) / h**2 for h in range(1, 5)) / 4


def scale(tonic, steps):
    """An ascending scale of one octave, with tonic and fifth twice as long."""
    notes = [tone(tonic + s, 0.5 if s in (0, 7) else 0.25) for s in steps]
    return torch.cat([*notes, tone(tonic + 12, 0.5)])[None]


@pytest.mark.parametrize(("sample_rate", "n_fft"), [(22050, 1024), (44100, 2048), (16000, 744)])
def test_chroma_filters_equal_librosa(sample_rate, n_fft):
    expected = librosa.filters.chroma(sr=sample_rate, n_fft=n_fft, tuning=0.0)
    np.testing.assert_allclose(chroma_filters(sample_rate, n_fft).T, expected, atol=1e-6)


def test_chroma_and_tonal_centroid_equal_librosa():
    magnitude = np.random.default_rng(0).random((513, 20)).astype(np.float32)
    expected = librosa.feature.chroma_stft(S=magnitude, sr=RATE, n_fft=1024, tuning=0.0, norm=1)
    chroma = Chroma(RATE, 1024)(torch.from_numpy(magnitude.T.copy()))
    np.testing.assert_allclose(chroma.T, expected, rtol=1e-4)
    centroid = TonalCentroid()(chroma)
    tonnetz = librosa.feature.tonnetz(chroma=expected, sr=RATE)
    np.testing.assert_allclose(centroid.T, tonnetz, atol=1e-5)
    change = harmonic_change(centroid[None])[0]
    np.testing.assert_allclose(change[1:], np.linalg.norm(np.diff(tonnetz), axis=0), atol=1e-5)
    assert change[0] == 0


def test_chroma_of_a_tone_is_its_pitch_class():
    n_fft = 16384
    for pitch in range(12):
        audio = tone(pitch, 1)[:n_fft]
        magnitude = torch.fft.rfft(audio * torch.hamming_window(n_fft)).abs()
        assert Chroma(RATE, n_fft)(magnitude).argmax() == pitch


def test_harmonic_change_peaks_where_the_chord_changes():
    first, second = (torch.zeros(12) for _ in range(2))
    first[[0, 4, 7]] = 1 / 3  # C major
    second[[6, 10, 1]] = 1 / 3  # F sharp major, as far as can be
    near = torch.zeros(12)
    near[[0, 4, 9]] = 1 / 3  # A minor, one note away
    centroid = TonalCentroid()(torch.stack([first, first, second, second, first, near]))
    change = harmonic_change(centroid[None])[0]
    assert change.argmax() == 2
    assert change[[1, 3]].max() < 1e-6
    assert change[4] > 2 * change[5] > 0.1


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize(("mode", "steps"), [("major", MAJOR), ("minor", MINOR)])
def test_all_24_keys_are_recognised(tonic, mode, steps):
    strengths = KeyClarity(RATE, 3.0).key_strengths(scale(tonic, steps))[0, 0]
    best = KEYS[int(strengths.argmax())]
    assert best == f"{KEYS[tonic].split()[0]} {mode}"
    assert strengths.max() > 0.45


def test_scale_is_clearer_than_noise():
    audio = scale(0, MAJOR)
    noise = torch.randn(8, audio.shape[1], generator=torch.Generator().manual_seed(0))
    centres = torch.tensor([1000.0])
    module = KeyClarity(RATE)
    assert module(audio, centres).item() > module(noise, centres).max().item() + 0.1


def test_key_profile_itself_is_perfectly_clear():
    strength = KeyStrength()
    torch.testing.assert_close(strength(strength.profiles.T).diagonal(), torch.ones(24))
    expected = np.corrcoef(strength.profiles.T)
    np.testing.assert_allclose(strength(strength.profiles.T), expected, atol=1e-6)


def test_flat_chroma_has_no_key():
    assert KeyStrength()(torch.full((2, 12), 1 / 12)).abs().max() == 0
    assert KeyStrength()(torch.zeros(12)).abs().max() == 0


def test_each_frame_takes_the_nearest_window():
    module = KeyClarity(RATE, 6.0)
    audio = torch.cat([scale(0, MAJOR), torch.randn(1, 10 * RATE)], 1)
    windows = module.key_strengths(audio).amax(-1)[0]
    assert len(windows) == 1 + (audio.shape[1] - 6 * RATE) // (3 * RATE)
    centres = torch.tensor([0.0, 4.4, 4.6, 7.4, 7.6, 99.0]) * RATE
    assert module(audio, centres)[0].tolist() == windows[[0, 0, 1, 1, 2, -1]].tolist()


def test_clip_shorter_than_a_window_is_the_window():
    audio = torch.randn(2, 3 * RATE, generator=torch.Generator().manual_seed(0))
    clarity = KeyClarity(RATE, 6.0)(audio, torch.arange(128) * 512.0)
    assert clarity.shape == (2, 128)
    assert (clarity == clarity[:, :1]).all()
    torch.testing.assert_close(
        clarity[:, 0], KeyClarity(RATE, 3.0)(audio, torch.zeros(1))[:, 0], atol=0.02, rtol=0
    )


@pytest.mark.parametrize(
    ("arguments", "match"), [((RATE, 0.0), "key_window_seconds"), ((RATE, 6.0, 1.0), "overlap")]
)
def test_invalid_settings_raise(arguments, match):
    with pytest.raises(MgcError, match=match):
        KeyClarity(*arguments)
