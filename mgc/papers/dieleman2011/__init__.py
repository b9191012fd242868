"""Scores published by Dieleman, Brakel and Schrauwen (2011), on the Million Song Dataset.

Source: S. Dieleman, P. Brakel, B. Schrauwen, Audio-based music classification with a pretrained
convolutional network, ISMIR 2011, table 1: accuracy on test tracks with the learning rate that was
best on validation tracks.
"""

from types import SimpleNamespace

from mgc.data.msd.catalogue import GENRES, KEYS, make_artist_labels

#: Accuracy in % for genre, artist and key, by system, without intervals.
_TABLE: dict[str, tuple[float, float, float]] = {
    "naive_bayes": (10.02, 6.80, 73.74),
    "logistic": (25.90, 32.13, 86.53),
    "matched_30": (29.52, 34.34, 83.84),
    "pretrained_30": (29.12, 35.74, 83.84),
    "matched_20": (24.90, 33.94, 83.84),
    "pretrained_20": (27.31, 35.54, 84.51),
}

#: Learning rates of the published scores; naive Bayes has none.
LEARNING_RATES: dict[str, tuple[float, float, float]] = {
    "logistic": (5e-6, 5e-5, 5e-5),
    "matched_30": (0.005, 0.05, 0.05),
    "pretrained_30": (0.005, 0.05, 0.005),
    "matched_20": (0.05, 0.05, 0.05),
    "pretrained_20": (0.005, 0.05, 0.005),
}

#: Scores by task, with the attributes of a paper's module. Reports select one by its classes.
TASKS = {
    task: SimpleNamespace(
        ACCURACY={system: (row[number], None) for system, row in _TABLE.items()},
        VOTED=(),
        GENRES=classes,
        CLASSES={},
    )
    for number, (task, classes) in enumerate(
        {"genre": GENRES, "artist": make_artist_labels(50), "key": KEYS}.items()
    )
}
