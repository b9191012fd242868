"""Cross-validation: trains and tests a model on every fold and combines the results."""

import hashlib
import html
import json
import logging
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import pandas as pd

from mgc.configurations import read_configuration
from mgc.core.csv import write_csv
from mgc.core.writing import all_or_nothing, output_folder
from mgc.errors import MgcError
from mgc.evaluation.intervals import (
    MEASURE,
    describe_spread,
    fold_names,
    fold_scores,
    overall,
    score,
    spread_columns,
)
from mgc.evaluation.per_class import confusion_matrix, per_class, plot_confusion
from mgc.evaluation.results import Results
from mgc.experiments.child_run import LAST_EPOCH
from mgc.experiments.fold_run import STAGES, Fold
from mgc.experiments.plan_file import load_or_create_plan
from mgc.experiments.processes import LOG, read_error, run_jobs, start_module
from mgc.runs.record import read_record
from mgc.runs.tracking import (
    add_offline_runs,
    log_results,
    set_wandb_mode,
    wandb_group,
    wandb_session,
)
from mgc.training.options import check_reserved_options, logs_to_wandb

log = logging.getLogger(__name__)

#: Options that every fold sets, and those set only with several folds.
FORBIDDEN_OVERRIDES = ("data.seed", "seed_everything", "ckpt_path", "config")
FOLD_OPTIONS = ("data.fold", "data.folds")

#: Columns of the scores that are logged to W&B besides the value itself.
LOGGED_COLUMNS = (
    "low", "high", "method", "tracks",
    "mean_of_folds", "folds_deviation", "folds_min", "folds_max", "folds",
)  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """Planned cross-validation.

    Attributes:
        folder: Output folder.
        config: Configuration file, or name of a shipped one.
        folds: All folds of all seeds.
    """

    folder: Path
    config: str
    folds: tuple[Fold, ...]

    @classmethod
    def prepare(
        cls, folder: Path, config: str, overrides: list[str], folds: int, seeds: Sequence[int]
    ) -> "Experiment":
        """Plan a cross-validation, or load its plan from the output folder.

        See :func:`cross_validate` for the arguments.

        Raises:
            MgcError: If a setting is wrong, or the folder contains a cross-validation with
                different settings.
        """
        if folds < 3 and folds != 1:
            raise MgcError(
                f"--folds {folds}: needs at least 3 folds, for training, validation and test; or "
                "1, for the split of the configuration."
            )
        reserved = FORBIDDEN_OVERRIDES + (FOLD_OPTIONS if folds > 1 else ())
        check_reserved_options(overrides, reserved, "crossval")
        text = read_configuration(config)
        plan: dict[str, Any] = {"configuration": text, "overrides": overrides, "folds": folds}
        patterns = (f"seed*/fold*/{name}" for name in (LAST_EPOCH, *STAGES))
        has_results = any(next(folder.glob(pattern), None) for pattern in patterns)
        options = ["--config", config, *overrides]
        plan = load_or_create_plan(
            folder / "crossval.json", plan, "cross-validation", has_results, options
        )
        return cls(
            folder,
            config,
            tuple(
                Fold(
                    str((folder / f"seed{seed}" / f"fold{fold}").absolute()),
                    config,
                    tuple(overrides),
                    seed,
                    fold,
                    folds,
                    plan["group"],
                )
                for seed in seeds
                for fold in range(folds)
            ),
        )


@dataclass
class Summary:
    """Results of a cross-validation.

    Attributes:
        results: Test results of all folds.
        validation: Results on the validation folds.
        folds: Score of each fold.
        scores: Scores with 95 % intervals over tracks, and their spread over folds.
        text: Scores as text, with the confusion matrix.
        folder: Output folder.
    """

    results: Results
    validation: Results
    folds: pd.DataFrame
    scores: pd.DataFrame
    text: str
    folder: Path | None = None

    def _repr_html_(self) -> str:
        """Show scores and folds in a notebook."""
        scores, folds = (table.to_html(index=False) for table in (self.scores, self.folds))
        return f"<p>Cross-validation: {html.escape(str(self.folder))}</p>{scores}{folds}"


