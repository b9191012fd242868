"""``mgc data synth``: a small music data set that needs no download."""

from mgc.synthesis.data_set import synthesise


def synth(
    root: str,
    tracks_per_genre: int = 40,
    seconds: float = 30.0,
    sample_rate: int = 22050,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Synthesise a ten-genre music data set in GTZAN's own folder layout.

    The same arguments always give the same files. Files that are there already are kept, so an
    interrupted synthesis continues.

    Example: mgc data synth data/synthetic --tracks_per_genre 40

    Args:
        root: Folder to write to.
        tracks_per_genre: Number of tracks of each of the ten genres.
        seconds: Length of a track in seconds.
        sample_rate: Rate of the files in Hz.
        seed: Another seed gives other music.
        workers: Number of processes; by default one per core.
    """
    synthesise(root, tracks_per_genre, seconds, sample_rate, seed, workers)
    print(f"{10 * tracks_per_genre} tracks of {seconds:g} s: {root}")
