"""Compares runs: settings and data that differ, scores, significance tests."""

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mgc import registry
from mgc.core import markdown
from mgc.core.csv import write_csv
from mgc.core.text import visible
from mgc.core.text_files import read_json_object
from mgc.core.writing import all_or_nothing, writes_folder
from mgc.core.yaml_files import read_yaml
from mgc.errors import MgcError
from mgc.evaluation.alignment import align, check_alike
from mgc.evaluation.intervals import (
    MEASURE,
    Interval,
    Score,
    gain,
    name_intervals,
    overall,
    score,
    wilson,
)
from mgc.evaluation.paired import ALPHA, McNemar, correct_once, holm, mcnemar
from mgc.evaluation.power import POWER, smallest_difference, tracks_needed
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import Experiment, NoResultsError, load_run, name_run, split_run
from mgc.runs.folder import CONFIG, read_record
from mgc.runs.tracking import wandb_status

#: Settings of paths and logging, which do not affect the scores.
IGNORED_SETTINGS = (
    "config",
    "ckpt_path",
    "trainer.logger",
    "trainer.default_root_dir",
    "trainer.log_every_n_steps",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
)

#: Settings that differ between the folds of a cross-validation.
FOLD_SETTINGS = ("data.fold", "data.folds", "data.seed", "seed_everything")

#: Sections of a configuration. The config in W&B also contains values saved by models.
SECTIONS = ("seed_everything", "model", "data", "trainer", "optimizer", "lr_scheduler")

#: Stands for a missing value in a table.
MISSING = "-"

POWER_NOTE = (
    "smallest to find: the smallest true difference of accuracy that McNemar's test finds with "
    f"probability {POWER:.0%} on as many tracks, if the runs disagree as often as here. tracks to "
    "find this: the number of tracks that it needs for the difference of this row, if that is the "
    "true one. Both use the level of significance divided by the number of tests."
)

NOTE = "val/… scores are optimistic, because the best epoch was selected by them."

STYLE = (
    "<style>body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{border:1px solid #ccc;padding:.3em .6em;text-align:left}</style>"
)


