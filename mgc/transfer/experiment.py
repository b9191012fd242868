"""The transfer experiment: which layers serve a task, judged by a simple classifier.

Every combination of layers is fitted with every setting of a classifier's grid, each with and
without standardisation, and two protocols read the scores (see :mod:`mgc.transfer.folds`):

* ``paper``: the best mean score over the test folds of features as they are. It is optimistic:
  the test folds choose the settings. The text of Choi et al. (2017) also lists standardisation,
  but the switch in their released code has no effect inside a grid search, and their published
  scores come out exactly without it. ``full_grid`` is the same with standardised features too.
  Folds are weighted by their numbers of tracks, as by ``GridSearchCV`` in scikit-learn 0.18
  (``iid=True``), with which the experiment was run.
* ``nested``: settings, standardised or not, chosen within each training fold; the score of all
  tracks with its 95 % interval (see :func:`mgc.evaluation.intervals.score`) and its spread over the
  test folds.

Scores are accuracy (multiclass), r² of each quantity, which is a task of its own (regression), or
the mean ROC-AUC over tags, each tag against the rest (multilabel). ``nested`` is the score of all
tracks at once, but for ROC-AUC, which is the mean over the folds.

Source: K. Choi, G. Fazekas, M. Sandler, K. Cho, Transfer learning for music classification and
regression tasks, ISMIR 2017, sections 2.3, 3.3 and 4.1.
"""

import hashlib
import html
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from tqdm import tqdm

from mgc.core.parquet import read_parquet, write_parquet
from mgc.core.writing import replacing
from mgc.errors import MgcError
from mgc.evaluation.intervals import fold_scores, name_intervals, read_intervals, spread_columns
from mgc.evaluation.intervals import score as score_tracks
from mgc.evaluation.results import Results, count_from_zero
from mgc.task import Task
from mgc.transfer.classifiers import Decision, Setting, get_classifier
from mgc.transfer.feature_table import FeatureTable
from mgc.transfer.folds import Evaluation, Fit, FoldPlan

METRICS: dict[str, str] = {
    "multiclass": "accuracy",
    "multilabel": "ROC-AUC",
    "regression": "r²",
}
MEMORY = 8 * 2**30  # bytes that the kernels of all processes may take together


