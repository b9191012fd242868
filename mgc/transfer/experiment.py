"""Transfer experiment: trains a classifier on combinations of layers and scores each of them.

Each combination is fitted with every setting of a classifier's grid, with and without
standardisation. Scores are reported for two protocols (see :mod:`mgc.transfer.folds`):

* ``paper``: the best mean score over the test folds, without standardisation. It is optimistic,
  because the test folds choose the settings. Choi et al. (2017) also list standardisation, but the
  switch in their released code has no effect inside a grid search, and only scores without it
  match the published ones. ``full_grid`` includes standardised features. Folds are weighted by
  their number of tracks, as in ``GridSearchCV`` of scikit-learn 0.18 (``iid=True``), which the
  paper used.
* ``nested``: settings and standardisation are chosen within each training fold. The score of all
  tracks is reported with its 95 % interval (see :func:`mgc.evaluation.intervals.score`) and its
  spread over the test folds.

Scores are accuracy (multiclass), r² of each quantity (regression), or ROC-AUC averaged over tags
(multilabel). ``nested`` scores all tracks at once, except that ROC-AUC is the mean over folds.

Source: K. Choi, G. Fazekas, M. Sandler, K. Cho, Transfer learning for music classification and
regression tasks, ISMIR 2017, sections 2.3, 3.3 and 4.1.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd

from mgc.core.child_processes import run_parallel
from mgc.core.fingerprint import hash_values
from mgc.errors import MgcError
from mgc.transfer.classifiers import Decision, Setting, get_classifier
from mgc.transfer.feature_table import FeatureTable
from mgc.transfer.fitting import Progress, hash_fits, limit_jobs, predict, score_fits
from mgc.transfer.folds import Evaluation, FoldPlan
from mgc.transfer.outcome import Transfer, score_nested

METRICS: dict[str, str] = {
    "multiclass": "accuracy",
    "multilabel": "ROC-AUC",
    "regression": "r²",
}


class _Refit(NamedTuple):
    """Combination, target and setting to fit again for the predictions of a nested test fold."""

    layers: str
    target: int
    setting: Setting
    evaluation: Evaluation
    fold: int | None


def run_transfer(
    table: FeatureTable,
    combinations: Mapping[str, tuple[str, ...]],
    plan: FoldPlan,
    *,
    classifier: str = "svm",
    jobs: int = -1,
    progress: Progress | None = None,
    quiet: bool = False,
) -> Transfer:
    """Run the experiment.

    Args:
        table: Features and targets.
        combinations: Layers of each combination, by its name.
        plan: Folds from :func:`mgc.transfer.folds.make_plan`.
        classifier: ``svm``, ``svm_rbf``, ``knn`` or ``logistic``.
        jobs: Number of processes; -1 is one per core. Results do not depend on it.
        progress: Scores of an interrupted run.
        quiet: Whether to hide the progress bar.
    """
    jobs = limit_jobs(jobs, plan)
    progress = progress or Progress(None)
    keys = hash_fits(table, combinations, plan, classifier)
    fitted = score_fits(table, combinations, plan, classifier, jobs, progress, keys, quiet)
    targets = target_names(table)
    rows: list[pd.DataFrame] = []
    summaries: list[dict[str, Any]] = []
    refits: list[_Refit] = []
    for name, layers in combinations.items():
        scores = [fitted[name, number] for number in range(len(plan.fits))]
        width = sum(table.layers[layer].shape[1] for layer in layers)
        settings = get_classifier(classifier).settings(width)
        grid = [{"standardise": on, **setting} for on in (False, True) for setting in settings]
        for number, target in enumerate(targets):
            where = {"target": target, "layers": name}
            outer = _select(scores, plan.paper, number)
            rows.append(_score_rows("paper", where, grid, plan, plan.paper, outer))
            best = {"width": width, "metric": METRICS[table.task]}
            summaries.append(where | best | _summarise_paper(outer, plan, grid))
            if plan.nested:
                outer = _select(scores, plan.nested, number)
                inner = np.stack([_mean(_select(scores, part, number)) for part in plan.inner])
                rows.append(_score_rows("nested", where, grid, plan, plan.nested, outer, inner))
                refits += [
                    _Refit(name, number, grid[choice], evaluation, fold)
                    for choice, evaluation, fold in zip(
                        _best(inner), plan.nested, plan.folds, strict=True
                    )
                ]
    summary = pd.DataFrame(summaries)
    predictions = _predict_nested(table, combinations, plan, classifier, jobs, refits)
    if len(predictions):
        nested = score_nested(predictions, table.task, table.labels)
        summary = summary.merge(nested, on=["target", "layers"])
    meta = describe_experiment(table, plan, classifier, keys.values())
    return Transfer(pd.concat(rows, ignore_index=True), summary, predictions, meta)


def describe_experiment(
    table: FeatureTable, plan: FoldPlan, classifier: str, keys: Iterable[str]
) -> dict[str, Any]:
    """Return :attr:`Transfer.meta`. ``keys`` are the values of :func:`hash_fits`."""
    return {
        "task": table.task,
        "labels": table.labels,
        "metric": METRICS[table.task],
        "classifier": classifier,
        "folds": plan.description,
        "tracks": len(table.tracks),
        "source": table.source,
        "fingerprint": hash_values(*keys),
    }


def load_finished(
    folder: str | os.PathLike[str],
    table: FeatureTable,
    combinations: Mapping[str, tuple[str, ...]],
    plan: FoldPlan,
    classifier: str,
) -> Transfer | None:
    """Load the results in a folder if they are those of this experiment (see above)."""
    try:
        result = Transfer.load(folder)
    except MgcError:
        return None
    keys = hash_fits(table, combinations, plan, classifier)
    same = result.meta == describe_experiment(table, plan, classifier, keys.values())
    names = result.summary["layers"].drop_duplicates().tolist()
    same = (
        same and names == list(combinations) and bool(plan.nested) == bool(len(result.predictions))
    )
    return result if same else None


def target_names(table: FeatureTable) -> list[str]:
    """Return the quantities of a regression, else ``label`` (multiclass) or ``tags``."""
    if table.task == "regression":
        return list(table.labels)
    return ["label" if table.task == "multiclass" else "tags"]


def _select(scores: list[np.ndarray], evaluations: list[Evaluation], target: int) -> np.ndarray:
    """Return the scores of a target, of shape (evaluations, settings)."""
    return np.stack([scores[fit][:, part, target] for fit, part in evaluations])


def _summarise_paper(scores: np.ndarray, plan: FoldPlan, grid: list[Setting]) -> dict[str, Any]:
    """Return the best mean score over the test folds, without and with standardised features."""
    sizes = [len(plan.fits[fit].tests[part]) for fit, part in plan.paper]
    means = _mean(scores, np.array(sizes))
    # Settings without standardisation come first.
    paper, full_grid = (int(_best(part)) for part in (means[: len(grid) // 2], means))
    return {
        "paper": means[paper],
        "paper_setting": _describe(grid[paper]),
        "full_grid": means[full_grid],
        "full_grid_setting": _describe(grid[full_grid]),
    }


def _mean(scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the mean over the first axis, without folds that have no score.

    A setting without a score in a fold where others have one, has no mean.
    """
    scored = ~np.isnan(scores).all(axis=1)
    if not scored.any():
        return np.full(scores.shape[1], np.nan)
    mean: np.ndarray = np.average(
        scores[scored], axis=0, weights=None if weights is None else weights[scored]
    )
    return mean


