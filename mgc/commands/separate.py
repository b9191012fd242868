"""``mgc separate``: separate songs into harmonic and percussive components."""

import os
import sys
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from mgc.core.fingerprint import Check
from mgc.core.ranges import FrameLength, HopLength, Margin, MaskPower, MedianLength
from mgc.core.terminal import print_line
from mgc.core.writing import WriteError, writes_folder
from mgc.data import audio
from mgc.errors import MgcError
from mgc.features.separation import HarmonicPercussive
from mgc.features.song_separation import SongSeparation, update_components


@writes_folder("out", apart=True)
def separate(
    files: list[str],
    out: str,
    n_fft: FrameLength = 2048,
    hop_length: HopLength = 512,
    harmonic_length: MedianLength = 31,
    percussive_length: MedianLength = 31,
    power: MaskPower = 2.0,
    margin_harmonic: Margin = 1.0,
    margin_percussive: Margin = 1.0,
    overwrite: bool = False,
    check: Check = "sampled",
    device: Literal["cpu", "cuda", "mps"] = "cpu",
) -> None:
    """Separate songs into harmonic and percussive waveforms by median filtering.

    Writes OUT/song.harmonic.wav and OUT/song.percussive.wav (32-bit float, with the sample rate and
    channels of the song), and OUT/song.residual.wav if a margin is greater than 1 or the masks are
    hard. The components add up to the song. Subfolders are kept. Songs are skipped if they, the
    settings and the components have not changed since. Unreadable files, and songs whose components
    were not written by mgc, are reported and skipped, and the exit code is then 2. Long songs are
    processed one minute at a time, with the same result.

    Example: mgc separate song.mp3 more_songs --out components

    Args:
        files: Audio files and folders, which are searched recursively.
        out: Folder for the components.
        n_fft: Length of a frame in samples.
        hop_length: Distance between two frames in samples, at most a quarter of n_fft.
        harmonic_length: Length of the median filter along time, in frames; odd.
        percussive_length: Length of the median filter along frequency, in bins; odd.
        power: Exponent of the soft masks; inf gives hard masks.
        margin_harmonic: Minimum ratio of harmonic to percussive magnitude for the harmonic mask, at
            least 1. What belongs to neither component goes to the residual.
        margin_percussive: Minimum ratio of percussive to harmonic magnitude for the percussive
            mask, at least 1.
        overwrite: Whether to separate all songs, and to overwrite any existing components.
        check: How to find changed files: sampled compares size and times first, then content, of
            files over 4 MiB only time and 64 blocks; full compares the content of all files.
        device: Device to use.

    Raises:
        MgcError: If a setting is out of range, or a file cannot be read.
    """
    separation = HarmonicPercussive(
        harmonic_length, percussive_length, power, margin_harmonic, margin_percussive
    )
    separate_song = SongSeparation(separation, n_fft, hop_length, device)
    songs = _find_songs(files, Path(out))
    done = skipped = failures = 0
    for target, song in tqdm(songs.items(), unit="song", disable=not sys.stderr.isatty()):
        try:
            separated = update_components(song, target, separate_song, check, overwrite)
        except MgcError as error:
            if isinstance(error, WriteError) and error.is_general:
                raise
            failures += 1
            print_line(f"mgc: {error}", error=True)
            continue
        done += separated
        skipped += not separated
    note = f" Skipped {_count_songs(skipped)}: up to date." if skipped else ""
    print_line(f"Separated {_count_songs(done)} into {out}.{note}")
    if failures:
        raise MgcError(f"{failures} of {len(songs)} songs could not be separated.")


def _count_songs(count: int) -> str:
    return f"{count} {'song' if count == 1 else 'songs'}"


def _find_songs(files: list[str], out: Path) -> dict[Path, Path]:
    """Map output paths, without the suffix of a component, to songs."""
    songs: dict[Path, Path] = {}
    for source in map(Path, files):
        found = audio.find_files(source) if source.is_dir() else [source]
        folder = source if source.is_dir() else source.parent
        for song in found:
            if out.resolve() in song.resolve().parents and source.is_dir():
                continue  # component of an earlier run
            target = out / song.relative_to(folder).with_suffix("")
            if os.path.abspath(songs.setdefault(target, song)) != os.path.abspath(song):
                raise MgcError(
                    f"{song} and {songs[target]} would write components with the same names. "
                    "Separate them into different folders."
                )
    if not songs:
        raise MgcError(f"{', '.join(files)}: no audio files ({', '.join(audio.SUFFIXES)}).")
    return songs
