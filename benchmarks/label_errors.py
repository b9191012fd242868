"""Measure how well mgc report labels finds labels that were swapped at random.

    python benchmarks/label_errors.py [FEATURES.parquet] [--seeds 3] [--folds 10]

Swaps 0, 2, 5 and 10 % of the labels in a feature table of ``mgc extract`` or ``mgc import
choi2017-features``, computes out-of-fold probabilities with logistic regression (C chosen by
cross-validation on the swapped labels), and counts how many suspected tracks were swapped
(precision) and how many swapped tracks are suspected (recall). Without a table, the features are
MFCCs of synthetic music. Labels that were wrong before count as false alarms, so precision is a
lower bound.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import mgc
from mgc.core.markdown import table
from mgc.evaluation.results import Results
from mgc.reports.label_errors import find_label_errors
from mgc.synthesis.data_set import synthesise
from mgc.transfer.feature_table import FeatureTable

SHARES = (0.0, 0.02, 0.05, 0.10)


def synthetic_features() -> FeatureTable:
    """Return MFCCs of 400 synthetic songs."""
    with tempfile.TemporaryDirectory() as folder:
        synthesise(Path(folder, "music"), tracks_per_genre=40, seconds=5, sample_rate=12000)
        out = Path(folder, "features.parquet")
        return mgc.extract(Path(folder, "music"), data="gtzan", model="mfcc", out=out)


def swap(labels: np.ndarray, share: float, classes: int, seed: int) -> np.ndarray:
    """Replace the labels of a share of the tracks by another class."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(labels), round(share * len(labels)), replace=False)
    swapped = labels.copy()
    swapped[chosen] = (labels[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return swapped


def predict(features: np.ndarray, labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return out-of-fold probabilities."""
    search = LogisticRegressionCV(
        Cs=[0.001, 0.01, 0.1], cv=3, scoring="neg_log_loss", max_iter=100, random_state=seed
    )
    model = make_pipeline(StandardScaler(), search)
    cv = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return cross_val_predict(model, features, labels, cv=cv, method="predict_proba")


def measure(data: FeatureTable, share: float, folds: int, seed: int) -> dict[str, float]:
    """Swap labels and compare the suspected tracks with the swapped ones."""
    layers = [name for name in data.layers if name != "mfcc"] or ["mfcc"]  # the network's, if any
    features = np.hstack([data.layers[name] for name in layers])
    names = np.array(data.labels, object)
    true = pd.Index(data.labels).get_indexer(pd.Index(data.tracks["label"]))
    given = swap(true, share, len(names), seed)
    probabilities = predict(features, given, folds, seed)
    rows = pd.DataFrame({"track": data.tracks["track"], "label": names[given], "split": "test"})
    rows["decision"] = names[probabilities.argmax(axis=1)]
    rows[[f"probability.{label}" for label in data.labels]] = probabilities
    errors = find_label_errors([Results.from_tracks(rows, "multiclass", data.labels, {})])
    found = errors.tracks.set_index("track")["suspected"].loc[data.tracks["track"]].to_numpy()
    wrong = given != true
    return {
        "swapped": wrong.sum(),
        "suspected": found.sum(),
        "precision": (found & wrong).sum() / found.sum() if found.any() else np.nan,
        "recall": (found & wrong).sum() / wrong.sum() if wrong.any() else np.nan,
        "estimated share": errors.share.value,
        "low": errors.share.interval.low,
        "high": errors.share.interval.high,
        "accuracy": (probabilities.argmax(axis=1) == true).mean(),
    }


def main() -> None:
    """Print a table with means over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("features", nargs="?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=10)
    args = parser.parse_args()
    start = time.perf_counter()
    data = FeatureTable.load(args.features) if args.features else synthetic_features()
    lines = []
    for share in SHARES:
        runs = [measure(data, share, args.folds, seed) for seed in range(args.seeds)]
        lines.append({"swapped share": share, **pd.DataFrame(runs).mean().to_dict()})
    frame = pd.DataFrame(lines)
    print(f"{len(data.tracks)} tracks, {len(data.labels)} classes, means of {args.seeds} seeds")
    print(table(list(frame), frame.to_numpy(object), aligned=True))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
