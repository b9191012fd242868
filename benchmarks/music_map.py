"""Compare MusicMap with librosa, SciPy and NumPy on clips of 30 s.

    python benchmarks/music_map.py [--clips N] [--rounds N] [--audio FILE ...]

Both compute the same eight features of the same frames on one core, in alternating rounds; the best
round counts. The baseline computes one short-time Fourier transform per clip and is vectorised
over frames as far as librosa and NumPy allow; for spectral peaks and their pairs it loops over
frames. The lower bound is the time of the Fourier transforms alone. Also prints the share of the
features in a training step of ``net_MUSIC`` (20 clips of 3 s). Reports CPU time, which other
programs hardly affect.
"""

import argparse
import math
import os
import time
from collections.abc import Callable

# Before any library starts its threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import librosa
import numpy as np
import scipy.signal
import torch

from mgc.features.music_map import (
    MUSIC_FEATURES,
    MusicMap,
    brightness,
    flatness_and_entropy,
    frame_energy,
    zero_crossing_rate,
)
from mgc.features.roughness import B1, B2, S1, S2, X_STAR
from mgc.features.tonality import MAJOR_PROFILE, MINOR_PROFILE, harmonic_change
from mgc.models.residual_map_net import ResidualMapClassifier

RATE, LENGTH, HOP = 22050, 1024, 512
KEY_LENGTH = 6 * RATE

#: Target for the speed relative to the baseline.
MIN_RATIO = 20.0

#: Timed parts. Flatness and entropy share a logarithm.
PARTS = (
    "spectrum",
    "energy",
    "zero_crossing_rate",
    "brightness",
    "flatness, entropy",
    "roughness",
    "key_clarity",
    "harmonic_change",
)


def synthesise(seed: int, seconds: float = 30.0) -> np.ndarray:
    """Synthesise chords of decaying harmonic tones, noise bursts on the beat and a noise floor."""
    rng = np.random.default_rng(seed)
    audio = 0.002 * rng.standard_normal(int(seconds * RATE))
    beat = RATE // 2
    time_in_beat = np.arange(beat) / RATE
    for start in range(0, len(audio) - beat + 1, beat):
        here = audio[start : start + beat]
        root = 110 * 2 ** (rng.integers(12) / 12)
        for interval in (0, 4, 7, 12):
            for harmonic in range(1, 16):
                phase = 2 * np.pi * root * 2 ** (interval / 12) * harmonic * time_in_beat
                here += 0.08 / harmonic * np.exp(-4 * time_in_beat) * np.sin(phase + rng.random())
        here += 0.1 * np.exp(-40 * time_in_beat) * rng.standard_normal(beat)
    return (audio / np.abs(audio).max()).astype(np.float32)


