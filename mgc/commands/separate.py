"""``mgc separate``: the harmonic and percussive components of songs, as waveforms."""

import os
import sys
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from mgc.data import audio
from mgc.errors import MgcError
from mgc.features.separation import HarmonicPercussive
from mgc.features.song_separation import SongSeparation, separate_file


def separate(
    files: list[str],
    out: str,
    n_fft: int = 2048,
    hop_length: int = 512,
    harmonic_length: int = 31,
    percussive_length: int = 31,
    power: float = 2.0,
    margin_harmonic: float = 1.0,
    margin_percussive: float = 1.0,
    overwrite: bool = False,
    device: Literal["cpu", "cuda", "mps"] = "cpu",
) -> None:
    """Split songs into harmonic and percussive waveforms, by median filtering.

    Writes OUT/song.harmonic.wav and OUT/song.percussive.wav (32-bit float, rate and channels of
    the song), and OUT/song.residual.wav if a margin is greater than 1 or the masks are hard. They
    add up to the song. Songs of a folder keep their sub-folders. Songs whose components are
    there already are skipped. A file that cannot be read is reported, the others are separated,
    and the exit code is 2. Long songs are separated a minute at a time, with the same result.

    Example: mgc separate song.mp3 more_songs --out components

    Args:
        files: Audio files, and folders to look for them in, with their sub-folders.
        out: Folder for the components.
        n_fft: Length of a spectrogram's frame in samples.
        hop_length: Distance between two frames in samples, at most a quarter of n_fft.
        harmonic_length: Length of the median filter along time, in frames; odd.
        percussive_length: Length of the median filter along frequency, in bins; odd.
        power: Exponent of the soft masks; inf makes hard masks.
        margin_harmonic: How many times as large as the percussive part the harmonic one must be,
            1 or more. What belongs clearly to neither goes to the residual.
        margin_percussive: The same for the percussive part.
        overwrite: Separate songs again whose components are there.
        device: Where to compute.

    Raises:
        MgcError: If a setting is out of range, or files could not be read.
    """
    separation = HarmonicPercussive(
        harmonic_length, percussive_length, power, margin_harmonic, margin_percussive
    )
    separate_song = SongSeparation(separation, n_fft, hop_length, device)
    names = ["harmonic", "percussive"] + ["residual"] * separation.has_residual
    songs = _find_songs(files, Path(out))
    done = failures = 0
    for target, song in tqdm(songs.items(), unit="song", disable=not sys.stderr.isatty()):
        targets = [Path(f"{target}.{name}.wav") for name in names]
        if not overwrite and all(path.exists() for path in targets):
            continue
        try:
            separate_file(song, targets, separate_song)
        except audio.AudioError as error:
            failures += 1
            print(f"mgc: {error}", file=sys.stderr)
            continue
        done += 1
    skipped = len(songs) - done - failures
    there = f" {skipped} {'was' if skipped == 1 else 'were'} there." if skipped else ""
    print(f"Separated {done} {'song' if done == 1 else 'songs'} into {out}.{there}")
    if failures:
        raise MgcError(f"{failures} of {len(songs)} files could not be read.")


def _find_songs(files: list[str], out: Path) -> dict[Path, Path]:
    """Find the songs, by the path that their components' files begin with."""
    songs: dict[Path, Path] = {}
    for source in map(Path, files):
        found = audio.find_files(source) if source.is_dir() else [source]
        folder = source if source.is_dir() else source.parent
        for song in found:
            if out.resolve() in song.resolve().parents and source.is_dir():
                continue  # components written by an earlier run
            target = out / song.relative_to(folder).with_suffix("")
            if os.path.abspath(songs.setdefault(target, song)) != os.path.abspath(song):
                raise MgcError(
                    f"{song} and {songs[target]} would have components of the same name. "
                    "Separate them into two folders."
                )
    if not songs:
        raise MgcError(f"{', '.join(files)}: no audio files ({', '.join(audio.SUFFIXES)}).")
    return songs
