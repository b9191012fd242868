"""Fits a classifier with all its settings on each combination of layers, in parallel."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from tqdm import tqdm

import mgc
from mgc.core.child_processes import count_jobs, run_parallel
from mgc.core.fingerprint import hash_values
from mgc.core.writing import naming_errors, replacing
from mgc.errors import MgcError
from mgc.task import Task
from mgc.transfer.classifiers import Decision, Setting, get_classifier
from mgc.transfer.feature_table import FeatureTable
from mgc.transfer.folds import Fit, FoldPlan

#: Maximum memory for kernels and distances, in all processes together.
MAX_KERNEL_BYTES = 8 * 2**30

#: Name of the combination and index of the fit.
FitKey = tuple[str, int]


class Progress:
    """Stores the scores of finished fits in a file, so that an experiment can be resumed.

    Each line is a JSON object with scores, a fingerprint of everything they depend on, and a digest
    of both. After a change of layers or settings, unaffected scores are reused.

    Args:
        path: File to append to, created if missing. None keeps scores in memory only.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = None if path is None else Path(path)
        self.scores: dict[str, np.ndarray] = {}
        if self.path is not None and self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").split("\n")
            if lines.pop():  # the last line is incomplete
                with replacing(self.path) as partial:
                    partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            for number, line in enumerate(lines, 1):
                try:
                    entry = json.loads(line)
                    if entry.get("digest") == hash_values(entry["key"], entry["scores"]):
                        self.scores[entry["key"]] = np.array(entry["scores"], float)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise MgcError(
                        f"{self.path}: cannot read scores from line {number}. Delete the file to "
                        "start over."
                    ) from error

    def add(self, key: str, scores: np.ndarray) -> None:
        """Store the scores of one fit, of shape (settings, test sets, targets)."""
        self.scores[key] = scores
        if self.path is not None:
            with naming_errors(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as file:
                    entry = {"key": key, "scores": scores.tolist()}
                    entry["digest"] = hash_values(*entry.values())
                    file.write(json.dumps(entry) + "\n")


def hash_fits(
    table: FeatureTable,
    combinations: Mapping[str, tuple[str, ...]],
    plan: FoldPlan,
    classifier: str,
) -> dict[FitKey, str]:
    """Hash what the scores of each combination and fit depend on."""
    common = [mgc.__version__, sklearn.__version__, classifier, table.task, table.targets]
    base = hash_values(*common)
    layers = {name: hash_values(values) for name, values in table.layers.items()}
    return {
        (name, number): hash_values(
            base, [layers[layer] for layer in names], fit.train, *map(np.asarray, fit.tests)
        )
        for name, names in combinations.items()
        for number, fit in enumerate(plan.fits)
    }


def score_fits(
    table: FeatureTable,
    combinations: Mapping[str, tuple[str, ...]],
    plan: FoldPlan,
    classifier: str,
    jobs: int,
    progress: Progress,
    keys: Mapping[FitKey, str],
    quiet: bool = False,
) -> dict[FitKey, np.ndarray]:
    """Score every combination, fit and setting, except those already in ``progress``.

    ``keys`` are those of :func:`hash_fits`.

    Returns:
        Scores of shape (settings, test sets, targets) by combination and fit.
    """
    missing = [fit_key for fit_key, key in keys.items() if key not in progress.scores]
    work = (
        joblib.delayed(_score_fit)(
            (name, number), [table.layers[layer] for layer in combinations[name]], table.targets,
            table.task, plan.fits[number], classifier,
        )
        for name, number in missing
    )  # fmt: skip
    done = run_parallel(work, jobs, ordered=False)
    for fit_key, scores in tqdm(
        done, "fits", len(keys), initial=len(keys) - len(missing), disable=quiet, unit="fit"
    ):
        progress.add(keys[fit_key], scores)
    return {fit_key: progress.scores[key] for fit_key, key in keys.items()}


def score(targets: np.ndarray, value: np.ndarray, task: Task) -> np.ndarray:
    """Return accuracy (multiclass), r² of each quantity (regression) or mean ROC-AUC (multilabel).

    Tags that apply to all tracks or to none are ignored. A score without any tag, or of a quantity
    that is the same for all tracks, is NaN.

    Args:
        targets: Classes of shape (tracks,), or values of shape (tracks, outputs).
        value: Decisions or predictions of the same shape.
        task: Task of the targets.
    """
    if task == "multiclass":
        return np.array([(targets == value).mean()])
    if task == "regression":
        targets, value = (np.reshape(x, (len(targets), -1)) for x in (targets, value))
        scores = np.full(targets.shape[1], np.nan)
        varied = np.flatnonzero(targets.min(0) != targets.max(0))
        if len(varied):
            scores[varied] = r2_score(
                targets[:, varied], value[:, varied], multioutput="raw_values"
            )
        return scores
    varied = np.flatnonzero(targets.min(0) != targets.max(0))
    areas = [roc_auc_score(targets[:, tag], value[:, tag]) for tag in varied]
    return np.array([np.mean(areas) if areas else np.nan])


def prepare_features(
    layers: list[np.ndarray], train: np.ndarray, test: np.ndarray, standardise: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate layers and return the features of the training and the test rows.

    ``standardise`` scales features to mean 0 and standard deviation 1 on the training rows.
    """
    features = np.concatenate(layers, axis=1, dtype=np.float64)
    fitted, tested = features[train], features[test]
    if standardise:
        scaler = StandardScaler(copy=False).fit(fitted)
        fitted, tested = scaler.transform(fitted), scaler.transform(tested)
    return fitted, tested


def predict(
    layers: list[np.ndarray],
    targets: np.ndarray,
    task: Task,
    train: np.ndarray,
    test: np.ndarray,
    classifier: str,
    setting: Setting,
) -> Decision:
    """Fit a classifier with one setting on the training rows and predict the test rows."""
    with threadpool_limits(1), _skip_checks():
        fitted, tested = prepare_features(layers, train, test, setting["standardise"])
        [(_, decision)] = get_classifier(classifier).sweep(
            [setting], fitted, tested, targets[train], task, scores=True
        )
    return decision


def _score_fit(
    fit_key: FitKey,
    layers: list[np.ndarray],
    targets: np.ndarray,
    task: Task,
    fit: Fit,
    classifier: str,
) -> tuple[FitKey, np.ndarray]:
    """Return scores of shape (settings, test sets, targets); unstandardised features come first."""
    kind = get_classifier(classifier)
    settings = kind.settings(sum(layer.shape[1] for layer in layers))
    test = np.concatenate(fit.tests)
    parts = np.split(np.arange(len(test)), np.cumsum([len(rows) for rows in fit.tests])[:-1])
    results: list[Any] = [None] * (2 * len(settings))
    # With one BLAS thread, sums do not depend on the number of processes.
    with threadpool_limits(1), _skip_checks():
        for half, standardise in enumerate((False, True)):
            fitted, tested = prepare_features(layers, fit.train, test, standardise)
            for i, decision in kind.sweep(settings, fitted, tested, targets[fit.train], task):
                results[half * len(settings) + i] = [
                    score(targets[test[part]], decision.value[part], task) for part in parts
                ]
    return fit_key, np.array(results, float)


def limit_jobs(jobs: int, plan: FoldPlan) -> int:
    """Return the number of processes, reduced so that kernels and distances fit in memory."""
    largest = max(len(fit.train) for fit in plan.fits)
    total = max(len(fit.train) + sum(map(len, fit.tests)) for fit in plan.fits)
    most = MAX_KERNEL_BYTES // (2 * 8 * largest * total)  # 8 bytes per pair of tracks
    return max(1, min(count_jobs(jobs), most))


def _skip_checks() -> Any:
    """Skip scikit-learn's checks of arrays and parameters; load_tables has checked the features."""
    return sklearn.config_context(assume_finite=True, skip_parameter_validation=True)