def run_peer(audio: np.ndarray, key_filters: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """Compute the map of one clip with librosa, SciPy and NumPy.

    Returns:
        CPU time of each part in seconds, and the map of shape (8, frames).
    """
    frames = {"frame_length": LENGTH, "hop_length": HOP, "center": False}
    profiles = np.array([np.roll(p, k) for p in (MAJOR_PROFILE, MINOR_PROFILE) for k in range(12)])

    def spectrum() -> np.ndarray:
        return np.abs(
            librosa.stft(
                audio, n_fft=LENGTH, hop_length=HOP, window=np.hamming(LENGTH), center=False
            )
        )

    def bright() -> np.ndarray:
        power = magnitude**2
        return power[librosa.fft_frequencies(sr=RATE, n_fft=LENGTH) > 1500].sum(0) / power.sum(0)

    def flat_and_entropy() -> tuple[np.ndarray, np.ndarray]:
        share = magnitude / magnitude.sum(0)
        entropy = -(share * np.log(share + 1e-12)).sum(0) / math.log(len(share))
        return librosa.feature.spectral_flatness(S=magnitude)[0], entropy

    def rough() -> np.ndarray:
        prominence = 0.01 * magnitude.max()
        values = np.zeros(magnitude.shape[1])
        for i, frame in enumerate(np.ascontiguousarray(magnitude.T)):
            peaks = scipy.signal.find_peaks(frame, prominence=prominence)[0]
            if len(peaks) < 2:
                continue
            before, peak, after = frame[peaks - 1], frame[peaks], frame[peaks + 1]
            shift = 0.5 * (after - before) / (2 * peak - before - after)
            height = peak + 0.25 * (after - before) * shift
            frequency = (peaks + shift) * RATE / LENGTH
            low, high = np.triu_indices(len(peaks), 1)
            interval = X_STAR * (frequency[high] - frequency[low]) / (S1 * frequency[low] + S2)
            curve = np.exp(-B1 * interval) - np.exp(-B2 * interval)
            values[i] = (height[low] * height[high] * curve).mean()
        return values

    def clarity() -> np.ndarray:
        windows = librosa.util.frame(audio, frame_length=KEY_LENGTH, hop_length=KEY_LENGTH // 2)
        spectra = np.abs(np.fft.rfft(windows.T * np.hamming(KEY_LENGTH).astype(np.float32)))
        best = np.array([np.corrcoef(c, profiles)[0, 1:].max() for c in spectra @ key_filters.T])
        centres = np.arange(magnitude.shape[1]) * HOP + LENGTH / 2
        nearest = np.rint((centres - KEY_LENGTH / 2) / (KEY_LENGTH // 2)).astype(int)
        return best[nearest.clip(0, len(best) - 1)]

    def change() -> np.ndarray:
        chroma = librosa.feature.chroma_stft(
            S=magnitude, sr=RATE, n_fft=LENGTH, tuning=0.0, norm=None
        )
        centroid = librosa.feature.tonnetz(chroma=chroma, sr=RATE)
        return np.pad(np.linalg.norm(np.diff(centroid), axis=0), (1, 0))

    parts: tuple[Callable[[], object], ...] = (
        spectrum,
        lambda: librosa.feature.rms(y=audio, **frames)[0] ** 2,
        lambda: librosa.feature.zero_crossing_rate(audio, **frames)[0] * RATE / 2,
        bright,
        flat_and_entropy,
        rough,
        clarity,
        change,
    )
    magnitude = spectrum()
    spent, results = time_parts(parts)
    return spent, np.vstack([np.atleast_2d(result) for result in results[1:]])


def run_module(audio: torch.Tensor, module: MusicMap) -> dict[str, float]:
    """Return the CPU time of each part for clips of shape (batch, samples), in seconds."""
    power = module.spectrum(audio)
    magnitude = power.sqrt()
    centres = torch.arange(power.shape[1]) * HOP + LENGTH / 2
    parts: tuple[Callable[[], object], ...] = (
        lambda: module.spectrum(audio).sqrt(),
        lambda: frame_energy(audio, LENGTH, HOP),
        lambda: zero_crossing_rate(audio, LENGTH, HOP, RATE),
        lambda: brightness(power, module.first_bright_bin),
        lambda: flatness_and_entropy(power, magnitude),
        lambda: module.roughness(magnitude),
        lambda: module.key_clarity(audio, centres),
        lambda: harmonic_change(module.centroid(module.chroma(magnitude))),
    )
    return time_parts(parts)[0]


def time_parts(
    parts: tuple[Callable[[], object], ...],
) -> tuple[dict[str, float], list[object]]:
    """Run the parts in the order of ``PARTS``.

    Returns:
        CPU time of each part in seconds, and their results.
    """
    spent, results = {}, []
    for name, part in zip(PARTS, parts, strict=True):
        start = time.process_time()
        results.append(part())
        spent[name] = time.process_time() - start
    return spent, results


def transforms_alone(batch: torch.Tensor, module: MusicMap, rounds: int) -> float:
    """Return the CPU time of the Fourier transforms of a batch in seconds."""
    frames = batch.unfold(-1, LENGTH, HOP) * module.spectrum.window
    windows = batch.unfold(-1, KEY_LENGTH, KEY_LENGTH // 2).contiguous()
    best = math.inf
    for _ in range(rounds):
        start = time.process_time()
        torch.fft.rfft(frames)
        torch.fft.rfft(windows)
        best = min(best, time.process_time() - start)
    return best


def share_of_training_step(batch: torch.Tensor, rounds: int) -> float:
    """Return the share of the front end in a training step of the network."""
    clips = batch.unfold(-1, 3 * RATE, 3 * RATE).reshape(-1, 3 * RATE)[:20]
    clips = clips.repeat(math.ceil(20 / len(clips)), 1)[:20]
    network = ResidualMapClassifier(maps="music", num_classes=10, sample_rate=RATE)
    target = torch.arange(20) % 10
    whole = features = math.inf
    for _ in range(rounds):
        start = time.process_time()
        torch.nn.functional.cross_entropy(network(clips), target).backward()
        whole = min(whole, time.process_time() - start)
        start = time.process_time()
        with torch.no_grad():
            network.maps["music"](clips)
        features = min(features, time.process_time() - start)
    return features / whole


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=2, help="synthesised clips in the batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--audio", nargs="+", help="audio files; default: synthesised music")
    args = parser.parse_args()
    torch.set_num_threads(1)

    if args.audio:
        clips = [librosa.load(file, sr=RATE, duration=29.9)[0] for file in args.audio]
    else:
        clips = [synthesise(seed) for seed in range(args.clips)]
    batch = torch.from_numpy(np.stack(clips))
    module = MusicMap()
    key_filters = librosa.filters.chroma(sr=RATE, n_fft=KEY_LENGTH, tuning=0.0)

    peer = dict.fromkeys(PARTS, math.inf)
    ours = dict.fromkeys(PARTS, math.inf)
    whole_peer = whole_ours = math.inf
    with torch.inference_mode():
        module(batch)  # warm up
        for _ in range(args.rounds):
            runs = [run_peer(clip, key_filters) for clip in clips]
            start = time.process_time()
            result = module(batch)
            whole_ours = min(whole_ours, time.process_time() - start)
            spent = {name: sum(run[0][name] for run in runs) for name in PARTS}
            whole_peer = min(whole_peer, sum(spent.values()))
            peer = {name: min(peer[name], spent[name]) for name in PARTS}
            spent = run_module(batch, module)
            ours = {name: min(ours[name], spent[name]) for name in PARTS}

    print(f"{len(clips)} clips of {batch.shape[1] / RATE:.1f} s, one core, milliseconds per clip")
    print(f"{'':20}{'librosa':>9}{'share':>7}{'mgc':>9}{'share':>7}{'ratio':>7}")
    for name in PARTS:
        print(
            f"{name:20}{peer[name] * 1e3 / len(clips):9.2f}{peer[name] / sum(peer.values()):7.0%}"
            f"{ours[name] * 1e3 / len(clips):9.2f}{ours[name] / sum(ours.values()):7.0%}"
            f"{peer[name] / ours[name]:7.1f}"
        )
    ratio = whole_peer / whole_ours
    print(
        f"{'whole map':20}{whole_peer * 1e3 / len(clips):9.2f}{'':7}"
        f"{whole_ours * 1e3 / len(clips):9.2f}{'':7}{ratio:7.1f}"
        f"   target {MIN_RATIO:g}: {'reached' if ratio >= MIN_RATIO else 'missed'}"
    )
    limit = transforms_alone(batch, module, args.rounds)
    print(
        f"{'transforms alone':20}{'':16}{limit * 1e3 / len(clips):9.2f}{limit / whole_ours:7.0%}"
        f"{whole_peer / limit:7.1f}   lower bound"
    )
    expected = np.stack([run[1] for run in runs])
    error = np.abs(result.numpy() - expected).mean((0, 2)) / np.abs(expected).mean((0, 2))
    print("mean absolute difference relative to the mean absolute value:")
    for name, value in zip(MUSIC_FEATURES, error, strict=True):
        print(f"  {name:20}{value:9.1e}")
    share = share_of_training_step(batch, args.rounds)
    print(f"share of the features in a training step: {share:.0%}")


if __name__ == "__main__":
    main()
