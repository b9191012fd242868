"""Reports an experiment: several systems on the same data, compared with published scores."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mgc.core import markdown
from mgc.core.csv import write_csv
from mgc.core.figures import PlainFigure
from mgc.core.writing import all_or_nothing
from mgc.errors import MgcError
from mgc.evaluation.colours import BLOCKS, COMPARED, PUBLISHED
from mgc.evaluation.intervals import MEASURE, name_intervals, overall, read_intervals, score
from mgc.evaluation.per_class import confusion_matrix, per_class, plot_confusion
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import Run

#: Published scores: a module such as :mod:`mgc.papers.senac2017`, or one of its tasks.
Published = ModuleType | SimpleNamespace

#: Score of a class, by task.
CLASS_MEASURE = {"multiclass": "recall", "multilabel": "auroc", "regression": "r2"}

#: File with the report.
REPORT = "experiment.md"

#: Suffix of the columns with published scores.
PAPER = " (paper)"


@dataclass
class ExperimentReport:
    """Tables and plots of an experiment.

    Attributes:
        systems: A row per system: score with its interval (see
            :meth:`mgc.evaluation.intervals.Interval.columns`), published score with half its
            interval, and the difference.
        classes: A row per class, a column per system; published ones end in ``(paper)``.
        confusion: Confusion matrix (counts of tracks) by system; multiclass only.
        cells: Confusion matrices in % of the true class, all systems in each cell.
        plots: Figures by file name without suffix.
        text: Report in Markdown.
    """

    systems: pd.DataFrame
    classes: pd.DataFrame
    confusion: dict[str, pd.DataFrame]
    cells: pd.DataFrame | None
    plots: dict[str, Figure] = field(default_factory=dict)
    text: str = ""

    def save(self, folder: str | PathLike[str]) -> None:
        """Write CSV tables, PNG plots and experiment.md to ``folder``, created if missing.

        Confusion matrices of an earlier report in the folder are removed.
        """
        earlier = []
        if Path(folder, REPORT).is_file():
            earlier = [path for path in Path(folder).glob("confusion_*") if path.is_file()]
        with all_or_nothing(folder) as out:
            write_csv(self.systems, out / "systems.csv", index=False)
            write_csv(self.classes, out / "classes.csv")
            for name, counts in self.confusion.items():
                write_csv(
                    counts, out / f"confusion_{_file_name(name)}.csv", index_label="true class"
                )
                plot_confusion(counts, name, out / f"confusion_{_file_name(name)}.png")
            if self.cells is not None:
                write_csv(self.cells, out / "confusion_all.csv", index_label="true class")
            for name, figure in self.plots.items():
                figure.savefig(out / f"{name}.png", dpi=150)
            (out / REPORT).write_text(self.text, encoding="utf-8")
            written = {path.name for path in out.iterdir()}
        for path in earlier:
            if path.name not in written:
                path.unlink(missing_ok=True)


def make_report(runs: Sequence[Run], paper: ModuleType | None = None) -> ExperimentReport:
    """Compare systems tested on the same task, optionally with the scores of a paper.

    ``paper`` is a module such as :mod:`mgc.papers.senac2017`.

    Raises:
        MgcError: If tasks or labels of the systems differ, the paper has different classes, or no
            system is named as in the paper.
    """
    first = runs[0].test
    for run in runs[1:]:
        for attribute in ("task", "labels"):
            if getattr(run.test, attribute) != getattr(first, attribute):
                raise MgcError(
                    f"{run.name} and {runs[0].name} differ in {attribute}. Report one task at a "
                    "time."
                )
    published = _read_published(paper, first) if paper else None
    if paper and published:
        _check_names(runs, paper, published)
        runs = [
            replace(run, test=run.test.with_votes()) if run.name in published.VOTED else run
            for run in runs
        ]
    systems = _systems_table(runs, published)
    confusion, cells = {}, None
    if first.task == "multiclass":
        confusion = {run.name: confusion_matrix(run.test) for run in runs}
        shares = {name: _to_percent(counts) for name, counts in confusion.items()}
        cells = join_cells(shares) if len(runs) > 1 else None
    classes = _classes_table(runs, published)
    report = ExperimentReport(systems, classes, confusion, cells)
    report.plots = {
        "systems": plot_systems(systems, MEASURE[first.task]),
        "classes": plot_classes(classes, CLASS_MEASURE[first.task]),
    }
    report.text = _write_markdown(report, runs, paper, published)
    return report


def join_cells(shares: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Join matrices of several systems into one with cells ``(a, b, c)``, empty if all are zero.

    Table 1 of Senac et al. (2017) has this form.
    """
    first = next(iter(shares.values()))
    stack = np.stack(
        [share.loc[first.index, first.columns].to_numpy() for share in shares.values()]
    )
    cells = [
        [f"({', '.join(f'{v:.0f}' for v in stack[:, i, j])})" for j in range(len(first.columns))]
        for i in range(len(first))
    ]
    table = pd.DataFrame(cells, index=first.index, columns=first.columns)
    return table.where(pd.DataFrame(np.any(stack, axis=0), first.index, first.columns), "")