@dataclass
class ComparedRun:
    """Settings, scores and results of a run.

    Attributes:
        name: Name in the tables.
        settings: Settings by name, such as ``model.lr``.
        scores: Scores by name, such as ``test/track_accuracy``.
        data: Fingerprints ``tracks`` and ``split`` of
            :func:`mgc.runs.provenance.data_fingerprint`.
        about: ``model``, ``data``, ``split``, ``commit``, ``best epoch`` and versions.
        results: Test results, if available.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    results: Results | None = None


class Pair(NamedTuple):
    """Paired test of the best run and another run.

    Attributes:
        best: Name of the best run.
        other: Name of the other run.
        difference: Score of the best minus the other's, with a 95 % paired bootstrap interval.
        test: Exact McNemar test; multiclass only.
        adjusted: p of the test, adjusted for the number of tests (Holm 1979).
        tracks: Number of tracks in the McNemar test.
        smallest: Smallest difference of accuracy that the test could have found.
        needed: Number of tracks with which it would find the difference.
        reason: Why the runs were not tested; empty if they were.
    """

    best: str
    other: str
    difference: Score | None = None
    test: McNemar | None = None
    adjusted: float | None = None
    tracks: int = 0
    smallest: float | None = None
    needed: int | None = None
    reason: str = ""


@dataclass
class Comparison:
    """Comparison of runs.

    Attributes:
        table: A row per run; columns: scores, and data fingerprints and settings that differ.
        warnings: Reasons why scores are not comparable.
        pairs: Tests of the best run against each other run.
        intervals: Name of the intervals in the table; empty if it has none.
    """

    table: pd.DataFrame
    warnings: list[str]
    pairs: list[Pair]
    intervals: str = ""

    @property
    def _oriented(self) -> pd.DataFrame:
        """Table, transposed if it has more columns than rows."""
        return self.table if len(self.table) >= len(self.table.columns) else self.table.T

    @property
    def text(self) -> str:
        """Tables, notes and warnings in Markdown."""
        lines = ["# Comparison", "", markdown.frame_table(self._oriented, aligned=True), ""]
        lines += [self.note, ""]
        lines += [f"**{markdown.escape(warning)}**\n" for warning in self.warnings]
        if self.pairs:
            tests = markdown.frame_table(self._tests_table(), aligned=True)
            lines += ["## Best run against the others", "", tests, ""]
            lines += [self.power_note, ""] if self.power_note else []
        return "\n".join(lines)

    @property
    def note(self) -> str:
        """Explanation of the scores in the table."""
        return f"In parentheses: {self.intervals}. {NOTE}" if self.intervals else NOTE

    @property
    def power_note(self) -> str:
        """Explanation of the columns about power; empty without McNemar tests."""
        return POWER_NOTE if any(pair.test for pair in self.pairs) else ""

    def save(self, folder: str | PathLike[str]) -> None:
        """Write compare.md, compare.html and compare.csv to ``folder``, created if missing."""
        with all_or_nothing(folder) as out:
            (out / "compare.md").write_text(self.text, encoding="utf-8")
            write_csv(self.table, out / "compare.csv", index_label="run")
            (out / "compare.html").write_text(visible(self._html(), lines=True), encoding="utf-8")

    def _html(self) -> str:
        return (
            '<!doctype html>\n<meta charset="utf-8">\n<title>Comparison</title>\n'
            f"{STYLE}\n{self._repr_html_()}\n"
        )

    def _repr_html_(self) -> str:
        """Show the comparison in a notebook."""
        parts = [
            "<h1>Comparison</h1>",
            self._oriented.to_html(),
            f"<p>{html.escape(self.note)}</p>",
        ]
        parts += [f"<p><strong>{html.escape(warning)}</strong></p>" for warning in self.warnings]
        if self.pairs:
            parts += ["<h2>Best run against the others</h2>", self._tests_table().to_html()]
            parts += [f"<p>{html.escape(self.power_note)}</p>"] if self.power_note else []
        return "\n".join(parts)

    def _tests_table(self) -> pd.DataFrame:
        tested = [pair.difference.interval for pair in self.pairs if pair.difference]
        name = name_intervals(tested) or "95 % interval"
        rows = {}
        for pair in self.pairs:
            difference, test, adjusted = pair.difference, pair.test, pair.adjusted
            rows[f"{pair.best} against {pair.other}"] = {
                "difference": f"{difference.value:+.3f}" if difference else pair.reason,
                name: f"{difference.interval:+.3f}" if difference else MISSING,
                "only best right": MISSING if test is None else str(test.only_first),
                "only other right": MISSING if test is None else str(test.only_second),
                "p (McNemar)": MISSING if test is None else f"{test.p:.3g}",
                "p (Holm)": MISSING if adjusted is None else f"{adjusted:.3g}",
                "smallest to find": MISSING if pair.smallest is None else f"{pair.smallest:.3f}",
                "tracks to find this": MISSING if pair.needed is None else str(pair.needed),
            }
        return pd.DataFrame.from_dict(rows, orient="index").astype(str)


#: Anything that can be compared: loaded run, results, experiment or folder.
Comparable = ComparedRun | Results | Experiment | str | PathLike[str]


@writes_folder("out")
def compare(
    runs: Sequence[Comparable] | Mapping[str, Comparable],
    out: str | PathLike[str] | None = None,
) -> Comparison:
    """Compare the settings and scores of runs, with paired tests.

    Args:
        runs: Two or more runs, in a sequence or by name. Each is a :class:`Results` object, a
            return value of ``mgc.cross_validate`` or ``mgc.transfer``, a folder (see
            :func:`load_runs_to_compare`), or ``ENTITY/PROJECT`` for all runs of a W&B project.
        out: Folder for compare.md, compare.html and compare.csv; by default nothing is written.

    Raises:
        MgcError: If there are fewer than two runs, a folder contains none, or W&B fails.
    """
    comparison = _compare(_load_all(runs))
    if out is not None:
        comparison.save(out)
    return comparison


def _load_all(runs: Sequence[Comparable] | Mapping[str, Comparable]) -> list[ComparedRun]:
    """Load runs and make their names unique."""
    given = list(runs.items()) if isinstance(runs, Mapping) else [("", run) for run in runs]
    found: list[ComparedRun] = []
    for name, run in given:
        loaded = _load_one(run, name)
        if name:  # a sweep is several runs
            numbered = [f"{name} ({number})" for number in range(1, len(loaded) + 1)]
            names = [name] if len(loaded) == 1 else numbered
            loaded = [replace(one, name=new) for one, new in zip(loaded, names, strict=True)]
        found += loaded
    names = [run.name for run in found]
    return [
        replace(run, name=f"{run.name} ({number})") if names.count(run.name) > 1 else run
        for number, run in enumerate(found, 1)
    ]


def _load_one(run: Comparable, name: str) -> list[ComparedRun]:
    if isinstance(run, ComparedRun):
        return [run]
    if not isinstance(run, Results | str | PathLike):
        run = run.results if run.folder is None else run.folder
    if isinstance(run, Results):
        results = split_run(run, name or name_run(run)).test
        compared = _describe(name or name_run(run), {}, {})
        compared.results = results
        compared.scores |= {f"test/track_{key}": score for key, score in _score_tracks(results)}
        return [compared]
    if not Path(run).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(run)):
        return _load_project(str(run))
    return load_runs_to_compare(run)


def _load_project(project: str) -> list[ComparedRun]:
    """Load all runs of a W&B project."""
    import wandb

    where = f"{project} is not a folder, and loading it as a W&B project failed: "
    if not wandb_status().logged_in:
        raise MgcError(f"{where}not logged in. Run 'wandb login', or pass folders.")
    try:
        return from_wandb(wandb.Api(timeout=20).runs(project))
    # W&B's client does not wrap network errors.
    except (wandb.Error, ValueError, OSError) as error:
        raise MgcError(f"{where}{error}") from error


def _compare(runs: list[ComparedRun]) -> Comparison:
    if len(runs) < 2:
        raise MgcError(f"compare expects two or more runs, got {len(runs)}.")
    # Test scores sort before validation scores.
    scores = sorted({name for run in runs for name in run.scores})
    rows: dict[str, dict[str, str]] = {run.name: {} for run in runs}
    for name in scores:
        for run in runs:
            rows[run.name][name] = str(run.scores.get(name, MISSING))
    tracks = {run.name: run.results.tracks["track"].nunique() for run in runs if run.results}
    if len(set(tracks.values())) > 1:
        for run in runs:
            rows[run.name]["test tracks"] = str(tracks.get(run.name, MISSING))
    parts = ([run.about for run in runs], [run.data for run in runs], [r.settings for r in runs])
    for prefix, values in zip(("", "data fingerprint: ", ""), parts, strict=True):
        for name in _find_differences(values):
            for run, known in zip(runs, values, strict=True):
                rows[run.name].setdefault(prefix + name, _format_value(known.get(name)))
    table = pd.DataFrame.from_dict(rows, orient="index")
    intervals = name_intervals(found.interval for run in runs for found in run.scores.values())
    return Comparison(table, data_warnings(runs), paired_tests(runs), intervals)


def load_runs_to_compare(folder: str | PathLike[str]) -> list[ComparedRun]:
    """Load the run or runs of a folder.

    The folder may be that of a run, a cross-validation, a fusion, a transfer experiment with one
    combination of layers, or a sweep, which contains several runs.

    Raises:
        MgcError: If the folder contains no finished run.
    """
    path = Path(folder)
    if not (path / "sweep.json").is_file():
        return [_load_folder(path, path.absolute().name)]
    results = sorted(path.glob("run*/result.json"), key=lambda p: int(p.parent.name[3:]))
    runs = []
    for result in results:
        run_folder = Path(read_json_object(result).get("run_folder", result.parent))
        runs.append(_load_folder(run_folder, f"{path.absolute().name} {result.parent.name}"))
    if not runs:
        raise MgcError(f"Sweep {folder} has no finished run.")
    return runs


def from_wandb(runs: Iterable[Any]) -> list[ComparedRun]:
    """Convert runs of ``wandb.Api``; those without mgc's ``about`` entry are skipped.

    Accuracies have a Wilson interval; other scores have one only if ``mgc crossval`` logged it.
    """
    found = []
    for run in runs:
        config, summary = dict(run.config), dict(run.summary)
        if "about" not in config:
            continue
        record = {"fit": config["about"], "best": _best_epoch(summary)}
        settings = {name: value for name, value in config.items() if name in SECTIONS}
        compared = _describe(str(run.name), flatten(settings), record)
        sizes = (config["about"].get("fingerprint") or {}).get("sizes") or {}
        for name, value in summary.items():
            if name.startswith("test/track_") and isinstance(value, (int, float)):
                compared.scores[name] = _wandb_score(
                    name, float(value), summary, sizes.get("test", 0)
                )
        compared.scores |= _validation_scores(record)
        found.append(compared)
    return found


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a configuration to values by name: ``model``, ``model.lr``, ``trainer.devices``."""
    flat: dict[str, Any] = {}

    def add(name: str, value: Any) -> None:
        if name in IGNORED_SETTINGS:
            return
        if isinstance(value, Mapping) and "class_path" in value:
            path = value["class_path"]
            # To find the name of a class that has none, packages of plugins are imported.
            flat[name] = registry.name_of(path) if name in registry.GROUPS else path
            for key, inner in (value.get("init_args") or {}).items():
                add(f"{name}.{key}", inner)
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                add(f"{name}.{key}" if name else key, inner)
        else:
            flat[name] = value

    add("", config)
    return flat


