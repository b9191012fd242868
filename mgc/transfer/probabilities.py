"""Computes class probabilities of a transfer experiment, as results for fusion and reports."""

from typing import Any

import joblib
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

import mgc
from mgc.core.child_processes import run_parallel
from mgc.errors import MgcError
from mgc.evaluation.results import Results
from mgc.transfer.classifiers import Setting, calibrated_probabilities, get_classifier
from mgc.transfer.feature_table import FeatureTable
from mgc.transfer.fitting import prepare_features
from mgc.transfer.folds import Evaluation, FoldPlan
from mgc.transfer.outcome import Transfer


def fold_results(
    table: FeatureTable,
    names: tuple[str, ...],
    plan: FoldPlan,
    transfer: Transfer,
    jobs: int = -1,
) -> tuple[Results, Results | None]:
    """Compute class probabilities for the test and the validation tracks of every fold.

    Uses the settings chosen by the nested protocol. Test tracks are predicted by a classifier
    fitted on all other folds, validation tracks by one fitted without the test fold and the
    validation fold, so that fusion weights can be fitted on them. Probabilities of support vector
    machines are calibrated (see :func:`mgc.transfer.classifiers.calibrated_probabilities`).

    Args:
        table: Features and targets.
        names: Layers to use.
        plan: Folds of the experiment.
        transfer: Results of the experiment with only these layers and the nested protocol.
        jobs: Number of processes; -1 is one per core.

    Returns:
        Results on the test tracks, and on the validation tracks if there are any.

    Raises:
        MgcError: If the task is not multiclass, or a class has too few tracks.
    """
    if table.task != "multiclass":
        raise MgcError(f"--probabilities needs a multiclass task, not {table.task}.")
    classifier = transfer.meta["classifier"]
    settings = _chosen_settings(transfer, sum(table.layers[name].shape[1] for name in names))
    layers = [table.layers[name] for name in names]
    found = {}
    for stage, evaluations in (("test", plan.nested), ("validate", plan.validation)):
        if evaluations:
            work = (
                joblib.delayed(_probabilities)(
                    layers, table.targets, plan, evaluation, classifier, setting
                )
                for evaluation, setting in zip(evaluations, settings, strict=True)
            )
            parts = list(run_parallel(work, jobs))
            results = _to_results(table, names, plan, classifier, evaluations, parts, stage)
            results.source["fingerprint"] = transfer.meta["fingerprint"]
            found[stage] = results
    return found["test"], found.get("validate")


def _chosen_settings(transfer: Transfer, width: int) -> list[Setting]:
    """Return the setting that the nested protocol chose for each test fold."""
    rows = transfer.scores[transfer.scores["protocol"] == "nested"]
    names = ["standardise", *get_classifier(transfer.meta["classifier"]).settings(width)[0]]
    ranked = rows.fillna({"inner_score": -np.inf})
    best = rows.loc[ranked.groupby("fold")["inner_score"].idxmax(), names]
    return [dict(zip(names, row, strict=True)) for row in best.itertuples(index=False)]


def _probabilities(
    layers: list[np.ndarray],
    targets: np.ndarray,
    plan: FoldPlan,
    evaluation: Evaluation,
    classifier: str,
    setting: Setting,
) -> np.ndarray:
    fit = plan.fits[evaluation.fit]
    with threadpool_limits(1):
        train, test = prepare_features(
            layers, fit.train, fit.tests[evaluation.part], setting["standardise"]
        )
        if classifier.startswith("svm"):
            return calibrated_probabilities(setting, train, test, targets[fit.train])
        [(_, decision)] = get_classifier(classifier).sweep(
            [setting], train, test, targets[fit.train], "multiclass", scores=True
        )
        if decision.scores is None:
            raise RuntimeError(f"{classifier} returns no scores")
        return decision.scores


def _to_results(
    table: FeatureTable,
    names: tuple[str, ...],
    plan: FoldPlan,
    classifier: str,
    evaluations: list[Evaluation],
    parts: list[np.ndarray],
    stage: str,
) -> Results:
    labels = np.array(table.labels)
    frames = []
    for evaluation, fold, values in zip(evaluations, plan.folds, parts, strict=True):
        rows = plan.fits[evaluation.fit].tests[evaluation.part]
        columns: dict[str, Any] = {"track": table.tracks["track"].to_numpy()[rows]}
        if fold is None:
            columns["split"] = "test" if stage == "test" else "val"
        else:
            columns |= {"seed": plan.seed, "fold": fold}
        columns["label"] = labels[table.targets[rows]]
        shares = np.zeros((len(rows), len(labels)))
        shares[:, : values.shape[1]] = values
        columns |= {f"probability.{name}": shares[:, i] for i, name in enumerate(labels)}
        columns["decision"] = labels[shares.argmax(axis=1)]
        frames.append(pd.DataFrame(columns))
    source = {
        "classifier": classifier,
        "layers": list(names),
        "folds": plan.description,
        "stage": stage,
        "features": table.source,
        "version": mgc.__version__,
    }
    tracks = pd.concat(frames, ignore_index=True)
    return Results.from_tracks(tracks, table.task, table.labels, source)
