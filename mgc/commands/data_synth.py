"""``mgc data synth``: synthesise a small music data set."""

from typing import Annotated

from mgc.core.ranges import Processes, Range, Seconds, Seed
from mgc.core.terminal import print_line
from mgc.synthesis.data_set import synthesise


def synth(
    root: str,
    tracks_per_genre: Annotated[int, Range(1, 10**5)] = 40,
    seconds: Seconds = 30.0,
    sample_rate: Annotated[int, Range(8000, 384000)] = 22050,
    seed: Seed = 0,
    workers: Processes | None = None,
) -> None:
    """Synthesise a music data set with ten genres, in the folder layout of GTZAN.

    The same arguments always give the same files. Existing files are kept. To resume an interrupted
    run, run the same command again.

    Example: mgc data synth data/synthetic --tracks_per_genre 40

    Args:
        root: Folder to write to.
        tracks_per_genre: Number of tracks per genre.
        seconds: Length of a track in seconds.
        sample_rate: Sample rate in Hz.
        seed: Random seed of the music.
        workers: Number of processes; by default one per core.
    """
    synthesise(root, tracks_per_genre, seconds, sample_rate, seed, workers)
    print_line(f"{10 * tracks_per_genre} tracks of {seconds:g} s: {root}")