def data_warnings(runs: Sequence[ComparedRun]) -> list[str]:
    """List the reasons why scores are not comparable, one sentence each."""
    warnings = []
    groups = {key: _group_runs(runs, key) for key in ("tracks", "split")}
    if len(groups["tracks"]) > 1:
        warnings.append(
            "Data sets differ: different tracks or labels in "
            f"{_names_outside_largest(groups['tracks'])}."
        )
    elif len(groups["split"]) > 1:
        warnings.append(
            "Splits differ: same tracks, but a different split in "
            f"{_names_outside_largest(groups['split'])}."
        )
    unknown = [run.name for run in runs if not run.data]
    if unknown:
        warnings.append(f"Data set unknown: {', '.join(unknown)}.")
    changed = [run.name for run in runs if run.about.get("uncommitted changes")]
    if changed:
        warnings.append(f"Code had uncommitted changes: {', '.join(changed)}.")
    return warnings


def paired_tests(runs: Sequence[ComparedRun]) -> list[Pair]:
    """Test the best run against each other run with results on the same tracks.

    Runs with different test tracks form a separate group, in which they are tested against the best
    run of the group. McNemar's test uses only the first seed of a repeated cross-validation,
    because repeated tests of a track are not independent.
    """
    tested = {run.name: align(run.results) for run in runs if run.results is not None}
    scores = {name: overall(results) for name, results in tested.items()}
    groups: list[list[str]] = []
    pairs = []
    for name in pd.Series(scores).sort_values(ascending=False, kind="stable").index:  # NaN last
        reasons = [_find_mismatch(tested, group[0], name) for group in groups]
        if "" in reasons:
            group = groups[reasons.index("")]
            pairs.append(_test_pair(tested, group[0], name))
            group.append(name)
            continue
        groups.append([name])
        if reasons:
            pairs.append(Pair(groups[0][0], name, reason=f"not tested: {reasons[0]}"))
    return _adjust(pairs)


