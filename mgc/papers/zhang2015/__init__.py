"""Scores published by Zhang et al. (2015), on GTZAN and ISMIR 2004.

A system's name ends in the feature: ``KCNN (k = 5) + SVM ALL``. ``ULT`` means frozen lookup tables.

Source: P. Zhang, X. Zheng, W. Zhang, S. Li, S. Qian, W. He, S. Zhang, Z. Wang, A deep neural
network for modeling music, ICMR 2015, tables 2 and 3: mean accuracy of ten runs, on ten balanced
folds of GTZAN, and on the development list of ISMIR 2004 after training on its training list.
"""

from types import SimpleNamespace

from mgc.data.gtzan import GENRES
from mgc.data.ismir2004 import GENRES as ISMIR_GENRES

FEATURES = ("MEL", "SFM", "SCF", "ALL")

#: Accuracy in % by system, a column per feature: GTZAN, then ISMIR 2004.
_TABLE: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "Sparse coding + SVM": ((74.30, 59.00, 55.60, 75.10), (72.44, 62.05, 60.80, 72.52)),
    "Autoencoder + SVM": ((59.90, 48.80, 55.70, 64.30), (70.03, 69.88, 63.55, 64.61)),
    "DBN + SVM": ((63.20, 45.50, 42.30, 60.90), (69.50, 68.45, 58.30, 70.08)),
    "KCNN (k = 5) ULT": ((61.80, 47.50, 39.80, 66.30), (70.03, 53.92, 53.57, 71.08)),
    "KCNN (k = 5)": ((75.30, 50.90, 42.30, 77.60), (72.74, 63.40, 61.60, 73.49)),
    "KCNN (k = 1) + SVM": ((72.90, 56.50, 39.80, 74.60), (69.28, 63.70, 69.28, 71.39)),
    "KCNN (k = 5) + SVM": ((80.70, 59.60, 48.50, 83.90), (78.29, 68.52, 69.67, 79.68)),
}

#: Scores by data set, with the attributes of a paper's module. Reports select one by its classes.
TASKS = {
    data: SimpleNamespace(
        ACCURACY={
            f"{system} {feature}": (columns[number][column], None)
            for system, columns in _TABLE.items()
            for column, feature in enumerate(FEATURES)
        },
        VOTED=(),
        GENRES=genres,
        CLASSES={},
    )
    for number, (data, genres) in enumerate({"gtzan": GENRES, "ismir2004": ISMIR_GENRES}.items())
}