@dataclass
class Transfer:
    """Results of a transfer experiment.

    Attributes:
        scores: A row per protocol, target, combination, setting and test fold; ``inner_score`` is
            the mean score that chooses the settings in the ``nested`` protocol.
        summary: A row per target and combination.
        predictions: A row per target, combination and track, by the ``nested`` protocol.
        meta: Task, labels, metric, classifier and how the folds were made.
        test: Probabilities on the test tracks, where they were asked for.
        validation: Probabilities on the validation tracks, where they were asked for.
    """

    scores: pd.DataFrame
    summary: pd.DataFrame
    predictions: pd.DataFrame
    meta: dict[str, Any]
    test: Results | None = None
    validation: Results | None = None

    @property
    def ranking(self) -> pd.DataFrame:
        """Scores of each combination of layers, the best first."""
        ranked = self.summary.sort_values(["target", "paper"], ascending=[True, False])
        return ranked.drop(columns=["metric", "paper_setting", "full_grid_setting"])

    @property
    def text(self) -> str:
        """The scores as plain text."""
        rows, intervals = shown(self.ranking)
        scores = rows.to_string(index=False, float_format="{:.3f}".format)
        return f"{self._title()}\n{self.meta['metric']} by layers:\n{scores}\n{intervals}".rstrip()

    def _repr_html_(self) -> str:
        """Show the scores in a notebook."""
        rows, intervals = shown(self.ranking)
        scores = rows.to_html(index=False, float_format="{:.3f}".format)
        title = f"{self._title()}, {self.meta['metric']} by layers:"
        return f"<p>{html.escape(title)}</p>{scores}<p>{html.escape(intervals)}</p>"

    def _title(self) -> str:
        tracks = self.meta.get("tracks")  # missing in results of earlier versions
        return f"{tracks} tracks, {self.meta['folds']}" if tracks else str(self.meta["folds"])

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``scores.parquet``, ``predictions.parquet`` and ``summary.csv``.

        Probabilities, where there are any, are written to ``test`` and ``validate``.

        Args:
            folder: Folder to write to; it is made.
        """
        write_parquet(self.scores, Path(folder, "scores.parquet"), self.meta)
        write_parquet(self.predictions, Path(folder, "predictions.parquet"), self.meta)
        with replacing(Path(folder, "summary.csv")) as partial:
            self.summary.to_csv(partial, index=False)
        for results, stage in ((self.test, "test"), (self.validation, "validate")):
            if results is not None:
                results.save(Path(folder, stage))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Transfer":
        """Read results.

        Args:
            folder: Folder that ``mgc transfer`` wrote.

        Raises:
            MgcError: If a file is missing or cannot be read.
        """
        scores, meta = read_parquet(Path(folder, "scores.parquet"))
        predictions, _ = read_parquet(Path(folder, "predictions.parquet"))
        for rows in (scores, predictions):
            count_from_zero(rows, meta["folds"])
        path = Path(folder, "summary.csv")
        if not path.is_file():
            raise MgcError(f"{path} does not exist: run `mgc transfer` with --out {folder}.")
        summary = pd.read_csv(path, dtype={"layers": str})
        if len(predictions) and "nested_method" not in summary:
            # Older results have intervals of Student's t over folds.
            summary = summary.drop(columns=["nested", "nested_low", "nested_high"]).merge(
                nested_scores(predictions, meta["task"], meta["labels"]), on=["target", "layers"]
            )
        return cls(scores, summary, predictions, meta)


class Progress:
    """Scores of finished fits, kept in a file so that an interrupted experiment goes on.

    Each line is a JSON object with the fingerprint of everything that the scores follow from, so
    a file can be kept when layers are added or settings change: what still holds is found again.

    Args:
        path: File to keep; it is made with the first scores. None keeps nothing.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = None if path is None else Path(path)
        self.scores: dict[str, np.ndarray] = {}
        if self.path is not None and self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").split("\n")
            if lines.pop():  # an interrupted write left half a line
                self.path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            for number, line in enumerate(lines, 1):
                try:
                    entry = json.loads(line)
                    self.scores[entry["key"]] = np.array(entry["scores"], float)
                except (ValueError, KeyError, TypeError) as error:
                    raise MgcError(
                        f"{self.path}, line {number}, holds no scores: delete the file to start "
                        "afresh."
                    ) from error

    def add(self, key: str, scores: np.ndarray) -> None:
        """Keep the scores of one fit.

        Args:
            key: Fingerprint.
            scores: Scores of shape (settings, test sets, targets).
        """
        self.scores[key] = scores
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "scores": scores.tolist()}) + "\n")


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
        combinations: Names of the layers of each combination.
        plan: Folds, from :func:`mgc.transfer.folds.make_plan`.
        classifier: ``svm``, ``knn`` or ``logistic``.
        jobs: Processes; -1 is one per core. The results do not depend on it.
        progress: Scores of finished fits.
        quiet: Whether to draw no progress bar.
    """
    progress = progress or Progress(None)
    jobs = _fit_in_memory(jobs, plan)
    common = [classifier, table.task, sklearn.__version__, _digest(table.targets)]
    layers = {name: _digest(values) for name, values in table.layers.items()}
    keys = {
        (name, number): _digest(*common, *(layers[layer] for layer in names), fit.train, *fit.tests)
        for name, names in combinations.items()
        for number, fit in enumerate(plan.fits)
    }
    waiting = [place for place, key in keys.items() if key not in progress.scores]
    work = (
        joblib.delayed(_score)(
            place, _inputs(table, combinations[place[0]]), table.targets, table.task,
            plan.fits[place[1]], classifier,
        )
        for place in waiting
    )  # fmt: skip
    done = joblib.Parallel(jobs, return_as="generator_unordered")(work)
    for place, scores in tqdm(
        done, "fits", len(keys), initial=len(keys) - len(waiting), disable=quiet, unit="fit"
    ):
        progress.add(keys[place], scores)

    rows, summaries, wanted = [], [], []
    for name, names in combinations.items():
        scores_of = [progress.scores[keys[name, number]] for number in range(len(plan.fits))]
        width = sum(table.layers[layer].shape[1] for layer in names)
        grid = _grid(classifier, width)
        for number, target in enumerate(target_names(table)):
            where = {"target": target, "layers": name}
            summary: dict[str, Any] = {**where, "width": width, "metric": METRICS[table.task]}
            outer = _read(scores_of, plan.paper, number)
            sizes = [len(plan.fits[fit].tests[part]) for fit, part in plan.paper]
            means = np.average(outer, axis=0, weights=sizes)
            as_is = len(grid) // 2  # the settings without standardisation come first
            summary |= {
                "paper": means[:as_is].max(),
                "paper_setting": _describe(grid[int(means[:as_is].argmax())]),
                "full_grid": means.max(),
                "full_grid_setting": _describe(grid[int(means.argmax())]),
            }
            rows.append(_score_rows("paper", where, grid, plan, plan.paper, outer))
            if plan.nested:
                outer = _read(scores_of, plan.nested, number)
                inner = np.stack(
                    [_read(scores_of, evaluations, number).mean(0) for evaluations in plan.inner]
                )
                rows.append(_score_rows("nested", where, grid, plan, plan.nested, outer, inner))
                best = inner.argmax(1)
                wanted += [
                    (where, names, grid[choice], number, evaluation, fold)
                    for choice, evaluation, fold in zip(best, plan.nested, plan.folds, strict=True)
                ]
            summaries.append(summary)

    refits = joblib.Parallel(jobs)(
        joblib.delayed(_predict)(
            _inputs(table, names), _column(table, number), table.task,
            plan.fits[evaluation.fit].train, plan.fits[evaluation.fit].tests[evaluation.part],
            classifier, setting,
        )
        for _, names, setting, number, evaluation, _ in wanted
    )  # fmt: skip
    pieces = [
        _prediction_rows(table, where, number, plan.fits[evaluation.fit].tests[evaluation.part],
                         fold, decision)
        for (where, _, _, number, evaluation, fold), decision in zip(wanted, refits, strict=True)
    ]  # fmt: skip
    predictions = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame()
    summary_table = pd.DataFrame(summaries)
    if pieces:
        nested = nested_scores(predictions, table.task, table.labels)
        summary_table = summary_table.merge(nested, on=["target", "layers"])
    meta = {
        "task": table.task,
        "labels": table.labels,
        "metric": METRICS[table.task],
        "classifier": classifier,
        "folds": plan.description,
        "tracks": len(table.tracks),
        "source": table.source,
    }
    return Transfer(pd.concat(rows, ignore_index=True), summary_table, predictions, meta)


def target_names(table: FeatureTable) -> list[str]:
    """What is predicted: each quantity of a regression by itself, else all classes or tags."""
    if table.task == "regression":
        return list(table.labels)
    return ["label" if table.task == "multiclass" else "tags"]


def score(targets: np.ndarray, value: np.ndarray, task: Task) -> np.ndarray:
    """Score of each target: accuracy, r² of each quantity, or the mean ROC-AUC over tags.

    Tags that all or none of the tracks have are left out of the mean.

    Args:
        targets: True classes of shape (tracks,), or values of shape (tracks, outputs).
        value: Decided classes or values, of the same shape.
        task: What the targets are.
    """
    if task == "multiclass":
        return np.array([(targets == value).mean()])
    if task == "regression":
        return np.atleast_1d(r2_score(targets, value, multioutput="raw_values"))
    varied = np.flatnonzero(targets.min(0) != targets.max(0))
    areas = [roc_auc_score(targets[:, tag], value[:, tag]) for tag in varied]
    return np.array([np.mean(areas) if areas else np.nan])


def _grid(classifier: str, width: int) -> list[Setting]:
    settings = get_classifier(classifier).settings(width)
    return [{"standardise": on, **setting} for on in (False, True) for setting in settings]


def _inputs(table: FeatureTable, names: tuple[str, ...]) -> list[np.ndarray]:
    return [table.layers[name] for name in names]


def _column(table: FeatureTable, number: int) -> np.ndarray:
    return table.targets[:, [number]] if table.task == "regression" else table.targets


def _digest(*parts: Any) -> str:
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            sha.update(f"{part.dtype}{part.shape}".encode())
            sha.update(np.ascontiguousarray(part).data)
        else:
            sha.update(f"{part}\n".encode())
    return sha.hexdigest()


def _fit_in_memory(jobs: int, plan: FoldPlan) -> int:
    """Number of processes whose kernels (distances and one kernel, 8 bytes a pair) fit."""
    largest = max(len(fit.train) for fit in plan.fits)
    total = max(len(fit.train) + sum(map(len, fit.tests)) for fit in plan.fits)
    return max(1, min(joblib.effective_n_jobs(jobs), MEMORY // (2 * 8 * largest * total)))


def prepare_features(
    layers: list[np.ndarray], train: np.ndarray, test: np.ndarray, standardise: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Join layers into one vector per track.

    Args:
        layers: Features of all tracks, of shape (tracks, width) each.
        train: Rows to fit on.
        test: Rows to score.
        standardise: Whether to give features mean 0 and standard deviation 1 on the rows to fit on.

    Returns:
        Features of both, of shape (rows, sum of widths).
    """
    features = np.concatenate(layers, axis=1, dtype=np.float64)
    fitted, tested = features[train], features[test]
    if standardise:
        scaler = StandardScaler(copy=False).fit(fitted)
        fitted, tested = scaler.transform(fitted), scaler.transform(tested)
    return fitted, tested