def _load_folder(path: Path, name: str) -> ComparedRun:
    crossval = (path / "crossval.json").is_file()
    folds = sorted(path.glob(f"seed*/fold*/{CONFIG}"))
    run_folder = folds[0].parent if crossval and folds else path
    settings: dict[str, Any] = {}
    if (run_folder / CONFIG).is_file():
        settings = flatten(read_yaml(run_folder / CONFIG))
    record = read_record(run_folder)
    if crossval:
        settings = {key: value for key, value in settings.items() if key not in FOLD_SETTINGS}
        record.pop("best", None)  # of a single fold
    run = _describe(name, settings, record)
    try:
        results = load_run(path, name).test
    except NoResultsError:
        if not record:
            raise MgcError(
                f"{path} contains no run. Expected the folder of a run (runs/mgc/ID), a "
                "cross-validation, a fusion, a transfer experiment or a sweep."
            ) from None
        results = None
    if results is not None:
        run.results = results
        run.scores |= {f"test/track_{key}": score for key, score in _score_tracks(results)}
        if crossval:
            run.data["split"] = results.source.get("fingerprint", MISSING)
    run.scores |= _validation_scores(record)
    return run


def _describe(name: str, settings: dict[str, Any], record: dict[str, Any]) -> ComparedRun:
    stages = ("fit", "test", "validate", "predict")
    about: dict[str, Any] = next((record[stage] for stage in stages if stage in record), {})
    fingerprint = about.get("fingerprint") or {}
    git, best = about.get("git") or {}, record.get("best") or {}
    known = {
        "model": about.get("model"),
        "data": about.get("data"),
        "split": about.get("split"),
        "best epoch": best.get("epoch"),
        "commit": (git.get("commit") or "")[:12] or None,
        "uncommitted changes": git.get("dirty"),
        **{f"version of {key}": value for key, value in (about.get("packages") or {}).items()},
    }
    data = {key: fingerprint[key] for key in ("tracks", "split") if fingerprint.get(key)}
    known = {key: value for key, value in known.items() if value is not None}
    return ComparedRun(name, settings, data=data, about=known)


