"""Combines the predictions of several models on the same tracks (late fusion)."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import numpy as np

from mgc.core.writing import all_or_nothing, writes_folder
from mgc.errors import MgcError
from mgc.evaluation.alignment import align, check_alike
from mgc.evaluation.fusion_report import describe_fusion
from mgc.evaluation.fusion_rules import (
    CLIP_METHODS,
    Method,
    combine,
    drop_scores,
    find_weights,
    fuse_clips,
)
from mgc.evaluation.intervals import fold_names
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import Run, RunLike, as_runs


@dataclass
class Fusion(Results):
    """Results of a fusion, with a Markdown report that compares them with the single runs."""

    report: str = ""

    def _repr_html_(self) -> str:
        """Show the report and the first tracks in a notebook."""
        return f"<pre>{html.escape(self.report)}</pre>{super()._repr_html_()}"


@writes_folder("out", apart=True)
def fuse(
    runs: Sequence[RunLike] | Mapping[str, RunLike],
    method: Method,
    weights: Sequence[float] | str = "",
    fit_weights: Literal["validation"] | None = None,
    out: str | PathLike[str] | None = None,
) -> Fusion:
    """Combine the predictions of several models on the same tracks (late fusion).

    Example:
        >>> mgc.fuse(["runs/crossval/stft", "runs/crossval/music"], "fusion2")
        >>> mgc.fuse({"cnn": mgc.cross_validate("vgg_gtzan"), "svm": svm}, "weighted")

    Args:
        runs: Two or more runs, in a sequence or by name: output folders (see
            :func:`mgc.evaluation.tested_runs.load_runs`), :class:`~mgc.evaluation.results.Results`,
            or return values of ``mgc.cross_validate`` and ``mgc.transfer``.
        method: ``fusion1``, ``fusion2``, ``weighted`` or ``product``, as for ``mgc fuse``.
        weights: Weights of the runs for ``weighted`` and ``product``, normalised to a sum of 1.
            Default: equal weights.
        fit_weights: ``validation`` fits the weights to the validation tracks of each fold.
        out: Output folder for the fused results and ``fusion.md``. By default, nothing is written.

    Raises:
        MgcError: If runs have different tracks, labels or folds, or the arguments contradict each
            other.
    """
    loaded = as_runs(runs)
    text = weights if isinstance(weights, str) else ",".join(map(str, weights))
    given = parse_weights(text, len(loaded), method, fitted=fit_weights is not None)
    fused = fuse_runs(loaded, method, given, fit=fit_weights is not None)
    report = describe_fusion(loaded, fused)
    if out is not None:
        fused.save(out)
        with all_or_nothing(out) as folder:
            (folder / "fusion.md").write_text(report, encoding="utf-8")
    return Fusion(fused.clips, fused.tracks, fused.task, fused.labels, fused.source, report)


def parse_weights(text: str, runs: int, method: Method, fitted: bool) -> np.ndarray | None:
    """Parse comma-separated weights and normalise them to a sum of 1; None for an empty text.

    Raises an MgcError if they are invalid, or if the method does not use weights.
    """
    if method in CLIP_METHODS and (text or fitted):
        raise MgcError(f"--method {method} does not use weights. Omit them or use weighted.")
    if text and fitted:
        raise MgcError("Use either --weights or --fit-weights, not both.")
    if not text:
        return None
    try:
        weights = np.array([float(word) for word in text.split(",")])
    except ValueError:
        weights = np.empty(0)
    if len(weights) != runs or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise MgcError(
            f"--weights {text}: expected {runs} numbers of 0 or more, one per run, as in "
            f"{','.join(['0.5'] * runs)}."
        )
    return weights / weights.sum()


def fuse_runs(
    runs: Sequence[Run], method: Method, weights: np.ndarray | None = None, fit: bool = False
) -> Results:
    """Combine the test results of two or more runs.

    Args:
        runs: Runs with the same tracks, labels and folds.
        method: Rule for combining them.
        weights: Weights of shape (runs,) for ``weighted`` and ``product``. Default: equal weights.
        fit: Whether to fit the weights of each fold to its validation tracks instead.

    Returns:
        Results on the test tracks. ``weighted`` and ``product`` give each track a single clip.
    """
    if len(runs) < 2:
        raise MgcError(f"Fusion needs two or more runs, not {len(runs)}.")
    tests = {run.name: align(run.test) for run in runs}
    check_alike(tests, clips=method in CLIP_METHODS)
    first = next(iter(tests.values()))
    unsupported = {"multilabel": ("fusion2",), "regression": ("fusion2", "product")}
    if method in unsupported.get(first.task, ()):
        raise MgcError(f"--method {method} does not support {first.task}. Use weighted or fusion1.")
    source: dict[str, Any] = {"fusion": method, "runs": {run.name: run.test.source for run in runs}}
    if method in CLIP_METHODS:
        return fuse_clips(list(tests.values()), method, source)
    equal = np.full(len(runs), 1 / len(runs))
    folds = fold_names(first.tracks)
    fold_weights = dict.fromkeys(folds.unique(), equal if weights is None else weights)
    if fit:
        fold_weights = fit_weights(runs, method)
    outputs = np.stack([r.tracks[r.outputs].to_numpy(np.float64) for r in tests.values()])
    tracks = drop_scores(first)
    fused = np.empty_like(outputs[0])
    for fold, rows in folds.groupby(folds).indices.items():
        fused[rows] = combine(outputs[:, rows], fold_weights[fold], method, first.task)
    tracks[first.outputs] = fused
    if first.task == "multiclass":
        tracks["decision"] = np.array(first.labels)[fused.argmax(axis=1)]
    source["weights"] = {fold: values.tolist() for fold, values in fold_weights.items()}
    return Results.from_tracks(tracks, first.task, first.labels, source)


def fit_weights(runs: Sequence[Run], method: Method) -> dict[str, np.ndarray]:
    """Fit the weights of each fold to its validation tracks.

    Returns:
        Weights of shape (runs,) by name of the fold.

    Raises:
        MgcError: If validation results are missing, differ, or share tracks with the test results.
    """
    found: dict[str, Results] = {}
    for run in runs:
        if run.validation is None:
            raise MgcError(
                f"{run.name}: fitting weights needs results on validation tracks. Run mgc validate "
                "or mgc predict, or set --weights."
            )
        found[f"validation of {run.name}"] = align(run.validation)
    check_alike(found, clips=False)
    first = next(iter(found.values()))
    outputs = np.stack([r.tracks[r.outputs].to_numpy(np.float64) for r in found.values()])
    target = _targets(first)
    rows_of = fold_names(first.tracks).groupby(fold_names(first.tracks)).indices
    weights = {}
    test = align(runs[0].test).tracks
    for fold, members in test.groupby(fold_names(test)):
        if fold not in rows_of:
            raise MgcError(f"No results on the validation tracks of {fold or 'the run'}.")
        rows = rows_of[fold]
        shared = set(members["track"]) & set(first.tracks["track"].iloc[rows])
        if shared:
            raise MgcError(
                f"{fold or 'The runs'}: track {min(shared)!r} is in the validation and in the test "
                "results. Use the same split for mgc validate and mgc test."
            )
        weights[str(fold)] = find_weights(outputs[:, rows], target[rows], method, first.task)
    return weights


def _targets(results: Results) -> np.ndarray:
    """Return one-hot classes or values, of shape (tracks, labels)."""
    if results.task == "multiclass":
        names = results.tracks["label"].to_numpy()
        return (names[:, None] == np.array(results.labels)[None, :]).astype(np.float64)
    return results.tracks[[f"target.{label}" for label in results.labels]].to_numpy(np.float64)
