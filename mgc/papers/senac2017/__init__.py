"""Scores published by Senac et al. (2017), on GTZAN.

Source: C. Senac, T. Pellegrini, F. Mouret, J. Pinquier, Music feature maps with convolutional
neural networks for music genre classification, CBMI 2017: cross-validation with 80 % of the tracks
of each genre for training, 10 % for validation, 10 % for testing.
"""

#: Table 2: accuracy in % and half the width of its 95 % bootstrap interval.
ACCURACY: dict[str, tuple[float, float | None]] = {
    "net_STFT": (87.8, 1.8),
    "net_MUSIC": (89.6, 2.4),
    "FUSION1": (90.5, 0.7),
    "FUSION2": (91.0, 1.2),
}

#: Systems that take the majority vote of the clips.
VOTED = ("net_STFT", "net_MUSIC")

GENRES = (
    "blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock",
)  # fmt: skip

#: Table 1: confusion matrices in % of the tracks of the true class (rows).
CONFUSION: dict[str, tuple[tuple[int, ...], ...]] = {
    "net_STFT": (
        (87, 0, 0, 3, 2, 1, 0, 0, 0, 7),
        (0, 98, 0, 0, 0, 0, 0, 0, 0, 2),
        (0, 0, 91, 2, 0, 0, 0, 2, 2, 3),
        (0, 0, 2, 86, 5, 0, 0, 3, 0, 4),
        (2, 0, 0, 2, 83, 0, 0, 5, 6, 2),
        (0, 1, 3, 0, 0, 94, 0, 2, 0, 0),
        (2, 0, 2, 0, 2, 0, 91, 0, 0, 3),
        (0, 0, 2, 1, 4, 0, 0, 82, 3, 8),
        (0, 0, 0, 1, 5, 0, 0, 4, 85, 5),
        (1, 0, 4, 4, 2, 0, 3, 5, 1, 80),
    ),
    "net_MUSIC": (
        (100, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (0, 98, 0, 0, 0, 2, 0, 0, 0, 0),
        (0, 0, 88, 5, 0, 3, 0, 2, 2, 0),
        (0, 0, 0, 88, 4, 0, 1, 3, 4, 0),
        (0, 0, 0, 0, 93, 0, 0, 3, 4, 0),
        (0, 4, 0, 0, 0, 94, 0, 2, 0, 0),
        (0, 0, 0, 2, 0, 0, 98, 0, 0, 0),
        (0, 0, 4, 0, 5, 2, 0, 84, 1, 4),
        (0, 0, 3, 0, 3, 0, 0, 6, 88, 0),
        (8, 0, 9, 6, 0, 1, 0, 9, 5, 62),
    ),
    "FUSION2": (
        (98, 0, 0, 0, 0, 2, 0, 0, 0, 0),
        (0, 100, 0, 0, 0, 0, 0, 0, 0, 0),
        (2, 0, 92, 2, 0, 2, 0, 0, 2, 0),
        (0, 0, 0, 92, 6, 0, 0, 2, 0, 0),
        (0, 0, 0, 0, 92, 0, 0, 4, 4, 0),
        (0, 4, 0, 0, 0, 94, 0, 2, 0, 0),
        (2, 0, 2, 0, 2, 0, 92, 0, 0, 2),
        (0, 0, 4, 2, 4, 0, 0, 86, 0, 4),
        (0, 0, 0, 0, 2, 0, 0, 6, 88, 4),
        (4, 0, 2, 6, 2, 0, 2, 4, 4, 76),
    ),
}

#: Recall of each class in %, the diagonal of table 1.
CLASSES: dict[str, dict[str, float]] = {
    system: {genre: float(rows[i][i]) for i, genre in enumerate(GENRES)}
    for system, rows in CONFUSION.items()
}
