"""Computes beat-aligned features: the segments of a track, averaged beat by beat.

Source: Dieleman, Brakel and Schrauwen, "Audio-based music classification with a pretrained
convolutional network" (ISMIR 2011), section 2.2: "The segments are mapped to beats, and then the
feature vectors for all segments corresponding to the same beat are averaged."
"""

import numpy as np


def beat_align(
    segments_start: np.ndarray,
    beats_start: np.ndarray,
    features: np.ndarray,
    duration: float,
) -> np.ndarray:
    """Average the features of the segments of each beat; float32 of shape (beats, dimensions).

    Ascending starts and ``duration`` are in seconds. Features have shape (segments, dimensions).

    The paper does not define the mapping. Here a segment belongs to the beat that contains its
    middle. Its start is unsuitable: the Echo Nest's segments start about 30 ms before the beat that
    they mark (median over real tracks), so a note on a beat would count for the previous beat. A
    beat without a segment gets the features of the segment at the middle of the beat. The last
    segment and the last beat end with the track. Segments before the first beat are ignored.
    """
    if not len(segments_start):
        raise ValueError("there are no segments to align to beats")
    middles = _middles(segments_start, duration)
    first = np.searchsorted(middles, beats_start)
    counts = np.diff(first, append=len(middles))
    sounding = np.searchsorted(segments_start, _middles(beats_start, duration), side="right") - 1
    aligned = features[np.maximum(sounding, 0)].astype(np.float64)
    filled = counts > 0
    if filled.any():
        # Only empty beats lie between two filled ones, so each sum runs up to the next filled one.
        sums = np.add.reduceat(features, first[filled], axis=0, dtype=np.float64)
        aligned[filled] = sums / counts[filled, None]
    return aligned.astype(np.float32)


def normalise_timbre(timbre: np.ndarray) -> np.ndarray:
    """Scale each timbre component to zero mean and unit variance (section 5.2); float32.

    A constant component becomes zero. The shape is (beats, dimensions).
    """
    if not len(timbre):
        return timbre.astype(np.float32)
    centred = timbre - timbre.mean(axis=0, dtype=np.float64)
    deviation = centred.std(axis=0)
    # Rounding leaves a tiny deviation in constant components.
    constant = deviation <= 1e-6 * np.abs(timbre).max(axis=0)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, deviation)).astype(np.float32)


def _middles(starts: np.ndarray, end: float) -> np.ndarray:
    """Return the middle of each interval between starts; the last one ends at ``end``."""
    if not len(starts):
        return starts
    ends = np.append(starts[1:], max(end, starts[-1]))
    return (starts + ends) / 2