def plot_systems(systems: pd.DataFrame, score: str) -> Figure:
    """Plot the systems' scores as bars, with intervals and published scores."""
    figure = PlainFigure(figsize=(8, 1.7 + 0.45 * len(systems)), layout="constrained")
    axes = figure.subplots()
    positions = np.arange(len(systems))
    value = systems[score].to_numpy()
    label = f"ours, {name_intervals(read_intervals(systems))}"
    axes.barh(positions, value, 0.6, color=BLOCKS, label=label)
    spread = np.stack([value - systems["low"], systems["high"] - value]).clip(0)
    axes.errorbar(value, positions, xerr=spread, fmt="none", ecolor="black", capsize=3)
    high = float(np.nanmax([systems["high"], value]))
    if "published" in systems and systems["published"].notna().any():
        margin = systems["published_half"].fillna(0)
        axes.errorbar(
            systems["published"],
            positions + 0.2,
            xerr=margin,
            fmt="D",
            markerfacecolor="white",
            color=PUBLISHED,
            capsize=3,
            label="published",
        )
        high = max(high, float((systems["published"] + margin).max()))
    for y, number in enumerate(value):
        axes.text(high + 0.02, y, f"{number:.3f}", va="center", fontsize=8)
    axes.set_xlim(min(0.0, float(value.min())), high + 0.1)
    axes.set_ylim(len(systems) - 0.4, -0.6)
    axes.set_yticks(positions, systems["system"])
    axes.set_xlabel(score)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def plot_classes(classes: pd.DataFrame, score: str) -> Figure:
    """Plot each class's score in all systems as dots; published scores are hollow."""
    figure = PlainFigure(figsize=(8, 1.7 + 0.38 * len(classes)), layout="constrained")
    axes = figure.subplots()
    positions = np.arange(len(classes))
    ours = [name for name in map(str, classes) if not name.endswith(PAPER)]
    step = 0.5 / max(1, len(ours))
    for number, name in enumerate(ours):
        at = positions + (number - (len(ours) - 1) / 2) * step
        (dots,) = axes.plot(classes[name], at, "o", markersize=6, label=name)
        if f"{name}{PAPER}" in classes:
            published = classes[f"{name}{PAPER}"]
            color = dots.get_color()
            axes.plot(
                published, at, "D", color=color, markerfacecolor="none", label=f"{name}{PAPER}"
            )
            axes.hlines(at, classes[name], published, color=color, linewidth=0.8)
    for y in positions[:-1] + 0.5:
        axes.axhline(y, color=COMPARED, linewidth=0.5)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.set_yticks(positions, classes.index)
    axes.set_xlabel(f"{score} of the class")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _read_published(paper: ModuleType, results: Results) -> Published:
    """Return the scores of the paper's task that has the classes of the results."""
    tasks: list[Published] = list(getattr(paper, "TASKS", {"": paper}).values())
    for task in tasks:
        if results.task == "multiclass" and set(results.labels) == set(task.GENRES):
            return task
    classes = "; or ".join(", ".join(task.GENRES) for task in tasks)
    raise MgcError(
        f"--paper {_paper_name(paper)} has the classes {classes}; the results have other classes. "
        "Omit --paper."
    )


def _paper_name(paper: ModuleType) -> str:
    return paper.__name__.rpartition(".")[2]