@wandb_session()
def cross_validate(
    config: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    folds: int = 10,
    seeds: Sequence[int] = (0,),
    test_folds: int | None = None,
    jobs: int | None = None,
) -> Summary:
    """Train and test a model on every fold and write the results.

    Each fold runs in its own process. To resume an interrupted cross-validation, call this again.
    Progress is logged to the logger ``mgc``.

    Args:
        config: YAML file, or name of a shipped configuration, as for ``mgc fit``.
        out: Output folder; by default ``runs/crossval/<name of the configuration>``.
        overrides: Options of ``mgc fit`` that change the configuration, as a list
            (``["--model.lr=0.01"]``) or a mapping (``{"model.lr": 0.01}``).
        folds: Number of folds per seed. With 1, the configuration sets the split.
        seeds: Seeds of the splits and of training.
        test_folds: Number of folds to train and test, starting with the first; by default all.
        jobs: Number of folds to run in parallel; by default the number of GPUs, or 1.

    Raises:
        MgcError: If a setting is wrong, a fold fails, or the folder contains a cross-validation
            with different settings.
    """
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise MgcError("Set --repeats to 1 or more, or --seeds to different numbers such as 0,1,2.")
    count = folds if test_folds is None else test_folds
    if not 1 <= count <= folds:
        raise MgcError(f"--test_folds {count}: must be between 1 and {folds}, the number of folds.")
    if isinstance(overrides, Mapping):
        overrides = [
            f"--{name}={value if isinstance(value, str) else json.dumps(value, default=str)}"
            for name, value in overrides.items()
        ]
    config = fspath(config)
    folder = Path(out or Path("runs", "crossval", Path(config).stem))
    with output_folder(folder):
        experiment = Experiment.prepare(folder, config, list(overrides), folds, seeds)
        chosen = tuple(fold for fold in experiment.folds if fold.fold < count)
        experiment = replace(experiment, folds=chosen)
        run_folds(experiment, jobs)
        summary = combine_folds(experiment)
        log_summary(experiment, summary)
    return summary


@wandb_session()
def run_folds(experiment: Experiment, jobs: int | None = None) -> None:
    """Run the unfinished folds, ``jobs`` of them in parallel, each in its own process.

    Raises:
        MgcError: If a fold fails, or another process uses the folder.
    """
    finished = sum(fold.finished for fold in experiment.folds)
    if finished:
        log.info("%d of %d folds are finished already.", finished, len(experiment.folds))
    failed: list[Fold] = []

    def log_exit(fold: Fold) -> bool:
        if fold.finished:
            results = Results.load(Path(fold.folder, "test"))
            log.info("%s: %s %.3f", fold.name, MEASURE[results.task], overall(results))
        else:
            failed.append(fold)
        return fold.finished

    options = ("--config", experiment.config, *experiment.folds[0].overrides)
    if finished < len(experiment.folds) and logs_to_wandb(options):
        # Decide once: the processes of the folds inherit the environment.
        set_wandb_mode()
    run_jobs(experiment.folds, experiment.folder, jobs, start_fold, log_exit)
    if failed:
        raise MgcError(
            f"{failed[0].name} failed: {read_error(failed[0])} (log: {failed[0].folder}/{LOG}). "
            "Fix it and run the same command again: finished folds are kept."
        )


def start_fold(
    fold: Fold, environment: dict[str, str], lock: tuple[int, ...]
) -> "subprocess.Popen[bytes]":
    """Start the process of a fold (see :func:`mgc.experiments.processes.start_module`)."""
    fold.write()
    return start_module("mgc.experiments.fold_run", fold.folder, environment, lock)


def combine_folds(experiment: Experiment) -> Summary:
    """Combine the results of all folds, which must be finished, and write them."""
    test, validation = (
        join_folds(
            [(fold, Results.load(Path(fold.folder, stage))) for fold in experiment.folds], stage
        )
        for stage in ("test", "validate")
    )
    folder = experiment.folder
    fingerprint = split_fingerprint(test.tracks)
    for stage, results in (("test", test), ("validate", validation)):
        results.source["fingerprint"] = fingerprint
        results.save(folder / stage)
    summary = replace(compute_summary(test, validation), folder=folder)
    with all_or_nothing(folder) as out:
        write_csv(summary.folds, out / "folds.csv", index=False)
        write_csv(summary.scores, out / "summary.csv", index=False)
        write_csv(per_class(test), out / "per_class.csv")
        if test.task == "multiclass":
            counts = confusion_matrix(test)
            write_csv(counts, out / "confusion_matrix.csv", index_label="true class")
            plot_confusion(counts, f"{folder.name}, all tests", out / "confusion_matrix.png")
    return summary


