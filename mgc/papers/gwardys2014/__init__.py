"""Scores published by Gwardys and Grzywczak (2014), on 100 test tracks of GTZAN.

Source: G. Gwardys, D. Grzywczak, Deep image features in music information retrieval, International
Journal of Electronics and Telecommunications 60(4), 2014. The accuracies are the diagonals of
tables II and IV, which count correct tracks of 10 in each genre.
"""

#: Accuracy in %, without intervals.
ACCURACY: dict[str, tuple[float, float | None]] = {
    "finetuned_original": (68.0, None),
    "finetuned_harmonic": (55.0, None),
    "finetuned_percussive": (65.0, None),
    "finetuned_harmonic_percussive": (65.0, None),
    "finetuned_all": (72.0, None),
    "svm_original": (68.0, None),
    "svm_harmonic": (59.0, None),
    "svm_percussive": (64.0, None),
    "svm_harmonic_percussive": (69.0, None),
    "svm_all": (78.0, None),
}

#: Weights of the components in a merge (section V), also used to merge two components. Thus the
#: merge of fine-tuned harmonic and percussive networks equals the percussive one, as in table II.
WEIGHTS: dict[str, dict[str, float]] = {
    "finetuned": {"original": 0.5, "harmonic": 0.0, "percussive": 0.5},
    "svm": {"original": 0.5, "harmonic": 0.1, "percussive": 0.4},
}

#: Systems that take the majority vote of the clips: none, because each track has a single image.
VOTED: tuple[str, ...] = ()

GENRES = (
    "metal", "jazz", "pop", "reggae", "blues", "classical", "hiphop", "rock", "country", "disco",
)  # fmt: skip

_CORRECT = {
    "finetuned_original": (9, 7, 5, 7, 5, 10, 9, 6, 4, 6),
    "finetuned_harmonic": (9, 5, 3, 5, 4, 8, 8, 5, 4, 4),
    "finetuned_percussive": (9, 8, 7, 6, 4, 8, 6, 5, 5, 7),
    "finetuned_harmonic_percussive": (9, 8, 7, 6, 4, 8, 6, 5, 5, 7),
    "finetuned_all": (9, 8, 8, 7, 5, 9, 9, 6, 5, 6),
    "svm_original": (9, 6, 8, 5, 8, 9, 6, 6, 6, 5),
    "svm_harmonic": (10, 6, 7, 5, 5, 8, 7, 4, 3, 4),
    "svm_percussive": (9, 6, 7, 6, 8, 7, 5, 5, 5, 6),
    "svm_harmonic_percussive": (9, 6, 7, 6, 8, 8, 7, 5, 6, 7),
    "svm_all": (9, 6, 8, 7, 8, 9, 7, 8, 8, 8),
}

#: Recall of each class in %.
CLASSES: dict[str, dict[str, float]] = {
    system: dict(zip(GENRES, (10.0 * count for count in counts), strict=True))
    for system, counts in _CORRECT.items()
}
