"""Cross-validation: a fit and a test per fold, and what they say together."""

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import pandas as pd

from mgc.configurations import read_configuration
from mgc.core.writing import all_or_nothing
from mgc.errors import MgcError
from mgc.evaluation.intervals import (
    MEASURE,
    describe_spread,
    fold_scores,
    overall,
    score,
    spread_columns,
)
from mgc.evaluation.per_class import confusion_matrix, per_class, plot_confusion
from mgc.evaluation.results import Results
from mgc.experiments.child_run import LAST_EPOCH
from mgc.experiments.fold_run import STAGES, Fold
from mgc.experiments.overrides import logs_to_wandb, option_name
from mgc.experiments.plan_file import load_or_create_plan
from mgc.experiments.processes import LOG, read_error, run_jobs, start_module
from mgc.runs.record import read_record
from mgc.runs.tracking import add_offline_runs, log_results, set_wandb_mode, wandb_session

#: Options that a fold sets itself, and those that it sets where there are several.
FORBIDDEN_OVERRIDES = ("data.seed", "seed_everything", "ckpt_path", "config")
FOLD_OPTIONS = ("data.fold", "data.folds")

#: Columns of the summary that are told to W&B besides the score itself.
SHOWN = (
    "low", "high", "method", "tracks",
    "mean_of_folds", "folds_deviation", "folds_min", "folds_max", "folds",
)  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """A cross-validation.

    Attributes:
        folder: Where everything goes.
        config: Configuration as for ``mgc fit``, a file or the name of a shipped one.
        folds: All folds, of all seeds.
    """

    folder: Path
    config: str
    folds: tuple[Fold, ...]

    @classmethod
    def prepare(
        cls, folder: Path, config: str, overrides: list[str], folds: int, seeds: Sequence[int]
    ) -> "Experiment":
        """Plan a cross-validation, or find the one that the folder holds.

        Args:
            folder: Where everything goes; it is made.
            config: Configuration as for ``mgc fit``, a file or the name of a shipped one.
            overrides: Options of ``mgc fit`` that change the configuration.
            folds: Number of folds of each seed; 1 is the split that the configuration names.
            seeds: Seeds of the splits and of training.

        Raises:
            MgcError: If a setting is wrong, or the folder holds a cross-validation of others.
        """
        if folds < 3 and folds != 1:
            raise MgcError(
                f"--folds {folds}: at least 3 are needed, for training, validation and test; or 1, "
                "the split that the configuration names."
            )
        reserved = FORBIDDEN_OVERRIDES + (FOLD_OPTIONS if folds > 1 else ())
        for word in overrides:
            name = option_name(word)
            if name in reserved:
                raise MgcError(f"--{name}: mgc crossval sets it itself. Leave it out.")
        text = read_configuration(config)
        settings: dict[str, Any] = {"configuration": text, "overrides": overrides, "folds": folds}
        patterns = (f"seed*/fold*/{name}" for name in (LAST_EPOCH, *STAGES))
        begun = any(next(folder.glob(pattern), None) for pattern in patterns)
        settings = load_or_create_plan(
            folder / "crossval.json", settings, "cross-validation", begun
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
                    settings["group"],
                )
                for seed in seeds
                for fold in range(folds)
            ),
        )


@dataclass
class Summary:
    """What all folds say together.

    Attributes:
        results: Test results of all folds; ``validate`` those on the validation folds.
        validation: Results on the validation folds.
        folds: Score of each fold.
        scores: Scores with their 95 % intervals, and their spread over the folds.
        text: All of it in words.
        folder: Folder that holds the results.
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
        return f"<p>Cross-validation: {self.folder}</p>{scores}{folds}"


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
    """Train and test a model on every fold, in processes of their own, and write the results.

    Rerunning it resumes an interrupted cross-validation.

    Args:
        config: YAML file, or name of a shipped configuration, as for ``mgc fit``.
        out: Folder for the results; by default ``runs/crossval/<name of the configuration>``.
        overrides: Options of ``mgc fit`` that change the configuration, as words
            (``["--model.lr=0.01"]``) or by name (``{"model.lr": 0.01}``).
        folds: Number of folds of each seed; 1 is the split that the configuration names.
        seeds: Seeds of the splits and of training.
        test_folds: How many of the folds to train and test, from the first; by default all.
        jobs: Folds at a time; by default one per GPU, and one where there is none.

    Returns:
        Results of all folds, and their scores.

    Raises:
        MgcError: If settings are wrong, the folder holds another cross-validation, or a fold fails.
    """
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise MgcError("Give --repeats of 1 or more, or different --seeds such as 0,1,2.")
    count = folds if test_folds is None else test_folds
    if not 1 <= count <= folds:
        raise MgcError(f"--test_folds {count}: give 1 to {folds}, the number of folds.")
    if isinstance(overrides, Mapping):
        overrides = [f"--{name}={_word(value)}" for name, value in overrides.items()]
    config = fspath(config)
    folder = Path(out or Path("runs", "crossval", Path(config).stem))
    experiment = Experiment.prepare(folder, config, list(overrides), folds, seeds)
    chosen = tuple(fold for fold in experiment.folds if fold.fold < count)
    experiment = replace(experiment, folds=chosen)
    run_folds(experiment, jobs)
    summary = replace(collect(experiment), folder=folder)
    print(summary.text)
    print(f"Written to {folder}")
    log_summary(experiment, summary)
    return summary


def _word(value: Any) -> str:
    """Value of an option of the command line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


