"""Landmarks of a recording: pairs of spectral peaks, which survive codecs, levels and cuts.

Source: A. Wang, An industrial-strength audio search algorithm, ISMIR 2003.
"""

import numpy as np
from scipy.fft import rfft

#: Sample rate in Hz of the audio that :func:`find_landmarks` takes.
RATE = 11025

#: Frame and hop length in samples: 93 and 23 ms.
FRAME, HOP = 1024, 256

#: Half of the neighbourhood in which a peak is the maximum, in bins and frames.
PEAK_BINS, PEAK_FRAMES = 18, 10

#: Peaks are at most this far below the loudest one, in decibels.
DYNAMIC_RANGE = 60.0

#: Number of later peaks that a peak is paired with, and the largest distances in bins and frames.
PAIRS, PAIR_BINS, PAIR_FRAMES = 3, 63, 63

#: Frames that are transformed at a time, which bounds the memory.
CHUNK = 4096

#: Magnitude below which audio is silent: that of 16-bit rounding.
FLOOR = 1e-3


def find_landmarks(audio: np.ndarray) -> np.ndarray:
    """Find the landmarks of a recording.

    Args:
        audio: Mono samples at :data:`RATE`, of shape (samples,).

    Returns:
        Hashes (frequency of a peak, and distances in frequency and time to a later one) and frames
        of the first peak, uint32 of shape (2, landmarks), in the order of time.
    """
    bins, frames = _find_peaks(audio)
    hashes, times = [], []
    for step in range(1, 4 * PAIRS):
        first, second = slice(None, -step), slice(step, None)
        height = bins[second] - bins[first]
        width = frames[second] - frames[first]
        near = (abs(height) <= PAIR_BINS) & (width >= 1) & (width <= PAIR_FRAMES)
        row = np.flatnonzero(near)
        hashes.append((bins[row] << 13) | ((height[row] + PAIR_BINS) << 6) | width[row])
        times.append(np.stack([row, frames[row]]))
    hashed = np.concatenate(hashes)
    row, frame = np.concatenate(times, axis=1)
    # Nearer peaks come first: keep the first few pairs of each peak.
    order = np.argsort(row, kind="stable")
    start = np.searchsorted(row[order], row[order])
    kept = order[np.arange(len(order)) - start < PAIRS]
    return np.stack([hashed[kept], frame[kept]]).astype(np.uint32)


def _find_peaks(audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find local maxima of the spectrogram; return bins and frames in the order of time."""
    padded = np.pad(audio, (FRAME // 2, FRAME // 2 + HOP))
    windows = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    window = np.hanning(FRAME + 1)[:-1].astype(np.float32)
    spectrum = np.concatenate(
        [
            abs(rfft(windows[start : start + CHUNK] * window)[:, : FRAME // 2])
            for start in range(0, len(windows), CHUNK)
        ]
    )
    floor = max(FLOOR, spectrum.max() * 10 ** (-DYNAMIC_RANGE / 20))
    highest = _sliding_maximum(_sliding_maximum(spectrum, PEAK_FRAMES).T, PEAK_BINS).T
    peaks = (spectrum == highest) & (spectrum > floor)
    # The lowest bins have rumble and offsets.
    peaks[:, :4] = False
    frames, bins = np.nonzero(peaks)
    return bins, frames


def _sliding_maximum(x: np.ndarray, radius: int) -> np.ndarray:
    """Return the maximum of each row and its ``radius`` neighbours on both sides."""
    width = 2 * radius + 1
    out = np.pad(x, ((radius, radius), (0, 0)))
    done = 1
    while done < width:
        # Doubling the width each time is faster than scipy.ndimage.maximum_filter.
        step = min(done, width - done)
        out = np.maximum(out[:-step], out[step:])
        done += step
    return out
