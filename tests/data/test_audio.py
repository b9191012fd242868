from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from mgc.data import audio
from mgc.data.audio import AudioError


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, 44_100).astype(np.float32)


@pytest.mark.parametrize("extension", ["wav", "au", "flac"])
@pytest.mark.parametrize("rate", [22050, 12000, 16000, 44100])
def test_excerpt_equals_excerpt_of_whole_file(
    tmp_path: Path, noise: np.ndarray, extension: str, rate: int
) -> None:
    path = tmp_path / f"noise.{extension}"
    soundfile.write(path, noise, 22050)
    whole = audio.read(path, rate)
    assert len(whole) == audio.resampled_length(len(noise), 22050, rate)
    for start, samples in [(0, 100), (1, 5000), (10_007, 3000), (len(whole) - 50, 50)]:
        part = audio.read(path, rate, start, samples)
        np.testing.assert_allclose(part, whole[start : start + samples], atol=1e-6)


def test_excerpt_of_mp3_equals_excerpt_of_whole_file(tmp_path: Path, noise: np.ndarray) -> None:
    path = tmp_path / "noise.mp3"
    soundfile.write(path, noise, 22050, format="MP3")
    whole, _ = soundfile.read(path, dtype="float32")
    # After a seek the decoder lacks the overlap of earlier frames for a few hundred samples.
    part = audio.read(path, 22050, 20_000, 1000)
    np.testing.assert_allclose(part, whole[20_000:21_000], atol=1e-3)


def test_resampling_agrees_with_librosa(tmp_path: Path) -> None:
    """Below both Nyquist frequencies, the two filters differ little."""
    time = np.arange(44_100) / 22050
    chord = sum(0.2 * np.sin(2 * np.pi * f * time) for f in (220, 277.2, 1318.5, 3000))
    path = tmp_path / "chord.wav"
    soundfile.write(path, chord, 22050, subtype="FLOAT")
    ours = audio.read(path, 12000)
    theirs = soxr.resample(chord, 22050, 12000, "HQ")  # librosa's resampler
    # Skip the ends, where the filters extend into silence by different lengths.
    np.testing.assert_allclose(ours[200:-200], theirs[200 : len(ours) - 200], atol=2e-3)


@pytest.mark.parametrize(("source", "target"), [(22050, 22051), (44100, 22049)])
def test_complex_ratio_of_rates_raises_error(tmp_path: Path, source: int, target: int) -> None:
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.zeros(1000), source)
    message = rf"noise\.wav: cannot resample {source} Hz to {target} Hz.*sample_rate=22050"
    with pytest.raises(AudioError, match=message):
        audio.read(path, target)
    assert len(audio.read(path, 22050)) == 1000 * 22050 // source


def test_channel_selection(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([np.full(100, 0.5), np.zeros(100)], axis=1), 8000)
    assert audio.read(path, 8000).max() == 0.25
    assert audio.read(path, 8000, channel=0).min() == 0.5
    with pytest.raises(AudioError, match="no channel 2, only 2 channels"):
        audio.read(path, 8000, channel=2)


def test_short_clips_are_repeated_or_padded() -> None:
    clip = np.array([1.0, 2.0], np.float32)
    assert audio.fit_length(clip, 5, "repeat").tolist() == [1, 2, 1, 2, 1]
    assert audio.fit_length(clip, 5, "pad").tolist() == [1, 2, 0, 0, 0]
    assert audio.fit_length(clip, 1, "pad").tolist() == [1]


def test_broken_files_raise_error(tmp_path: Path, noise: np.ndarray) -> None:
    raw = tmp_path / "raw.wav"
    raw.write_bytes(b"\x00\x01" * 1000)
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, noise[:0], 22050)
    cut = tmp_path / "cut.mp3"
    soundfile.write(cut, np.tile(noise, 5), 22050, format="MP3")
    cut.write_bytes(cut.read_bytes()[:20_000])
    for path in (raw, empty, cut, tmp_path / "missing.wav"):
        with pytest.raises(AudioError, match=path.name):
            audio.probe(path)


def test_probe_returns_length_rate_and_channels(tmp_path: Path, noise: np.ndarray) -> None:
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise, 22050)
    info = audio.probe(path)
    assert (info.frames, info.sample_rate, info.channels, info.seconds) == (44_100, 22050, 1, 2.0)


def test_broken_gtzan_file_raises_error(real_data: Path) -> None:
    with pytest.raises(AudioError, match=r"jazz\.00054\.wav: "):
        audio.probe(real_data / "bad_audio" / "jazz.00054.wav")


def test_best_resampling_keeps_frequencies_just_below_the_cutoff(tmp_path: Path) -> None:
    """The tone at 5400 Hz is just below 6000 Hz, the limit at a rate of 12 000 Hz."""
    time = np.arange(22050) / 22050
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 5400 * time), 22050, subtype="FLOAT")

    def level(resampling: audio.Resampling) -> float:
        return np.std(audio.read(path, 12000, resampling=resampling)[1000:-1000]) / 0.5 * 2**0.5

    assert level("best") == pytest.approx(1, abs=0.01)
    assert level("fast") < 0.97
