"""Runs side by side: what differs in their settings and data, and in what they achieve."""

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from mgc import registry
from mgc.core.markdown import markdown_table
from mgc.core.writing import all_or_nothing
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
from mgc.evaluation.paired import McNemar, holm, mcnemar
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import Experiment, load_run, name_run, split_run
from mgc.runs.folder import CONFIG, RECORD
from mgc.runs.tracking import wandb_status

#: Settings that say where things go and what is shown, not what is done.
IGNORED_SETTINGS = (
    "config",
    "ckpt_path",
    "trainer.logger",
    "trainer.default_root_dir",
    "trainer.log_every_n_steps",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
)

#: Settings that a cross-validation has one of per fold.
BY_FOLD = ("data.fold", "data.folds", "data.seed", "seed_everything")

#: Sections of a configuration. W&B's holds more: what models save of their own accord.
SECTIONS = ("seed_everything", "model", "data", "trainer", "optimizer", "lr_scheduler")

#: What a run does not have.
NOTHING = "-"


@dataclass
class Compared:
    """A run that is compared.

    Attributes:
        name: Its name.
        settings: Settings by name, ``model.lr`` and the like.
        scores: Scores by name, ``test/track_accuracy`` and the like.
        data: ``tracks`` and ``split``, as :func:`mgc.runs.provenance.data_fingerprint` gives
            them.
        about: What else is known: ``model``, ``data``, ``split``, ``commit``, ``best epoch``.
        results: What it said of the test tracks, where that is there.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    results: Results | None = None


class Pair(NamedTuple):
    """The best run against another one, on the same tracks.

    Attributes:
        best: Name of the best run.
        other: Name of the other one.
        difference: What the best has over the other, with its 95 % paired bootstrap interval.
        test: Exact McNemar test; nothing but for multiclass.
        adjusted: Its p, adjusted to the number of tests (Holm 1979).
        reason: Why the two cannot be tested; empty if they were.
    """

    best: str
    other: str
    difference: Score | None = None
    test: McNemar | None = None
    adjusted: float | None = None
    reason: str = ""


@dataclass
class Comparison:
    """Runs side by side.

    Attributes:
        table: A row per run: scores, what differs in the data, settings that differ.
        warnings: What makes scores not comparable.
        pairs: The best run against every other.
        intervals: Name of the intervals in the table; empty without any.
    """

    table: pd.DataFrame
    warnings: list[str]
    pairs: list[Pair]
    intervals: str = ""

    @property
    def shown(self) -> pd.DataFrame:
        """The table, the longer side down."""
        return self.table if len(self.table) >= len(self.table.columns) else self.table.T

    @property
    def text(self) -> str:
        """All of it in Markdown, readable as it is."""
        lines = ["# Comparison", "", markdown_table(self.shown), ""]
        lines += [self.note, "", *(f"**{warning}**\n" for warning in self.warnings)]
        if self.pairs:
            lines += ["## The best against the others", "", markdown_table(self._tests()), ""]
        return "\n".join(lines)

    @property
    def note(self) -> str:
        """What the figures of the table are."""
        return f"In parentheses: {self.intervals}. {NOTE}" if self.intervals else NOTE

    def save(self, folder: str | PathLike[str]) -> None:
        """Write compare.md, compare.html and compare.csv.

        Args:
            folder: Folder to write to; it is made.
        """
        with all_or_nothing(folder) as out:
            (out / "compare.md").write_text(self.text, encoding="utf-8")
            self.table.to_csv(out / "compare.csv", index_label="run")
            (out / "compare.html").write_text(self._html(), encoding="utf-8")

    def _html(self) -> str:
        return (
            '<!doctype html>\n<meta charset="utf-8">\n<title>Comparison</title>\n'
            f"{STYLE}\n{self._repr_html_()}\n"
        )

    def _repr_html_(self) -> str:
        """Show the comparison in a notebook."""
        parts = ["<h1>Comparison</h1>", self.shown.to_html(), f"<p>{html.escape(self.note)}</p>"]
        parts += [f"<p><strong>{html.escape(warning)}</strong></p>" for warning in self.warnings]
        if self.pairs:
            parts += ["<h2>The best against the others</h2>", self._tests().to_html()]
        return "\n".join(parts)

    def _tests(self) -> pd.DataFrame:
        tested = [pair.difference.interval for pair in self.pairs if pair.difference]
        name = name_intervals(tested) or "95 % interval"
        rows = {}
        for pair in self.pairs:
            difference, test, adjusted = pair.difference, pair.test, pair.adjusted
            rows[f"{pair.best} against {pair.other}"] = {
                "difference": f"{difference.value:+.3f}" if difference else pair.reason,
                name: f"{difference.interval:+.3f}" if difference else NOTHING,
                "only best right": NOTHING if test is None else str(test.only_first),
                "only other right": NOTHING if test is None else str(test.only_second),
                "p (McNemar)": NOTHING if test is None else f"{test.p:.3g}",
                "p (Holm)": NOTHING if adjusted is None else f"{adjusted:.3g}",
            }
        return pd.DataFrame.from_dict(rows, orient="index").astype(str)


NOTE = "val/… are of the best epoch, which was chosen by them, so they are optimistic."

STYLE = (
    "<style>body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{border:1px solid #ccc;padding:.3em .6em;text-align:left}</style>"
)


#: A run to compare: an object with its results, or its folder.
Comparable = Compared | Results | Experiment | str | PathLike[str]


def compare(
    runs: Sequence[Comparable] | Mapping[str, Comparable],
    out: str | PathLike[str] | None = None,
) -> Comparison:
    """Compare the settings and scores of runs, with paired tests.

    Args:
        runs: Two or more runs, in a sequence or by name: results; folders (see
            :func:`load_runs_to_compare`); return values of ``mgc.cross_validate`` and
            ``mgc.transfer``; or ``ENTITY/PROJECT`` for all runs of a project in W&B.
        out: Folder for compare.md, compare.html and compare.csv; by default nothing is written.

    Returns:
        The comparison.

    Raises:
        MgcError: If there are fewer than two runs, a folder holds none, or W&B does not give them.
    """
    comparison = _compare(_load_all(runs))
    if out is not None:
        comparison.save(out)
    return comparison


def _load_all(runs: Sequence[Comparable] | Mapping[str, Comparable]) -> list[Compared]:
    """Load runs and give them different names."""
    given = list(runs.items()) if isinstance(runs, Mapping) else [("", run) for run in runs]
    found: list[Compared] = []
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


def _load_one(run: Comparable, name: str) -> list[Compared]:
    if isinstance(run, Compared):
        return [run]
    if not isinstance(run, Results | str | PathLike):
        run = run.results if run.folder is None else run.folder
    if isinstance(run, Results):
        results = split_run(run, name or name_run(run)).test
        compared = _describe(name or name_run(run), {}, {})
        compared.results = results
        compared.scores |= {f"test/track_{key}": score for key, score in _measure(results)}
        return [compared]
    if not Path(run).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(run)):
        return _load_project(str(run))
    return load_runs_to_compare(run)


def _load_project(project: str) -> list[Compared]:
    """Load all runs of a project in W&B."""
    import wandb

    where = f"{project}: no such folder, and as a project of W&B: "
    if not wandb_status().logged_in:
        raise MgcError(f"{where}not logged in. Run 'wandb login', or give folders.")
    try:
        return from_wandb(wandb.Api(timeout=20).runs(project))
    # W&B's client lets errors of the network through as they are.
    except (wandb.Error, ValueError, OSError) as error:
        raise MgcError(f"{where}{error}") from error


def _compare(runs: list[Compared]) -> Comparison:
    if len(runs) < 2:
        raise MgcError(f"{len(runs)} run to compare: give two or more.")
    # Those of the test, by which runs are judged, before those of validation.
    scores = sorted({name for run in runs for name in run.scores})
    rows: dict[str, dict[str, str]] = {run.name: {} for run in runs}
    for name in scores:
        for run in runs:
            rows[run.name][name] = str(run.scores.get(name, NOTHING))
    tracks = {run.name: run.results.tracks["track"].nunique() for run in runs if run.results}
    if len(set(tracks.values())) > 1:
        for run in runs:
            rows[run.name]["test tracks"] = str(tracks.get(run.name, NOTHING))
    parts = ([run.about for run in runs], [run.data for run in runs], [r.settings for r in runs])
    for prefix, values in zip(("", "data fingerprint: ", ""), parts, strict=True):
        for name in _differing(values):
            for run, known in zip(runs, values, strict=True):
                rows[run.name].setdefault(prefix + name, _cell(known.get(name)))
    table = pd.DataFrame.from_dict(rows, orient="index")
    intervals = name_intervals(found.interval for run in runs for found in run.scores.values())
    return Comparison(table, data_warnings(runs), paired_tests(runs), intervals)


def load_runs_to_compare(folder: str | PathLike[str]) -> list[Compared]:
    """Read what a folder holds.

    Args:
        folder: Folder of a run, a cross-validation, a fusion, a transfer experiment of one
            combination of layers, or a sweep, which holds several runs.

    Returns:
        The runs. Intervals are those that tests and cross-validations print.

    Raises:
        MgcError: If there is nothing to compare.
    """
    path = Path(folder)
    if not (path / "sweep.json").is_file():
        return [_load(path, path.absolute().name)]
    results = sorted(path.glob("run*/result.json"), key=lambda p: int(p.parent.name[3:]))
    runs = []
    for result in results:
        place = Path(json.loads(result.read_text(encoding="utf-8"))["run_folder"])
        runs.append(_load(place, f"{path.absolute().name} {result.parent.name}"))
    if not runs:
        raise MgcError(f"{folder}: no run of this sweep is finished.")
    return runs


def from_wandb(runs: Iterable[Any]) -> list[Compared]:
    """Take runs as W&B's API gives them.

    Args:
        runs: Objects with ``name``, ``config``, ``summary`` and ``job_type``.

    Returns:
        Those that were fitted, tested or cross-validated. Intervals are those of accuracies, and
        those that cross-validations have logged.
    """
    found = []
    for run in runs:
        config, summary = dict(run.config), dict(run.summary)
        if "about" not in config:
            continue
        record = {"fit": config["about"], "best": _best(summary)}
        settings = {name: value for name, value in config.items() if name in SECTIONS}
        compared = _describe(str(run.name), flatten(settings), record)
        sizes = (config["about"].get("fingerprint") or {}).get("sizes") or {}
        for name, value in summary.items():
            if name.startswith("test/track_") and isinstance(value, (int, float)):
                compared.scores[name] = _known(name, float(value), summary, sizes.get("test", 0))
        compared.scores |= _validation(record)
        found.append(compared)
    return found


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Name all settings of a configuration.

    Args:
        config: Configuration as ``mgc fit`` saves it.

    Returns:
        Plain values by name: ``model``, ``model.lr``, ``trainer.max_epochs``.
    """
    flat: dict[str, Any] = {}

    def add(name: str, value: Any) -> None:
        if name in IGNORED_SETTINGS:
            return
        if isinstance(value, Mapping) and "class_path" in value:
            flat[name] = registry.name_of(value["class_path"])
            for key, inner in (value.get("init_args") or {}).items():
                add(f"{name}.{key}", inner)
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                add(f"{name}.{key}" if name else key, inner)
        else:
            flat[name] = value

    add("", config)
    return flat