def _score(
    place: tuple[str, int],
    layers: list[np.ndarray],
    targets: np.ndarray,
    task: Task,
    fit: Fit,
    classifier: str,
) -> tuple[tuple[str, int], np.ndarray]:
    """Scores of shape (settings, test sets, targets) of one combination and fit."""
    kind = get_classifier(classifier)
    settings = kind.settings(sum(layer.shape[1] for layer in layers))
    test = np.concatenate(fit.tests)
    parts = np.split(np.arange(len(test)), np.cumsum([len(rows) for rows in fit.tests])[:-1])
    results: list[Any] = [None] * (2 * len(settings))
    # One BLAS thread: sums are then the same however many processes there are.
    with threadpool_limits(1), _trusting_sklearn():
        for half, standardise in enumerate((False, True)):
            fitted, tested = prepare_features(layers, fit.train, test, standardise)
            for i, decision in kind.sweep(settings, fitted, tested, targets[fit.train], task):
                results[half * len(settings) + i] = [
                    score(targets[test[part]], decision.value[part], task) for part in parts
                ]
    return place, np.array(results, float)


def _predict(
    layers: list[np.ndarray],
    targets: np.ndarray,
    task: Task,
    train: np.ndarray,
    test: np.ndarray,
    classifier: str,
    setting: Setting,
) -> Decision:
    with threadpool_limits(1), _trusting_sklearn():
        fitted, tested = prepare_features(layers, train, test, setting["standardise"])
        [(_, decision)] = get_classifier(classifier).sweep(
            [setting], fitted, tested, targets[train], task, scores=True
        )
    return decision


