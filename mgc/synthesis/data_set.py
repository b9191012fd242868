"""Synthesises music in ten genres, in the folder layout of GTZAN, to try mgc without a data set.

Genres differ in tempo, rhythm, harmony, timbre and percussion, but overlap: any element of a song
may come from another genre. Level, room, tone colour and noise do not depend on the genre.
"""

import io
import json
import logging
import os
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
from joblib import cpu_count, delayed
from scipy import fft
from tqdm import tqdm

from mgc.core.child_processes import run_parallel
from mgc.core.fingerprint import hash_files
from mgc.core.ranges import Processes, Range, Seconds, Seed, checked
from mgc.core.writing import replacing, writes_folder
from mgc.errors import MgcError
from mgc.synthesis.composition import compose
from mgc.synthesis.genres import GENRES
from mgc.synthesis.instruments import VOICES, drum, play, vary

log = logging.getLogger(__name__)

VERSION = 1  # increase this when the same arguments give different samples
SETTINGS = "synthesis.json"
#: Hidden file with the SHA-256 of each track, to find those that were changed or cut.
DIGESTS = ".synthesis.mgc.json"
HEADER_BYTES = 44  # of a WAV file


@checked
@writes_folder("root")
def synthesise(
    root: str | os.PathLike[str],
    tracks_per_genre: Annotated[int, Range(1, 10**5)],
    seconds: Seconds = 30.0,
    sample_rate: Annotated[int, Range(8000, 384000)] = 22050,
    seed: Seed = 0,
    workers: Processes | None = None,
    progress: bool = True,
) -> list[Path]:
    """Write a data set of synthetic music and return its files, by genre and number.

    The files are ``<root>/genres/<genre>/<genre>.<number>.wav``, mono, 16 bit, as in GTZAN. A
    track depends only on its genre and number, ``seed``, ``seconds`` and ``sample_rate``. Existing
    tracks are kept, unless they have changed: a rerun resumes an interrupted synthesis or adds
    tracks. The arguments are saved in ``<root>/synthesis.json``.

    Args:
        root: Folder of the data set; created if missing.
        tracks_per_genre: Number of tracks of each genre.
        seconds: Length of a track in seconds.
        sample_rate: Sample rate in Hz, at least 8000.
        seed: Seed of the songs.
        workers: Number of processes; by default the number of cores.
        progress: Whether to show a progress bar.

    Raises:
        MgcError: If an argument is out of range, ``root`` cannot be written, or ``root`` contains
            music that was not synthesised or was synthesised with different arguments.
    """
    root = Path(root)
    if round(seconds * sample_rate) < 1:
        raise MgcError(f"seconds={seconds} is less than one sample at {sample_rate} Hz.")
    tracks = [
        (genre, number, root / "genres" / genre / f"{genre}.{number:05d}.wav")
        for genre in GENRES
        for number in range(tracks_per_genre)
    ]
    settings = {"version": VERSION, "seed": seed, "seconds": seconds, "sample_rate": sample_rate}
    _prepare_folder(root, settings)

    digests = root / DIGESTS
    changed = _find_changed(digests, [path for *_, path in tracks], round(seconds * sample_rate))
    if changed:
        log.warning("%d tracks have changed and are written again: %s, …", len(changed), changed[0])
    missing = [track for track in tracks if track[2] in changed or not track[2].exists()]
    jobs = min(workers or cpu_count(), max(1, len(missing)))
    work = (
        delayed(_write_track)(genre, number, path, seconds, sample_rate, seed)
        for genre, number, path in missing
    )
    done = run_parallel(work, jobs, ordered=False)
    bar = tqdm(
        done,
        desc="Synthesising",
        total=len(tracks),
        initial=len(tracks) - len(missing),
        unit="track",
        disable=not progress,
    )
    for _ in bar:
        pass
    paths = [path for _, _, path in tracks]
    names = [path.relative_to(root).as_posix() for path in paths]
    saved = dict(zip(names, hash_files(paths, content_only=True), strict=True))
    with replacing(digests) as partial:
        partial.write_text(
            json.dumps(_read_digests(digests) | saved, indent=0, sort_keys=True), encoding="utf-8"
        )
    return paths


