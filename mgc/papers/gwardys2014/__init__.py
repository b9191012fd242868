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

#: Systems in the order of the numbers in each cell of tables II and IV.
_ORDER = ("original", "harmonic", "percussive", "harmonic_percussive", "all")

#: Tables II (fine-tuning) and IV (SVM): tracks of a genre (rows) by decision, for each system.
#: In table II the cell of blues decided as metal is printed as ``1/172/2/2``.
_MATRICES = {
    "finetuned": """
9/9/9/9/9 0/0/0/0/0 0/0/0/0/0 0/0/0/0/0 0/0/0/0/0 0/0/0/0/0 1/1/0/0/0 0/0/0/0/0 0/0/1/1/0 0/0/0/0/1
0/0/0/0/0 7/5/8/8/8 0/0/0/0/0 1/1/0/0/0 1/1/0/0/1 1/2/1/1/1 0/0/0/0/0 0/0/0/0/0 0/1/1/1/0 0/0/0/0/0
0/1/1/1/0 0/0/0/0/0 5/3/7/7/8 0/1/0/0/0 0/0/0/0/0 0/0/0/0/0 4/3/2/2/1 0/1/0/0/0 1/0/0/0/1 0/1/0/0/0
0/0/0/0/0 0/0/0/0/0 0/0/1/1/0 7/5/6/6/7 0/1/1/1/0 0/0/0/0/0 2/2/0/0/1 0/0/0/0/0 0/0/0/0/0 1/2/2/2/2
1/1/2/2/2 0/1/1/1/1 0/0/0/0/0 1/0/1/1/0 5/4/4/4/5 1/0/0/0/1 0/1/0/0/0 0/2/2/2/0 0/1/0/0/0 2/0/0/0/1
0/0/0/0/0 0/0/1/1/1 0/0/0/0/0 0/0/0/0/0 0/0/0/0/0 10/8/8/8/9 0/0/0/0/0 0/1/0/0/0 0/1/1/1/0 0/0/0/0/0
1/1/1/1/1 0/0/0/0/0 0/1/3/3/0 0/0/0/0/0 0/0/0/0/0 0/0/0/0/0 9/8/6/6/9 0/0/0/0/0 0/0/0/0/0 0/0/0/0/0
0/0/1/1/1 0/0/0/0/0 0/0/0/0/0 1/1/1/1/1 0/0/0/0/0 0/0/0/0/0 1/3/1/1/1 6/5/5/5/6 0/0/0/0/0 2/1/2/2/1
0/0/0/0/0 0/1/1/1/0 0/0/0/0/0 3/4/2/2/2 1/0/0/0/1 0/0/0/0/0 2/1/1/1/2 0/0/0/0/0 4/4/5/5/5 0/0/1/1/0
1/1/0/0/0 0/0/0/0/0 0/0/0/0/0 2/2/1/1/1 0/0/0/0/0 0/0/0/0/0 0/1/1/1/2 1/1/1/1/1 0/1/0/0/0 6/4/7/7/6
""",
    "svm": """
9/10/9/9/9 0/0/0/0/0 0/0/0/0/0 0/0/0/0/0 0/0/0/0/0 0/0/0/0/0 0/0/0/0/0 0/0/0/0/0 0/0/1/1/0 1/0/0/0/1
0/0/0/0/0 6/6/6/6/6 0/0/0/0/0 0/0/0/0/0 2/1/0/1/2 1/1/1/1/1 0/0/0/0/0 1/1/1/1/1 0/1/2/1/0 0/0/0/0/0
0/0/0/0/0 0/0/0/0/0 8/7/7/7/8 0/1/0/1/0 0/0/0/0/0 0/0/0/0/0 1/1/1/1/1 0/1/1/1/0 1/0/0/0/1 0/0/1/0/0
0/0/0/0/0 0/0/0/0/0 2/0/0/0/1 5/5/6/6/7 0/1/0/0/0 0/0/0/0/0 1/2/2/2/1 0/0/1/1/0 1/2/1/1/0 1/0/0/0/1
1/2/0/0/0 1/2/1/1/1 0/0/0/0/0 0/0/0/0/0 8/5/8/8/8 0/0/0/0/0 0/0/0/0/0 0/1/1/1/1 0/0/0/0/0 0/0/0/0/0
0/0/0/0/0 0/0/2/1/1 0/0/0/0/0 0/0/0/0/0 0/0/0/0/0 9/8/7/8/9 0/0/0/0/0 1/1/0/0/0 0/1/1/1/0 0/0/0/0/0
1/1/1/1/1 0/0/0/0/0 2/2/2/1/2 0/0/1/1/0 1/0/0/0/0 0/0/0/0/0 6/7/5/7/7 0/0/0/0/0 0/0/0/0/0 0/0/1/0/0
0/0/1/1/1 0/1/0/0/0 1/0/0/0/0 0/1/1/1/0 1/2/0/1/0 0/0/0/0/0 1/1/1/1/1 6/4/5/5/8 0/1/1/1/0 1/0/1/0/0
0/0/0/0/0 1/1/1/1/1 0/0/0/0/0 1/1/0/0/1 2/3/0/0/0 0/0/0/0/0 0/1/2/1/0 0/1/2/2/0 6/3/5/6/8 0/0/0/0/0
0/0/0/0/0 0/0/0/0/0 2/2/0/0/0 2/0/1/1/1 0/1/0/0/0 0/0/0/0/0 0/0/1/1/0 1/2/1/1/1 0/1/1/0/0 5/4/6/7/8
""",
}


def _read_matrices() -> dict[str, tuple[tuple[int, ...], ...]]:
    found = {}
    for kind, text in _MATRICES.items():
        rows = [[cell.split("/") for cell in line.split()] for line in text.split("\n") if line]
        for number, system in enumerate(_ORDER):
            found[f"{kind}_{system}"] = tuple(
                tuple(10 * int(cell[number]) for cell in row) for row in rows
            )
    return found


#: Confusion matrices in % of the tracks of the true class (rows): 10 tracks each.
CONFUSION = _read_matrices()

#: Recall of each class in %.
CLASSES: dict[str, dict[str, float]] = {
    system: {genre: float(rows[i][i]) for i, genre in enumerate(GENRES)}
    for system, rows in CONFUSION.items()
}
