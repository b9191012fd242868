"""Late fusion: what several models say together of the same tracks.

Source: ``fusion1`` and ``fusion2`` are those of Senac et al. (2017), section 4.3. Weighted sums and
products of the likelihoods of a track are those of Gwardys and Grzywczak (2014), section V.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from os import PathLike
from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize

from mgc.core import markdown
from mgc.core.writing import all_or_nothing
from mgc.errors import MgcError
from mgc.evaluation.alignment import TRACK_KEY, align, check_alike
from mgc.evaluation.intervals import MEASURE, fold_names, gain, name_intervals, score
from mgc.evaluation.paired import holm, mcnemar
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import Run, RunLike, as_runs

Method = Literal["fusion1", "fusion2", "weighted", "product"]

#: Methods that combine clips, and so need the same clips of every run.
BY_CLIP = ("fusion1", "fusion2")

#: Smallest probability that a logarithm is taken of.
FLOOR = 1e-12


@dataclass
class Fusion(Results):
    """Results of a fusion.

    Attributes:
        report: Scores, intervals and tests against the single runs in Markdown.
    """

    report: str = ""

    def _repr_html_(self) -> str:
        """Show the report and the first tracks in a notebook."""
        return f"<pre>{html.escape(self.report)}</pre>{super()._repr_html_()}"


def fuse(
    runs: Sequence[RunLike] | Mapping[str, RunLike],
    method: Method,
    weights: Sequence[float] | str = "",
    fit_weights: Literal["validation"] | None = None,
    out: str | PathLike[str] | None = None,
) -> Fusion:
    """Combine the predictions of several models on the same tracks (late fusion).

    Args:
        runs: Results, or folders of runs (see :func:`mgc.evaluation.tested_runs.load_runs`), in a
            sequence or by name.
        method: ``fusion1``, ``fusion2``, ``weighted`` or ``product``, as for ``mgc fuse``.
        weights: Weights of the runs for ``weighted`` and ``product``; by default equal. They are
            scaled to a sum of 1.
        fit_weights: ``validation`` fits the weights to the validation tracks of every fold.
        out: Folder for the fused results and ``fusion.md``; by default nothing is written.

    Returns:
        The fused results, with a report.

    Raises:
        MgcError: If the runs do not belong together or the settings do not fit.
    """
    loaded = as_runs(runs)
    words = weights if isinstance(weights, str) else ",".join(map(str, weights))
    given = parse_weights(words, len(loaded), method, fitted=fit_weights is not None)
    fused = fuse_runs(loaded, method, given, fit=fit_weights is not None)
    text = compare_runs(loaded, fused)
    if out is not None:
        fused.save(out)
        with all_or_nothing(out) as folder:
            (folder / "fusion.md").write_text(text, encoding="utf-8")
    return Fusion(fused.clips, fused.tracks, fused.task, fused.labels, fused.source, text)


def parse_weights(text: str, runs: int, method: Method, fitted: bool) -> np.ndarray | None:
    """Read the weights of runs.

    Args:
        text: Numbers separated by commas, or nothing.
        runs: Number of runs.
        method: How the runs are combined.
        fitted: Whether weights are to be fitted.

    Returns:
        Weights of shape (runs,) with the sum 1; nothing if none are given.

    Raises:
        MgcError: If they are no weights, or the method takes none.
    """
    if method in BY_CLIP and (text or fitted):
        raise MgcError(f"--method {method} takes no weights: leave them out, or use weighted.")
    if text and fitted:
        raise MgcError("Give either --weights or --fit-weights.")
    if not text:
        return None
    try:
        weights = np.array([float(word) for word in text.split(",")])
    except ValueError:
        weights = np.empty(0)
    if len(weights) != runs or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise MgcError(
            f"--weights {text}: give {runs} numbers of 0 or more, one per run, as in "
            f"{','.join(['0.5'] * runs)}."
        )
    return weights / weights.sum()


def fuse_runs(
    runs: Sequence[Run], method: Method, weights: np.ndarray | None = None, fit: bool = False
) -> Results:
    """Combine the results of runs.

    Args:
        runs: Two runs or more.
        method: How to combine them.
        weights: Weights of the runs, of shape (runs,), for weighted and product; by default equal.
        fit: Whether to fit the weights of every fold to its own validation tracks instead.

    Returns:
        Results on the test tracks. The methods by track have one clip per track, all of it.

    Raises:
        MgcError: If the runs do not belong together, or cannot be combined in this way.
    """
    if len(runs) < 2:
        raise MgcError("Give two runs or more to combine.")
    tests = {run.name: align(run.test) for run in runs}
    check_alike(tests, clips=method in BY_CLIP)
    first = next(iter(tests.values()))
    refused = {"multilabel": ("fusion2",), "regression": ("fusion2", "product")}
    if method in refused.get(first.task, ()):
        raise MgcError(f"--method {method} does not serve {first.task}: use weighted or fusion1.")
    source: dict[str, Any] = {"fusion": method, "runs": {run.name: run.test.source for run in runs}}
    if method in BY_CLIP:
        return _fuse_clips(list(tests.values()), method, source)
    equal = np.full(len(runs), 1 / len(runs))
    folds = fold_names(first.tracks)
    chosen = dict.fromkeys(folds.unique(), equal if weights is None else weights)
    if fit:
        chosen = fit_weights(runs, method)
    outputs = np.stack([r.tracks[r.outputs].to_numpy(np.float64) for r in tests.values()])
    fused = np.empty_like(outputs[0])
    for fold, rows in folds.groupby(folds).indices.items():
        fused[rows] = combine(outputs[:, rows], chosen[fold], method, first.task)
    source["weights"] = {fold: values.tolist() for fold, values in chosen.items()}
    return _by_track(first, fused, source)


def _fuse_clips(results: Sequence[Results], method: Method, source: dict[str, Any]) -> Results:
    """Mean of the runs for each clip; tracks by the mean over all clips, or by majority."""
    # Comparing runs needs neither, and starts sooner.
    import torch

    from mgc.evaluation.scores import majority_vote

    first = results[0]
    clips, tracks = first.clips.copy(), first.tracks.copy()
    means = np.mean([r.clips[r.outputs].to_numpy(np.float64) for r in results], axis=0)
    key = [column for column in TRACK_KEY if column in tracks]
    # Clips are in the order of their tracks.
    track = torch.from_numpy(
        clips.groupby(key, dropna=False, sort=True).ngroup().to_numpy(copy=True)
    )
    clips[first.outputs] = means
    by_track = clips.groupby(track.numpy())[first.outputs].mean().to_numpy()
    tracks[first.outputs] = by_track
    if first.task == "multiclass":
        names = np.array(first.labels)
        clips["decision"] = names[means.argmax(axis=1)]
        tracks["vote"] = names[majority_vote(torch.from_numpy(means), track).numpy()]
        best = names[by_track.argmax(axis=1)]
        tracks["decision"] = tracks["vote"] if method == "fusion2" else best
    return Results(clips, tracks, first.task, first.labels, source)


def _by_track(first: Results, fused: np.ndarray, source: dict[str, Any]) -> Results:
    """Results of outputs for whole tracks."""
    tracks = first.tracks.copy()
    tracks[first.outputs] = fused
    if first.task == "multiclass":
        tracks["decision"] = np.array(first.labels)[fused.argmax(axis=1)]
        tracks["vote"] = tracks["decision"]
    clips = tracks.drop(columns="vote", errors="ignore")
    clips.insert(1, "clip", 0)
    clips.insert(2, "start", 0.0)
    return Results(clips, tracks, first.task, first.labels, source)


def combine(outputs: np.ndarray, weights: np.ndarray, method: Method, task: str) -> np.ndarray:
    """Combine the outputs of several models.

    Args:
        outputs: Probabilities, or predictions, of shape (runs, tracks, classes).
        weights: Weights of shape (runs,).
        method: ``weighted``: the weighted mean. ``product``: the weighted geometric mean, scaled
            so that the classes (or a tag and its absence) add up to 1.
        task: What the targets are.

    Returns:
        Outputs of shape (tracks, classes).
    """
    if method == "weighted":
        return np.einsum("r,rtc->tc", weights, outputs)
    logs = np.einsum("r,rtc->tc", weights, np.log(np.maximum(outputs, FLOOR)))
    if task == "multilabel":
        absent = np.einsum("r,rtc->tc", weights, np.log(np.maximum(1 - outputs, FLOOR)))
        return 1 / (1 + np.exp(absent - logs))
    scaled = np.exp(logs - logs.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


def fit_weights(runs: Sequence[Run], method: Method) -> dict[str, np.ndarray]:
    """Find weights on the validation tracks, for every fold from its own.

    The loss (negative mean log-likelihood, or mean squared error) is convex in the weights for
    both methods, so one descent from equal weights finds its minimum (SLSQP over the simplex).

    Args:
        runs: Runs that are alike.
        method: ``weighted`` or ``product``.

    Returns:
        Weights of shape (runs,) by name of the fold.

    Raises:
        MgcError: If a run has no validation results, they differ, or share tracks with the test.
    """
    found: dict[str, Results] = {}
    for run in runs:
        if run.validation is None:
            raise MgcError(
                f"{run.name}: no results on validation tracks to fit weights to. Run mgc validate "
                "or mgc predict, or give --weights."
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
            raise MgcError(f"There are no results on the validation tracks of {fold or 'the run'}.")
        rows = rows_of[fold]
        shared = set(members["track"]) & set(first.tracks["track"].iloc[rows])
        if shared:
            raise MgcError(
                f"{fold or 'The runs'}: track {min(shared)!r} is in the validation and in the test "
                "results. Weights are fitted to validation tracks alone: use one split for both."
            )
        weights[str(fold)] = _minimise(outputs[:, rows], target[rows], method, first.task)
    return weights


def _targets(results: Results) -> np.ndarray:
    """Values of shape (tracks, labels); for multiclass 1 for the class and 0 for the others."""
    if results.task == "multiclass":
        names = results.tracks["label"].to_numpy()
        return (names[:, None] == np.array(results.labels)[None, :]).astype(np.float64)
    return results.tracks[[f"target.{label}" for label in results.labels]].to_numpy(np.float64)


def _minimise(outputs: np.ndarray, target: np.ndarray, method: Method, task: str) -> np.ndarray:
    def loss(weights: np.ndarray) -> float:
        fused = combine(outputs, weights, method, task)
        if task == "regression":
            return float(((fused - target) ** 2).mean())
        likelihood = target * np.log(np.maximum(fused, FLOOR))
        if task == "multilabel":
            likelihood += (1 - target) * np.log(np.maximum(1 - fused, FLOOR))
        return float(-likelihood.sum(axis=1).mean())

    runs = len(outputs)
    found = minimize(
        loss,
        np.full(runs, 1 / runs),
        method="SLSQP",
        bounds=[(0, 1)] * runs,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
    ).x
    return found.clip(0) / found.clip(0).sum()


def compare_runs(runs: Sequence[Run], fused: Results) -> str:
    """Put into words what the fusion gains, and how the runs differ.

    Single runs are measured by the kind of decision that the fusion takes: majority of the clips
    for ``fusion2``, mean probability for all others.

    Args:
        runs: What was combined.
        fused: Their fusion.

    Returns:
        Markdown: scores with 95 % intervals over tracks, the gain over the best run, and for
        multiclass a McNemar test of every pair.
    """
    method = str(fused.source["fusion"])
    decision = "vote" if method == "fusion2" else "decision"
    name = MEASURE[fused.task]
    singles = {run.name: align(run.test) for run in runs}
    scores = {run: score(results, decision) for run, results in singles.items()}
    rows = [*scores.items(), (method, score(fused))]
    interval = name_intervals(found.interval for _, found in rows)
    lines = [markdown.heading(f"Fusion: {method} of {', '.join(singles)}"), ""]
    cells = [[run, found.value, found.interval] for run, found in rows]
    lines.append(markdown.table(["", name, interval], cells))
    best = max(scores, key=lambda run: scores[run].value)
    gained, between = gain(fused, singles[best], decision)
    lines += [
        "",
        f"Gain over the best single run, {markdown.escape(best)}: {gained:+.3f} "
        f"({between.name}: {between:+.3f}).",
    ]
    if "weights" in fused.source:
        lines += ["", "Weights: " + _weights_in_words(fused.source["weights"], list(singles))]
    if fused.task == "multiclass":
        lines += ["", *_tests(singles, fused, decision, method)]
    return "\n".join(lines) + "\n"


def _tests(singles: dict[str, Results], fused: Results, decision: str, method: str) -> list[str]:
    """McNemar tests of all pairs."""
    tracks = fused.tracks
    once = np.ones(len(tracks), dtype=bool)
    note = ""
    if "seed" in tracks and tracks["seed"].nunique() > 1:
        seed = tracks["seed"].iloc[0]
        once = (tracks["seed"] == seed).to_numpy()
        note = f", of seed {seed} (the same tracks tested again are no new tracks)"
    right = {
        run: (results.tracks["label"] == results.tracks[decision])[once]
        for run, results in singles.items()
    }
    right[method] = (tracks["label"] == tracks["decision"])[once]
    lines = [f"Exact McNemar tests on {once.sum()} tracks{note}:", ""]
    pairs = list(combinations(right, 2))
    tests = [mcnemar(right[one], right[two]) for one, two in pairs]
    adjusted = holm([test.p for test in tests])
    rows = [
        [one, two, test.only_first, test.only_second, f"{test.p:.3g}", f"{p:.3g}"]
        for (one, two), test, p in zip(pairs, tests, adjusted, strict=True)
    ]
    head = ["first", "second", "only first right", "only second right", "p", "p (Holm)"]
    return [*lines, markdown.table(head, rows)]


def _weights_in_words(weights: dict[str, list[float]], names: list[str]) -> str:
    values = np.array(list(weights.values()))
    words = []
    for name, column in zip(names, values.T, strict=True):
        spread = f" ({column.min():.2f} to {column.max():.2f} by fold)" if np.ptp(column) else ""
        words.append(f"{markdown.escape(name)} {column.mean():.2f}{spread}")
    return ", ".join(words) + "."