def _trusting_sklearn() -> Any:
    """Leave out scikit-learn's checks of arrays and parameters, made once at the start."""
    return sklearn.config_context(assume_finite=True, skip_parameter_validation=True)


def _read(scores: list[np.ndarray], evaluations: list[Evaluation], target: int) -> np.ndarray:
    """Scores of shape (evaluations, settings)."""
    return np.stack([scores[fit][:, part, target] for fit, part in evaluations])


def _describe(setting: Setting) -> str:
    words = [f"{name}={value:.4g}" for name, value in _numbers(setting)]
    kernel = [setting["kernel"]] if "kernel" in setting else []
    return ", ".join([*kernel, *words, *(["standardised"] if setting["standardise"] else [])])


def _numbers(setting: Setting) -> Iterator[tuple[str, float]]:
    for name, value in setting.items():
        if name not in ("kernel", "standardise") and not np.isnan(value):
            yield name, value


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


def _prediction_rows(
    table: FeatureTable,
    where: dict[str, str],
    number: int,
    test: np.ndarray,
    fold: int | None,
    decision: Decision,
) -> pd.DataFrame:
    tracks = table.tracks.iloc[test]
    columns: dict[str, Any] = {**where, "track": tracks["track"].to_numpy()}
    columns["split"] = tracks["split"].to_numpy() if fold is None else "test"
    columns["fold"] = pd.array([pd.NA if fold is None else fold] * len(test), "Int64")
    if table.task == "regression":
        columns["true"] = table.targets[test, number]
        columns["prediction"] = decision.value[:, 0]
        return pd.DataFrame(columns)
    if table.task == "multiclass":
        labels = np.array(table.labels, object)
        columns["label"] = labels[table.targets[test]]
        columns["decision"] = labels[decision.value]
    else:
        for label in table.labels:
            columns[f"target.{label}"] = tracks[f"target.{label}"].to_numpy()
    if decision.scores is not None:
        kind = "probability" if decision.probable else "score"
        for label, values in zip(table.labels, decision.scores.T, strict=False):
            columns[f"{kind}.{label}"] = values
    return pd.DataFrame(columns)