def log_summary(experiment: Experiment, summary: Summary) -> None:
    """Log the summary as a run in the W&B group of the folds, if the folds were logged to W&B.

    Its scores have the metric names of a single test, so that W&B compares both in one column.

    Raises:
        MgcError: If W&B rejects the run.
    """
    last = experiment.folds[-1]
    records = [read_record(Path(fold.folder)) for fold in experiment.folds]
    record = records[-1]
    if "wandb" not in record:
        return
    add_offline_runs(records, last.group)
    wandb = record["wandb"]
    about = record["fit"] | {"fold": None, "seed": None}
    about["fingerprint"] |= {"split": summary.results.source["fingerprint"], "sizes": None}
    values = {}
    for row in summary.scores.to_dict("records"):
        values[f"test/track_{row['score']}"] = row["value"]
        values |= {f"crossval/{row['score']}/{key}": row[key] for key in LOGGED_COLUMNS}
    tables = {
        "crossval/scores": summary.scores,
        "crossval/folds": summary.folds,
        "crossval/per_class": per_class(summary.results).reset_index(),
    }
    images = []
    if summary.results.task == "multiclass":
        counts = confusion_matrix(summary.results).rename_axis("true class").reset_index()
        tables["crossval/confusion_matrix"] = counts
        images = [experiment.folder / "confusion_matrix.png"]
    log_results(
        f"{last.group} summary",
        "crossval",
        wandb["project"],
        tables,
        images,
        values,
        {"about": about, "folds": last.folds, "config_file": last.config},
        wandb["save_dir"],
        entity=wandb["entity"],
        group=wandb_group(last.group),
        id=f"{last.group}-summary",
        resume="allow",
        tags=[name for name in (about["model"], about["data"], about["split"]) if name],
    )


def join_folds(folds: Sequence[tuple[Fold, Results]], stage: str) -> Results:
    """Concatenate the results of folds.

    Adds the columns ``seed`` and ``fold``, the number of the test fold. ``stage`` is Lightning's
    stage that wrote the results.
    """
    clips: list[pd.DataFrame] = []
    tracks: list[pd.DataFrame] = []
    for fold, results in folds:
        for rows, tables in ((results.clips, clips), (results.tracks, tracks)):
            rows = rows.drop(columns=[c for c in ("seed", "fold") if c in rows])
            rows.insert(1, "seed", fold.seed)
            rows.insert(2, "fold", fold.fold)
            tables.append(rows)
    first, last = folds[0][1], folds[-1][0]
    source = {name: first.source[name] for name in ("model", "data", "split")}
    source |= {
        "stage": stage,
        "config": last.config,
        "folds": last.folds,
        "seeds": list(dict.fromkeys(fold.seed for fold, _ in folds)),
        "group": last.group,
        "checkpoints": {fold.name: results.source["checkpoint"] for fold, results in folds},
        "sha256": {fold.name: results.source.get("sha256") for fold, results in folds},
    }
    return Results(
        pd.concat(clips, ignore_index=True),
        pd.concat(tracks, ignore_index=True),
        first.task,
        first.labels,
        source,
    )


def split_fingerprint(tracks: pd.DataFrame) -> str:
    """Hash which track is tested in which fold: 16 hexadecimal digits of a SHA-256.

    The validation fold follows from the test fold, so equal fingerprints mean equal splits.

    Args:
        tracks: Test results with columns ``track``, ``seed`` and ``fold``.
    """
    columns = ["seed", "fold", "track"]
    lines = tracks[columns].astype(str).agg("\t".join, axis=1).sort_values()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def compute_summary(results: Results, validation: Results) -> Summary:
    """Compute scores, intervals and the spread over folds from test results of all folds."""
    name = MEASURE[results.task]
    decisions = {name: "decision"}
    if results.task == "multiclass":
        decisions[f"{name}_vote"] = "vote"
    by_fold = {label: fold_scores(results, column) for label, column in decisions.items()}
    folds = pd.DataFrame(by_fold).rename_axis("fold").reset_index()
    scores = {label: score(results, column) for label, column in decisions.items()}
    unit = "folds" if results.source["folds"] > 1 else "runs"
    lines = [
        f"{label}: {estimate.sentence}" + describe_spread(by_fold[label], unit)
        for label, estimate in scores.items()
    ]
    sizes = results.tracks.groupby(fold_names(results.tracks)).size()
    if len(sizes) > 1 and sizes.max() > 2 * sizes.mean():
        lines.append(
            f"Folds differ in size: {sizes.idxmax()} tests {sizes.max()} of {sizes.sum()} tracks, "
            "because a group of tracks is larger than a fold."
        )
    rows = [
        {
            "score": label,
            "value": estimate.value,
            **estimate.interval.columns(),
            **spread_columns(by_fold[label]),
        }
        for label, estimate in scores.items()
    ]
    if results.task == "multiclass":
        lines += ["", f"Tracks by true class (rows) and decision, all {unit}:"]
        lines.append(confusion_matrix(results).to_string())
    return Summary(results, validation, folds, pd.DataFrame(rows), "\n".join(lines))