@wandb_session()
def run_folds(experiment: Experiment, jobs: int | None = None) -> None:
    """Run all folds that are not finished, each in a process of its own.

    Args:
        experiment: The cross-validation.
        jobs: Folds at a time; by default one per GPU, and one where there is none.

    Raises:
        MgcError: If a fold fails, or another process is at it.
    """
    done = sum(fold.finished for fold in experiment.folds)
    if done:
        print(f"{done} of {len(experiment.folds)} folds are finished already.")
    failed: list[Fold] = []

    def ended(fold: Fold) -> bool:
        if fold.finished:
            results = Results.load(Path(fold.folder, "test"))
            name = MEASURE[results.task]
            print(f"{fold.name}: {name} {overall(results):.3f}", flush=True)
        else:
            failed.append(fold)
        return fold.finished

    words = ("--config", experiment.config, *experiment.folds[0].overrides)
    if done < len(experiment.folds) and logs_to_wandb(words):
        # Once for all folds, which inherit the environment.
        set_wandb_mode()
    run_jobs(experiment.folds, experiment.folder, jobs, start, ended)
    if failed:
        raise MgcError(
            f"{failed[0].name} failed: {read_error(failed[0])} (log: {failed[0].folder}/{LOG}). "
            "Mend it and give the same command again: finished folds are kept."
        )


def start(
    fold: Fold, environment: dict[str, str], lock: tuple[int, ...]
) -> "subprocess.Popen[bytes]":
    """Start the process of a fold.

    Args:
        fold: The fold.
        environment: Environment variables of the process.
        lock: File descriptors that the process keeps open while it lives.

    Returns:
        The process.
    """
    fold.write()
    return start_module("mgc.experiments.fold_run", fold.folder, environment, lock)


def collect(experiment: Experiment) -> Summary:
    """Put the results of all folds together and write them.

    Args:
        experiment: A cross-validation whose folds are all finished.

    Returns:
        Results and scores.

    Raises:
        MgcError: If the results of a fold cannot be read.
    """
    test, validation = (
        join_folds(
            [(fold, Results.load(Path(fold.folder, stage))) for fold in experiment.folds], stage
        )
        for stage in ("test", "validate")
    )
    fingerprint = split_fingerprint(test.tracks)
    for results in (test, validation):
        results.source["fingerprint"] = fingerprint
    summary = summarise(test, validation)
    folder = experiment.folder
    for stage, results in zip(("test", "validate"), (test, validation), strict=True):
        results.save(folder / stage)
    with all_or_nothing(folder) as out:
        summary.folds.to_csv(out / "folds.csv", index=False)
        summary.scores.to_csv(out / "summary.csv", index=False)
        per_class(test).to_csv(out / "per_class.csv")
        if test.task == "multiclass":
            counts = confusion_matrix(test)
            counts.to_csv(out / "confusion_matrix.csv", index_label="true class")
            plot_confusion(counts, f"{folder.name}, all tests", out / "confusion_matrix.png")
    return summary