def _score_tracks(results: Results) -> Iterable[tuple[str, Score]]:
    name = MEASURE[results.task]
    columns = {name: "decision"}
    if results.task == "multiclass":
        columns[f"{name}_vote"] = "vote"
    for label, column in columns.items():
        yield label, score(results, column)


def _validation_scores(record: dict[str, Any]) -> dict[str, Score]:
    """Return the track scores on the validation split in the best epoch."""
    metrics = (record.get("best") or {}).get("metrics", {})
    return {name: Score(value) for name, value in metrics.items() if name.startswith("val/track_")}


def _best_epoch(summary: dict[str, Any]) -> dict[str, Any]:
    """Read the best epoch and its metrics from a W&B summary."""
    best = {name[5:]: value for name, value in summary.items() if name.startswith("best/")}
    metrics = {name: value for name, value in best.items() if "/" in name}
    return {"epoch": best.get("epoch"), "metrics": metrics} if best else {}


def _wandb_score(name: str, value: float, summary: dict[str, Any], tracks: int) -> Score:
    """Build a score from a W&B summary, with an interval if one is logged or computable."""
    prefix = f"crossval/{name.removeprefix('test/track_')}"
    if f"{prefix}/low" in summary:
        low, high = (float(summary[f"{prefix}/{end}"]) for end in ("low", "high"))
        method = summary.get(f"{prefix}/method", "bootstrap")  # missing in old versions
        return Score(value, Interval(low, high, method, int(summary.get(f"{prefix}/tracks", 0))))
    if "accuracy" not in name or not tracks:
        return Score(value)
    return Score(value, wilson(round(value * tracks), tracks))


def _find_mismatch(tested: dict[str, Results], best: str, other: str) -> str:
    """Explain why two runs cannot be tested against each other; empty if they can."""
    try:
        check_alike({best: tested[best], other: tested[other]}, clips=False)
    except MgcError as error:
        return str(error)
    return ""


def _test_pair(tested: dict[str, Results], best: str, other: str) -> Pair:
    one, two = tested[best], tested[other]
    test, tracks = None, 0
    if one.task == "multiclass":
        right = correct_once(one)
        test, tracks = mcnemar(right, correct_once(two)), len(right)
    return Pair(best, other, gain(one, two), test, tracks=tracks)


def _adjust(pairs: list[Pair]) -> list[Pair]:
    """Adjust p for the number of tests."""
    tested = {pair.other: pair.test.p for pair in pairs if pair.test is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    found = []
    for pair in pairs:
        if pair.test is not None and pair.difference is not None:
            one, two = pair.test.only_first, pair.test.only_second
            tracks, alpha = pair.tracks, ALPHA / len(tested)
            smallest = smallest_difference(tracks, (one + two) / tracks, alpha)
            needed = tracks_needed(abs(one - two) / tracks, (one + two) / tracks, alpha)
            pair = pair._replace(smallest=smallest, needed=needed)
        found.append(pair._replace(adjusted=adjusted.get(pair.other)))
    return found


def _find_differences(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the names whose values differ; runs without any values are ignored."""
    known = [run for run in runs if run]
    names = dict.fromkeys(name for run in known for name in run)
    return [name for name in names if len({_format_value(run.get(name)) for run in known}) > 1]


def _group_runs(runs: Sequence[ComparedRun], key: str) -> list[list[str]]:
    """Group the names of runs with the same value, largest group first."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        if key in run.data:
            groups.setdefault(run.data[key], []).append(run.name)
    return sorted(groups.values(), key=len, reverse=True)


def _names_outside_largest(groups: list[list[str]]) -> str:
    return ", ".join(name for group in groups[1:] for name in group)


def _format_value(value: Any) -> str:
    if value is None:
        return MISSING
    return value if isinstance(value, str) else json.dumps(value, default=str)