def data_warnings(runs: Sequence[Compared]) -> list[str]:
    """Find what makes scores not comparable.

    Args:
        runs: Runs.

    Returns:
        A sentence for each kind of difference.
    """
    warnings = []
    groups = {key: _groups(runs, key) for key in ("tracks", "split")}
    if len(groups["tracks"]) > 1:
        warnings.append(
            "The data differ: tracks or labels are not those of the others in "
            f"{_others(groups['tracks'])}."
        )
    elif len(groups["split"]) > 1:
        warnings.append(
            "The splits differ: the same tracks are divided otherwise in "
            f"{_others(groups['split'])}."
        )
    unknown = [run.name for run in runs if not run.data]
    if unknown:
        warnings.append(f"Not known of which data: {', '.join(unknown)}.")
    changed = [run.name for run in runs if run.about.get("uncommitted changes")]
    if changed:
        warnings.append(f"The code had uncommitted changes: {', '.join(changed)}.")
    return warnings


def paired_tests(runs: Sequence[Compared]) -> list[Pair]:
    """Test the best run against every other one that was tested on the same tracks.

    Args:
        runs: Runs; only those with results are tested.

    Returns:
        A pair for each run but the best. Runs that were tested on other tracks than the best one
        are tested against the best of those. Of repeated cross-validations the first seed alone
        is tested by McNemar's test: the same tracks tested again are no new tracks.
    """
    tested = {run.name: align(run.results) for run in runs if run.results is not None}
    scores = {name: overall(results) for name, results in tested.items()}
    groups: list[list[str]] = []
    pairs = []
    for name in sorted(tested, key=scores.__getitem__, reverse=True):
        reasons = [_unlike(tested, group[0], name) for group in groups]
        if "" in reasons:
            group = groups[reasons.index("")]
            pairs.append(_test(tested, group[0], name))
            group.append(name)
            continue
        groups.append([name])
        if reasons:
            pairs.append(Pair(groups[0][0], name, reason=f"not tested: {reasons[0]}"))
    return _adjust(pairs)