def nested_scores(predictions: pd.DataFrame, task: Task, labels: Sequence[str]) -> pd.DataFrame:
    """Score the predictions of the nested protocol.

    Args:
        predictions: See :class:`Transfer`.
        task: What the targets are.
        labels: Names of the classes, tags or quantities.

    Returns:
        A row per target and combination: the score, its interval and its spread over the folds.
    """
    rows = []
    for (target, layers), tracks in predictions.groupby(["target", "layers"], sort=False):
        results = _results(tracks, task, [str(target)] if task == "regression" else labels)
        value, interval = score_tracks(results)
        rows.append(
            {
                "target": target,
                "layers": layers,
                "nested": value,
                **interval.columns("nested_"),
                **spread_columns(fold_scores(results), "nested_"),
            }
        )
    return pd.DataFrame(rows)


def _results(tracks: pd.DataFrame, task: Task, labels: Sequence[str]) -> Results:
    """Predictions of one combination in the form of results."""
    if tracks["fold"].notna().all():
        tracks = tracks.assign(seed=0)
    if task == "regression":
        names = {"true": f"target.{labels[0]}", "prediction": f"prediction.{labels[0]}"}
    else:
        names = {f"score.{label}": f"probability.{label}" for label in labels}
    tracks = tracks.rename(columns=names)
    return Results(tracks, tracks, task, tuple(labels))


def shown(summary: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Choose the columns of a summary to print.

    Args:
        summary: See :class:`Transfer`.

    Returns:
        The table with the interval in words, and what its columns are.
    """
    if "nested" not in summary:
        return summary, ""
    spread = ["nested_mean_of_folds", "nested_folds_min", "nested_folds_max", "nested_folds"]
    hidden = ["nested_low", "nested_high", "nested_method", "nested_tracks", *spread]
    table = summary.drop(columns=hidden)
    names = f"nested_interval: {name_intervals(read_intervals(summary, 'nested_'))}"
    folds = int(summary["nested_folds"].max())
    if folds < 2:
        return table.drop(columns="nested_folds_deviation"), f"{names}."
    return table, f"{names}; nested_folds_deviation: std over {folds} folds."