def _check_names(runs: Sequence[Run], paper: ModuleType, published: Published) -> None:
    """Check that a system has a published score: a name in the paper's ``ACCURACY``."""
    if not any(run.name in published.ACCURACY for run in runs):
        names = ", ".join(run.name for run in runs)
        raise MgcError(
            f"--paper {_paper_name(paper)} has no scores of {names}. Give the systems their names "
            f"in the paper with --names: {', '.join(published.ACCURACY)}."
        )


def _systems_table(runs: Sequence[Run], published: Published | None) -> pd.DataFrame:
    rows = []
    for run in runs:
        results = run.test
        value, interval = score(results)
        row = {"system": run.name, MEASURE[results.task]: value, **interval.columns()}
        if results.task == "multiclass":
            row["accuracy_vote"] = overall(results, "vote")
        if published:
            percent, half = published.ACCURACY.get(run.name, (None, None))
            figure = np.nan if percent is None else percent / 100
            row["published"], row["difference"] = figure, value - figure
            row["published_half"] = np.nan if half is None else half / 100
        rows.append(row)
    return pd.DataFrame(rows)


def _classes_table(runs: Sequence[Run], published: Published | None) -> pd.DataFrame:
    columns = {}
    for run in runs:
        columns[run.name] = per_class(run.test)[CLASS_MEASURE[run.test.task]]
        if published and run.name in published.CLASSES:
            columns[f"{run.name}{PAPER}"] = pd.Series(published.CLASSES[run.name]) / 100
    return pd.DataFrame(columns).loc[list(runs[0].test.labels)].rename_axis("class")


def _to_percent(counts: pd.DataFrame) -> pd.DataFrame:
    return 100 * counts.div(counts.sum(axis=1).clip(lower=1), axis=0)


def _write_markdown(
    report: ExperimentReport,
    runs: Sequence[Run],
    paper: ModuleType | None,
    published: Published | None,
) -> str:
    results = runs[0].test
    intervals = name_intervals(read_intervals(report.systems))
    lines = ["# Experiment", "", f"Intervals: {intervals}.", ""]
    if results.task == "multiclass":
        lines[2] += (
            " A track's class has the highest mean probability over its clips; `accuracy_vote` "
            "uses the majority vote of the clips."
        )
    voted = [run.name for run in runs if published and run.name in published.VOTED]
    if voted:
        names = markdown.escape(", ".join(voted))
        lines[2] += f" {names}: majority vote in all columns, as in the paper."
    systems = report.systems.set_index("system").drop(columns=["low", "high", "method"])
    lines += [markdown.frame_table(systems), ""]
    lines += [markdown.image("scores of the systems", "systems.png"), ""]
    if paper and published:
        known = ", ".join(published.ACCURACY)
        lines += [f"Published scores: {_paper_name(paper)} ({known}).", ""]
    lines += [f"## {CLASS_MEASURE[results.task].capitalize()} by class", ""]
    plot = markdown.image("scores of the classes", "classes.png")
    lines += [markdown.frame_table(report.classes), "", plot, ""]
    if report.confusion:
        lines += ["## Confusion", ""]
    if report.cells is not None:
        names = markdown.escape(", ".join(report.confusion))
        cells = markdown.frame_table(report.cells)
        lines += [f"In % of the true class (rows): ({names}).", "", cells, ""]
    for name, counts in report.confusion.items():
        if report.cells is None:
            matrix = markdown.frame_table(counts)
            lines += ["Tracks by true class (rows) and predicted class:", "", matrix, ""]
        file = f"confusion_{_file_name(name)}.png"
        lines += [markdown.image(f"confusion matrix of {name}", file), ""]
    matrices = getattr(published, "CONFUSION", None)
    if matrices:
        genres = list(published.GENRES)  # type: ignore[union-attr] # it has matrices
        shares = {name: pd.DataFrame(m, genres, genres) for name, m in matrices.items()}
        matrix = markdown.frame_table(join_cells(shares))
        lines += [f"### As published: ({', '.join(shares)})", "", matrix, ""]
    return "\n".join(lines)


def _file_name(name: str) -> str:
    """Replace characters that are unsafe in a file name."""
    return re.sub(r"[^\w.-]+", "_", name)