def _load(path: Path, name: str) -> Compared:
    """Read one run, cross-validation, fusion or the like."""
    crossval = (path / "crossval.json").is_file()
    folds = sorted(path.glob(f"seed*/fold*/{CONFIG}"))
    place = folds[0].parent if crossval and folds else path
    settings: dict[str, Any] = {}
    if (place / CONFIG).is_file():
        settings = flatten(yaml.safe_load((place / CONFIG).read_text(encoding="utf-8")))
    record = (
        json.loads((place / RECORD).read_text(encoding="utf-8"))
        if (place / RECORD).is_file()
        else {}
    )
    if crossval:
        settings = {key: value for key, value in settings.items() if key not in BY_FOLD}
        record.pop("best", None)  # that of one of the folds
    run = _describe(name, settings, record)
    try:
        results = load_run(path, name).test
    except MgcError:
        if not record:
            raise MgcError(
                f"{path}: nothing to compare. Give the folder of a run (runs/mgc/ID), of a "
                "cross-validation, a fusion, a transfer experiment or a sweep."
            ) from None
        results = None
    if results is not None:
        run.results = results
        run.scores |= {f"test/track_{key}": score for key, score in _measure(results)}
        if crossval:
            run.data["split"] = results.source.get("fingerprint", NOTHING)
    run.scores |= _validation(record)
    return run


