from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import torch

from mgc.data import audio
from mgc.features.mfcc import MFCCStatistics

RATE = 12000


def music(seconds: float, seed: int) -> np.ndarray:
    """A melody with noise and a silent second, so that the range of 80 dB has an effect."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    notes = generator.uniform(200, 2000, 1 + int(2 * seconds))[(2 * time).astype(int)]
    clip = 0.3 * np.sin(2 * np.pi * notes * time) + 0.01 * generator.standard_normal(len(time))
    clip[RATE : 2 * RATE] = 0
    return clip.astype(np.float32)


def vector_by_librosa(clip: np.ndarray) -> np.ndarray:
    mfcc = librosa.feature.mfcc(y=clip, sr=RATE, n_mfcc=20, pad_mode="reflect")
    series = [mfcc, np.diff(mfcc), np.diff(mfcc, n=2)]
    return np.concatenate([f(x, axis=1) for x in series for f in (np.mean, np.std)])


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_vectors_equal_librosa() -> None:
    clips = np.stack([music(6, seed) for seed in range(3)])
    found = MFCCStatistics(RATE)(torch.from_numpy(clips)).numpy()
    assert found.shape == (3, 120)
    for vector, clip in zip(found, clips, strict=True):
        expected = vector_by_librosa(clip)
        for part in np.split(np.arange(120), 6):
            np.testing.assert_allclose(vector[part], expected[part], rtol=1e-3, atol=1e-3)
        assert relative_error(vector, expected) < 1e-4


def test_a_clip_does_not_depend_on_the_others_in_its_batch() -> None:
    clips = torch.from_numpy(np.stack([music(3, 0), 1e-3 * music(3, 1)]))
    statistics = MFCCStatistics(RATE)
    torch.testing.assert_close(statistics(clips)[1:], statistics(clips[1:]), rtol=1e-4, atol=1e-4)


def test_autocast_changes_nothing() -> None:
    clips = torch.from_numpy(music(3, 0))[None]
    statistics = MFCCStatistics(RATE)
    with torch.autocast("cpu", torch.bfloat16):
        found = statistics(clips)
    torch.testing.assert_close(found, statistics(clips))


def test_very_short_clips_have_finite_vectors() -> None:
    assert MFCCStatistics(RATE)(torch.rand(2, 300)).isfinite().all()


def test_vectors_of_real_clips_equal_the_published_ones(real_data: Path) -> None:
    published = np.load(real_data / "choi2017/features/gtzan_genre_mfcc.npy")
    rows = pd.read_csv(real_data / "choi2017/labels/gtzan_genre.csv")
    names = [Path(path).stem for path in rows["filepath"]]
    errors = []
    for genre in sorted((real_data / "gtzan_mini/genres").iterdir()):
        path = sorted(genre.glob("*.wav"))[0]
        clip = audio.read(path, RATE, 0, 29 * RATE, resampling="best")
        found = MFCCStatistics(RATE)(torch.from_numpy(clip)[None])[0].numpy()
        errors.append(relative_error(found, published[names.index(path.stem)]))
    assert len(errors) == 10
    assert max(errors) < 0.01
