import librosa
import numpy as np
import pytest
import torch

from mgc.errors import MgcError
from mgc.features.spectrogram import LogMelSpectrogram
from mgc.features.spectrogram_image import SpectrogramImage

RATE = 8000
TIME = torch.arange(RATE) / RATE


def front_end(size=(65, 40), mean=(0.0,), std=(1.0,), **settings):
    settings = {"n_fft": 256, "hop_length": 128, **settings}
    return SpectrogramImage(RATE, size, mean, std, **settings)


def tone(hertz):
    return 0.3 * torch.sin(2 * torch.pi * hertz * TIME)[None]


def clicks():
    audio = torch.zeros(1, RATE)
    audio[:, ::2000] = 1.0
    return audio


def test_agrees_with_librosa():
    audio = torch.randn(1, RATE)
    spectrum = librosa.stft(audio[0].numpy(), n_fft=256, hop_length=128, pad_mode="constant")
    decibels = librosa.amplitude_to_db(np.abs(spectrum), ref=np.max, top_db=60, amin=1e-10)
    picture = front_end(top_db=60.0).brightness(audio)[0].flip(0)
    np.testing.assert_allclose(60 * (picture - 1), decibels, atol=1e-3)


def test_mel_pictures_are_mel_spectrograms():
    audio = torch.randn(2, RATE)
    picture = front_end(frequency="mel", n_mels=32).brightness(audio)
    expected = LogMelSpectrogram(RATE, 256, 128, 32)(audio)
    torch.testing.assert_close(80 * (picture.flip(1) - 1), expected)


def test_low_notes_are_at_the_bottom():
    # Of 65 rows from 4000 to 0 Hz.
    for hertz, row in ((1000, 48), (3000, 16)):
        picture = front_end()(tone(hertz))[0, 0]
        assert picture.mean(1).argmax() == row


def test_loudness_does_not_matter():
    audio = tone(500) + 0.01 * torch.randn(1, RATE)
    torch.testing.assert_close(front_end()(audio), front_end()(audio / 8))


def test_components_differ():
    """A tone is bright in the harmonic image, a click in the percussive one."""
    audio = tone(1000) + clicks()
    shown = {
        name: front_end(component=name, harmonic_length=17, percussive_length=17)(audio)[0, 0]
        for name in ("original", "harmonic", "percussive")
    }
    # Tones make rows differ, clicks columns.
    rows, columns = (
        {name: picture.mean(dim).std().item() for name, picture in shown.items()} for dim in (1, 0)
    )
    assert rows["harmonic"] > rows["original"] > rows["percussive"]
    assert columns["percussive"] > columns["original"] > columns["harmonic"]


def test_colours_are_normalized_as_for_the_network():
    picture = front_end(mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))(tone(1000))[0]
    plain = front_end()(tone(1000))[0, 0]
    assert picture.shape == (3, 65, 40)
    for colour, mean, std in zip(picture, (0.5, 0.25, 0.0), (0.5, 1.0, 2.0), strict=True):
        torch.testing.assert_close(colour, (plain - mean) / std)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pictures_stay_between_black_and_white(interpolation):
    picture = front_end((32, 100), interpolation=interpolation)(clicks())
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_half_precision_changes_nothing():
    front = front_end()
    picture = front(tone(700))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(front(tone(700)), picture)
    torch.testing.assert_close(front.to(torch.bfloat16)(tone(700)), picture)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"component": "vocal"}, "component='vocal': choose one of original, harmonic, percussive"),
        ({"frequency": "log"}, "frequency='log': choose one of linear, mel"),
        ({"hop_length": 0}, "hop_length=0: must be a whole number from 1"),
        ({"top_db": 0.0}, r"top_db=0\.0: must be a number greater than 0"),
        ({"harmonic_length": 30}, "harmonic_length=30: must be .*, odd"),
    ],
)
def test_invalid_settings_raise(setting, message):
    with pytest.raises(MgcError, match=message):
        front_end(**setting)
