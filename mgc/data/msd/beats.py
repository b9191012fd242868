"""Beat-aligned features: the segments of a track, averaged beat by beat.

From Dieleman, Brakel and Schrauwen, "Audio-based music classification with a pretrained
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
    """Average the features of the segments of each beat.

    The paper leaves the mapping open. Here a segment belongs to the beat that holds its middle.
    The beat that holds its start would not do: the Echo Nest's segments begin some 30 ms before
    the beat that they mark (the median over real tracks), so that the note on a beat would count
    to the beat before. A beat that holds the middle of no segment takes the segment that sounds
    at the beat's own middle. The last segment and the last beat last until the end of the track;
    segments before the first beat belong to none.

    Args:
        segments_start: Start of each segment in seconds, ascending, of shape (segments,).
        beats_start: Time of each beat in seconds, ascending, of shape (beats,).
        features: Features of each segment, of shape (segments, dimensions).
        duration: Length of the track in seconds.

    Returns:
        Float32 of shape (beats, dimensions).

    Raises:
        ValueError: If there are no segments.
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
        # Between two filled beats there are only empty ones, so a sum runs up to the next one.
        sums = np.add.reduceat(features, first[filled], axis=0, dtype=np.float64)
        aligned[filled] = sums / counts[filled, None]
    return aligned.astype(np.float32)


def normalise_timbre(timbre: np.ndarray) -> np.ndarray:
    """Give each timbre component of a track zero mean and unit variance (section 5.2).

    A component that does not change becomes zero.

    Args:
        timbre: Timbre of a track, of shape (beats, dimensions).

    Returns:
        Float32 of shape (beats, dimensions).
    """
    if not len(timbre):
        return timbre.astype(np.float32)
    centred = timbre - timbre.mean(axis=0, dtype=np.float64)
    deviation = centred.std(axis=0)
    # Rounding leaves a constant component a deviation of about its last digit, not of zero.
    constant = deviation <= 1e-6 * np.abs(timbre).max(axis=0)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, deviation)).astype(np.float32)


def _middles(starts: np.ndarray, end: float) -> np.ndarray:
    """Middle of each interval from one start to the next, the last one up to the end."""
    if not len(starts):
        return starts
    ends = np.append(starts[1:], max(end, starts[-1]))
    return (starts + ends) / 2