def log_summary(experiment: Experiment, summary: Summary) -> None:
    """Log a cross-validation as one more run of its W&B group, if its folds went to W&B.

    Its overall scores have the names of those of a single test, so that both stand in one column.

    Args:
        experiment: A cross-validation that :func:`collect` has put together.
        summary: What it came to.

    Raises:
        MgcError: If W&B does not take the run.
    """
    last = experiment.folds[-1]
    records = [read_record(Path(fold.folder)) for fold in experiment.folds]
    record = records[-1]
    if "wandb" not in record:
        return
    add_offline_runs(records, last.group)
    where = record["wandb"]
    about = record["fit"] | {"fold": None, "seed": None}
    about["fingerprint"] |= {"split": summary.results.source["fingerprint"], "sizes": None}
    told = {}
    for row in summary.scores.to_dict("records"):
        told[f"test/track_{row['score']}"] = row["value"]
        told |= {f"crossval/{row['score']}/{key}": row[key] for key in SHOWN}
    tables = {
        "crossval/scores": summary.scores,
        "crossval/folds": summary.folds,
        "crossval/per_class": per_class(summary.results).reset_index(),
    }
    pictures = []
    if summary.results.task == "multiclass":
        counts = confusion_matrix(summary.results).rename_axis("true class").reset_index()
        tables["crossval/confusion_matrix"] = counts
        pictures = [experiment.folder / "confusion_matrix.png"]
    log_results(
        f"{last.group} summary",
        "crossval",
        where["project"],
        tables,
        pictures,
        told,
        {"about": about, "folds": last.folds, "config_file": last.config},
        where["save_dir"],
        entity=where["entity"],
        group=last.group,
        id=f"{last.group}-summary",
        resume="allow",
        tags=[name for name in (about["model"], about["data"], about["split"]) if name],
    )


def join_folds(parts: Sequence[tuple[Fold, Results]], stage: str) -> Results:
    """Put the results of folds into one table each.

    Args:
        parts: Folds and their results.
        stage: Lightning's stage that they come from.

    Returns:
        All rows, with ``seed`` and ``fold``, the number of the test fold.
    """
    clips: list[pd.DataFrame] = []
    tracks: list[pd.DataFrame] = []
    for fold, results in parts:
        for rows, whole in ((results.clips, clips), (results.tracks, tracks)):
            rows = rows.drop(columns=[c for c in ("seed", "fold") if c in rows])
            rows.insert(1, "seed", fold.seed)
            rows.insert(2, "fold", fold.fold)
            whole.append(rows)
    first, last = parts[0][1], parts[-1][0]
    source = {name: first.source[name] for name in ("model", "data", "split")}
    source |= {
        "stage": stage,
        "config": last.config,
        "folds": last.folds,
        "seeds": list(dict.fromkeys(fold.seed for fold, _ in parts)),
        "group": last.group,
        "checkpoints": {fold.name: results.source["checkpoint"] for fold, results in parts},
    }
    return Results(
        pd.concat(clips, ignore_index=True),
        pd.concat(tracks, ignore_index=True),
        first.task,
        first.labels,
        source,
    )


def split_fingerprint(tracks: pd.DataFrame) -> str:
    """Condense which track is tested in which fold; equal for equal splits.

    The validation fold follows from the test fold, so this is the whole split.

    Args:
        tracks: ``track``, ``seed`` and ``fold`` of tests.

    Returns:
        16 hexadecimal digits of a SHA-256.
    """
    columns = ["seed", "fold", "track"]
    lines = tracks[columns].astype(str).agg("\t".join, axis=1).sort_values()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def summarise(results: Results, validation: Results) -> Summary:
    """Measure a cross-validation.

    Args:
        results: Test results of all folds.
        validation: Results on the validation folds.

    Returns:
        Scores of the folds, and of all of them with intervals.
    """
    name = MEASURE[results.task]
    decisions = {name: "decision"}
    if results.task == "multiclass":
        decisions[f"{name}_vote"] = "vote"
    by_fold = {label: fold_scores(results, column) for label, column in decisions.items()}
    folds = pd.DataFrame(by_fold).rename_axis("fold").reset_index()
    scores = {label: score(results, column) for label, column in decisions.items()}
    parts = "folds" if results.source["folds"] > 1 else "runs"
    lines = [
        f"{label}: {found.sentence}" + describe_spread(by_fold[label], parts)
        for label, found in scores.items()
    ]
    rows = [
        {
            "score": label,
            "value": found.value,
            **found.interval.columns(),
            **spread_columns(by_fold[label]),
        }
        for label, found in scores.items()
    ]
    if results.task == "multiclass":
        lines += ["", f"Tracks by true class (rows) and decision, all {parts}:"]
        lines.append(confusion_matrix(results).to_string())
    return Summary(results, validation, folds, pd.DataFrame(rows), "\n".join(lines))
