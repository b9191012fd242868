import numpy as np
import pytest

from mgc.data.msd.beats import beat_align, normalise_timbre
from mgc.data.msd.files import find_tracks, read_track

#            0.0   0.4   0.97      1.5   1.97      2.4                   4.9
SEGMENTS = [0.00, 0.40, 0.97, 1.50, 1.97, 2.40, 4.90]
FEATURES = np.array([[1.0], [2.0], [4.0], [8.0], [16.0], [32.0], [64.0]])


def align(segments, beats, features=FEATURES, duration=5.0):
    return beat_align(np.array(segments), np.array(beats), features, duration)[:, 0].tolist()


def test_segments_of_a_beat_are_averaged():
    # The segments at 0.97 and 1.97 are the notes on the beats at 1.0 and 2.0.
    assert align(SEGMENTS, [1.0, 2.0, 3.0]) == [(4 + 8) / 2, 16, (32 + 64) / 2]


def test_segments_before_the_first_beat_are_ignored():
    assert align([0.0, 1.0], [1.0], FEATURES[:2]) == [2]


def test_beat_without_a_segment_takes_the_sounding_one():
    # The segment from 2.4 to 4.9 has its middle in the beat at 3.
    assert align(SEGMENTS, [2.0, 3.0, 4.0, 4.5])[1:] == [32, 32, 64]


def test_beat_before_the_first_segment_takes_the_first():
    assert align([2.0, 3.0], [0.0, 2.5], FEATURES[:2]) == [1, 1.5]


def test_last_beat_ends_with_the_track():
    assert align([0.0, 1.0, 2.0, 3.0], [0.0], FEATURES[:4], 4.0) == [(1 + 2 + 4 + 8) / 4]


def test_no_beats_gives_no_features():
    assert beat_align(np.array([0.0]), np.array([]), FEATURES[:1], 1.0).shape == (0, 1)


def test_no_segments_raises_error():
    with pytest.raises(ValueError, match="no segments"):
        beat_align(np.array([]), np.array([0.0]), np.empty((0, 1)), 1.0)


def reference_align(segments_start, beats_start, features, duration):
    """Slow reference for beat_align."""
    ends = [*segments_start[1:], max(duration, segments_start[-1])]
    beat_ends = [*beats_start[1:], max(duration, beats_start[-1])]
    rows = []
    for i, (start, end) in enumerate(zip(beats_start, beat_ends, strict=True)):
        stop = end if i + 1 < len(beats_start) else float("inf")
        own = [
            row
            for row, a, b in zip(features, segments_start, ends, strict=True)
            if start <= (a + b) / 2 < stop
        ]
        if not own:
            sounding = [k for k, a in enumerate(segments_start) if a <= (start + end) / 2]
            own = [features[sounding[-1] if sounding else 0]]
        rows.append(np.mean(own, axis=0))
    return np.array(rows)


def test_equals_reference_on_random_tracks():
    rng = np.random.default_rng(0)
    for _ in range(20):
        segments = np.sort(rng.uniform(0, 60, rng.integers(1, 100)))
        beats = np.sort(rng.uniform(0, 60, rng.integers(1, 100)))
        features = rng.normal(0, 50, (len(segments), 12))
        expected = reference_align(segments, beats, features, 60.0)
        np.testing.assert_allclose(
            beat_align(segments, beats, features, 60.0), expected, rtol=1e-5, atol=1e-5
        )


def test_equals_reference_on_a_real_track(real_data):
    path = find_tracks(real_data / "msd")[10]
    track = read_track(path)
    for features in (track.chroma, track.timbre):
        arguments = (track.segments_start, track.beats_start, features, track.duration)
        np.testing.assert_allclose(
            beat_align(*arguments), reference_align(*arguments), rtol=1e-5, atol=1e-4
        )


def test_timbre_has_zero_mean_and_unit_variance():
    timbre = np.random.default_rng(0).normal(40, 7, (100, 12)).astype(np.float32)
    normal = normalise_timbre(timbre)
    assert normal.dtype == np.float32
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -171.13])
def test_constant_timbre_becomes_zero(value):
    assert (normalise_timbre(np.full((77, 12), value, np.float32)) == 0).all()


def test_normalising_no_beats_gives_no_timbre():
    assert normalise_timbre(np.empty((0, 12))).shape == (0, 12)