def _describe(name: str, settings: dict[str, Any], record: dict[str, Any]) -> Compared:
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
    return Compared(name, settings, data=data, about=known)


def _measure(results: Results) -> Iterable[tuple[str, Score]]:
    name = MEASURE[results.task]
    columns = {name: "decision"}
    if results.task == "multiclass":
        columns[f"{name}_vote"] = "vote"
    for label, column in columns.items():
        yield label, score(results, column)


def _validation(record: dict[str, Any]) -> dict[str, Score]:
    """Scores of whole tracks on the validation split, in the best epoch."""
    metrics = (record.get("best") or {}).get("metrics", {})
    return {name: Score(value) for name, value in metrics.items() if name.startswith("val/track_")}


def _best(summary: dict[str, Any]) -> dict[str, Any]:
    """The best epoch, as W&B's summary tells it."""
    told = {name[5:]: value for name, value in summary.items() if name.startswith("best/")}
    metrics = {name: value for name, value in told.items() if "/" in name}
    return {"epoch": told.get("epoch"), "metrics": metrics} if told else {}


def _known(name: str, value: float, summary: dict[str, Any], tracks: int) -> Score:
    """A score of W&B, with its interval where that follows from what W&B knows."""
    prefix = f"crossval/{name.removeprefix('test/track_')}"
    if f"{prefix}/low" in summary:
        low, high = (float(summary[f"{prefix}/{end}"]) for end in ("low", "high"))
        method = summary.get(f"{prefix}/method", "bootstrap")  # which versions without it logged
        return Score(value, Interval(low, high, method, int(summary.get(f"{prefix}/tracks", 0))))
    if "accuracy" not in name or not tracks:
        return Score(value)
    return Score(value, wilson(round(value * tracks), tracks))


def _unlike(tested: dict[str, Results], best: str, other: str) -> str:
    """Why two runs cannot be tested against each other."""
    try:
        check_alike({best: tested[best], other: tested[other]}, clips=False)
    except MgcError as error:
        return str(error)
    return ""


def _test(tested: dict[str, Results], best: str, other: str) -> Pair:
    one, two = tested[best], tested[other]
    test = _mcnemar(one, two) if one.task == "multiclass" else None
    return Pair(best, other, gain(one, two), test)


def _mcnemar(best: Results, other: Results) -> McNemar:
    tracks = best.tracks
    once = [True] * len(tracks)
    if "seed" in tracks:
        once = (tracks["seed"] == tracks["seed"].iloc[0]).tolist()
    right = ((r.tracks["label"] == r.tracks["decision"])[once] for r in (best, other))
    return mcnemar(*right)


def _adjust(pairs: list[Pair]) -> list[Pair]:
    """Adjust p to the number of tests."""
    tested = {pair.other: pair.test.p for pair in pairs if pair.test is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [pair._replace(adjusted=adjusted.get(pair.other)) for pair in pairs]


def _differing(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names whose values differ. A run of which nothing is known differs in nothing."""
    known = [run for run in runs if run]
    names = dict.fromkeys(name for run in known for name in run)
    return [name for name in names if len({_cell(run.get(name)) for run in known}) > 1]


def _groups(runs: Sequence[Compared], key: str) -> list[list[str]]:
    """Names of the runs that agree, the largest group first."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        if key in run.data:
            groups.setdefault(run.data[key], []).append(run.name)
    return sorted(groups.values(), key=len, reverse=True)


def _others(groups: list[list[str]]) -> str:
    return ", ".join(name for group in groups[1:] for name in group)


def _cell(value: Any) -> str:
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value, default=str)