def render(
    genre: str,
    number: int,
    seconds: Seconds,
    sample_rate: Annotated[int, Range(8000, 384000)],
    seed: Seed,
) -> np.ndarray:
    """Compose and play a track, given its genre and number: int16 of shape (samples,)."""
    # Separate generators, so that the song does not depend on the sample rate.
    song_rng, sound_rng, room_rng = (
        np.random.default_rng(entropy)
        for entropy in np.random.SeedSequence((seed, list(GENRES).index(genre), number)).spawn(3)
    )
    samples = round(seconds * sample_rate)
    song = compose(genre, seconds, song_rng)
    mix = np.zeros(samples, np.float32)
    for line in song.lines:
        voice = vary(VOICES[line.voice], sound_rng)
        mix += _set_level(play(voice, line.notes, samples, sample_rate, sound_rng), line.level)
    drums = drum(song.kit, song.strokes, samples, sample_rate, sound_rng)
    mix += _set_level(drums, song.drum_level)
    t = np.arange(samples, dtype=np.float32) / sample_rate
    swell = np.sin(2 * np.pi * t / room_rng.uniform(5, 15) + room_rng.uniform(0, 2 * np.pi))
    mix *= 1 - song.swell * (0.5 + 0.5 * swell)
    return _simulate_recording(mix, sample_rate, room_rng)


def _set_level(sound: np.ndarray, level: float) -> np.ndarray:
    """Scale a sound so that its level without silence is ``level`` in dB."""
    power = np.square(sound)
    audible = power > 1e-4 * power.max()
    rms = np.sqrt(power[audible].mean()) if audible.any() else 1.0
    return sound * np.float32(10 ** (level / 20) / rms)


def _simulate_recording(mix: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Add room, tone colour, noise and level of a recording, independent of the genre."""
    reverberation = 10 ** rng.uniform(np.log10(0.15), np.log10(2.0))  # seconds to fall by 60 dB
    tail = np.arange(int(reverberation * sample_rate)) / sample_rate
    impulse = rng.standard_normal(len(tail)) * 10 ** (-3 * tail / reverberation)
    impulse /= np.sqrt(np.square(impulse).sum())
    size = fft.next_fast_len(len(mix) + len(impulse), real=True)
    room = 1 + rng.uniform(0.02, 0.25) * fft.rfft(impulse.astype(np.float32), size)
    frequency = np.maximum(fft.rfftfreq(size, 1 / sample_rate), 1.0)
    octave = np.log2(frequency / 1000)
    decibels = rng.uniform(-1, 1) * octave.clip(-5, 4)
    for _ in range(3):
        centre, gain, width = rng.uniform(-4, 3), rng.normal(0, 1.5), rng.uniform(0.3, 1.5)
        decibels += gain * np.exp(-np.square((octave - centre) / width))
    low = rng.uniform(25, 120)
    high = 10 ** rng.uniform(np.log10(8000), np.log10(11000))
    equaliser = 10 ** (decibels / 20) / np.sqrt(
        (1 + (low / frequency) ** 4) * (1 + (frequency / high) ** 6)
    )
    equaliser[0] = 0
    spectrum = fft.rfft(mix, size) * (room * equaliser).astype(np.complex64)
    sound = fft.irfft(spectrum, size)[: len(mix)]

    sound /= np.sqrt(np.mean(np.square(sound))) + 1e-9
    noise = rng.standard_normal(len(sound), np.float32)
    sound += noise * np.float32(10 ** (rng.uniform(-64, -50) / 20))
    sound *= np.float32(10 ** (rng.uniform(-28, -12) / 20))
    sound = np.tanh(sound)  # limiter for loud recordings
    sound -= sound.mean()
    sound /= max(1.0, float(np.abs(sound).max()) / 0.99)
    return np.round(sound * 32767).astype(np.int16)


def _prepare_folder(root: Path, settings: dict[str, float]) -> None:
    """Create the folders and save the settings, or check the settings saved before."""
    path = root / SETTINGS
    try:
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found != settings:
                raise MgcError(
                    f"{root} contains music synthesised with {found}, not with {settings}. "
                    "Choose another folder."
                )
        elif (root / "genres").exists():
            raise MgcError(
                f"{root / 'genres'} exists but was not synthesised by mgc. Choose another folder."
            )
        else:
            with replacing(path) as partial:
                partial.write_text(json.dumps(settings), encoding="utf-8")
    except ValueError as error:
        raise MgcError(f"{path} is not a JSON file. Choose another folder.") from error


def _read_digests(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _find_changed(digests: Path, tracks: list[Path], samples: int) -> list[Path]:
    """Return the existing tracks that have another size or content than when they were written."""
    saved = _read_digests(digests)
    found = hash_files(tracks, content_only=True)
    return [
        path
        for path, digest in zip(tracks, found, strict=True)
        if digest
        and (
            path.stat().st_size != HEADER_BYTES + 2 * samples
            or saved.get(path.relative_to(digests.parent).as_posix(), digest) != digest
        )
    ]


def _write_track(
    genre: str,
    number: int,
    path: Path,
    seconds: Seconds,
    sample_rate: Annotated[int, Range(8000, 384000)],
    seed: int,
) -> None:
    audio = render(genre, number, seconds, sample_rate, seed)
    wav = io.BytesIO()
    soundfile.write(wav, audio, sample_rate, format="WAV", subtype="PCM_16")
    with replacing(path) as partial:
        partial.write_bytes(wav.getvalue())