def _best(scores: np.ndarray) -> np.ndarray:
    """Return the index of the highest score along the last axis; NaN never is."""
    return np.nan_to_num(scores, nan=-np.inf).argmax(axis=-1)


def _describe(setting: Setting) -> str:
    kernel = [setting["kernel"]] if "kernel" in setting else []
    numbers = [
        f"{name}={value:.4g}"
        for name, value in setting.items()
        if name not in ("kernel", "standardise") and not np.isnan(value)
    ]
    return ", ".join([*kernel, *numbers, *(["standardised"] if setting["standardise"] else [])])


def _score_rows(
    protocol: str,
    where: dict[str, str],
    grid: list[Setting],
    plan: FoldPlan,
    evaluations: list[Evaluation],
    scores: np.ndarray,
    inner: np.ndarray | None = None,
) -> pd.DataFrame:
    frames = []
    for number, (fold, (fit, part)) in enumerate(zip(plan.folds, evaluations, strict=True)):
        frame = pd.DataFrame(grid)
        frame["fold"] = 0 if fold is None else fold
        frame["tracks"] = len(plan.fits[fit].tests[part])
        frame["score"] = scores[number]
        frame["inner_score"] = np.nan if inner is None else inner[number]
        frames.append(frame)
    rows = pd.concat(frames, ignore_index=True)
    return pd.concat([pd.DataFrame({"protocol": protocol, **where}, rows.index), rows], axis=1)


def _predict_nested(
    table: FeatureTable,
    combinations: Mapping[str, tuple[str, ...]],
    plan: FoldPlan,
    classifier: str,
    jobs: int,
    refits: list[_Refit],
) -> pd.DataFrame:
    """Predict the test folds of the nested protocol with the chosen settings."""
    tests = [plan.fits[fit].tests[part] for fit, part in (refit.evaluation for refit in refits)]
    work = (
        joblib.delayed(predict)(
            [table.layers[layer] for layer in combinations[refit.layers]],
            table.targets[:, [refit.target]] if table.task == "regression" else table.targets,
            table.task, plan.fits[refit.evaluation.fit].train, test, classifier, refit.setting,
        )
        for refit, test in zip(refits, tests, strict=True)
    )  # fmt: skip
    decisions = run_parallel(work, jobs)
    rows = [
        _prediction_rows(table, refit, test, decision)
        for refit, test, decision in zip(refits, tests, decisions, strict=True)
    ]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def _prediction_rows(
    table: FeatureTable, refit: _Refit, test: np.ndarray, decision: Decision
) -> pd.DataFrame:
    tracks, fold = table.tracks.iloc[test], refit.fold
    columns: dict[str, Any] = {"target": target_names(table)[refit.target], "layers": refit.layers}
    columns["track"] = tracks["track"].to_numpy()
    columns["split"] = tracks["split"].to_numpy() if fold is None else "test"
    columns["fold"] = pd.array([pd.NA if fold is None else fold] * len(test), "Int64")
    if table.task == "regression":
        columns["true"] = table.targets[test, refit.target]
        columns["prediction"] = np.ravel(decision.value)
        return pd.DataFrame(columns)
    if table.task == "multiclass":
        labels = np.array(table.labels, object)
        columns["label"] = labels[table.targets[test]]
        columns["decision"] = labels[decision.value]
    else:
        for label in table.labels:
            columns[f"target.{label}"] = tracks[f"target.{label}"].to_numpy()
    if decision.scores is not None:
        kind = "probability" if decision.are_probabilities else "score"
        for label, values in zip(table.labels, decision.scores.T, strict=False):
            columns[f"{kind}.{label}"] = values
    return pd.DataFrame(columns)
