"""Reports a transfer experiment as tables and plots, with baselines and published scores."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from mgc.core.csv import read_csv, write_csv
from mgc.core.markdown import escape, frame_table, heading
from mgc.core.writing import all_or_nothing
from mgc.errors import MgcError
from mgc.transfer.outcome import Transfer, format_summary
from mgc.transfer.plots import compare_classes, rank_combinations

#: Published scores by paper, task and combination of layers.
Scores = Mapping[str, Mapping[str, Mapping[str, float]]]

#: Published scores that are not of a given combination of layers: names in files and in reports.
LINES = {"best": "published best", "state_of_the_art": "state of the art"}


@dataclass
class TransferReport:
    """Tables and plots of a transfer experiment.

    ``table`` has a row per target and combination, best first; ``plots`` are figures by file name
    without suffix; ``text`` is Markdown.
    """

    table: pd.DataFrame
    plots: dict[str, Figure] = field(default_factory=dict)
    text: str = ""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``transfer.md``, ``transfer.csv`` and a PNG file per plot."""
        with all_or_nothing(folder) as out:
            write_csv(self.table, out / "transfer.csv", index=False)
            (out / "transfer.md").write_text(self.text, encoding="utf-8")
            for name, figure in self.plots.items():
                figure.savefig(out / f"{name}.png", dpi=150)


def read_published(
    published: str,
    tasks: Sequence[str],
    targets: Sequence[str],
    built_in: Scores | None = None,
) -> pd.DataFrame:
    """Load published scores.

    Args:
        published: Name of a paper in ``built_in``, or a CSV file with columns ``task``, ``layers``
            and ``score``.
        tasks: Task of the paper for each target. Optional if the paper has a single task.
        targets: Targets of the results.
        built_in: Scores by paper, task and combination of layers.

    Returns:
        Table with the columns ``target``, ``layers`` (blocks first) and ``published``.

    Raises:
        MgcError: If the file or one of its columns is missing, or the tasks do not match.
    """
    built_in = built_in or {}
    if published in built_in:
        rows = [
            (task, *row) for task, row_of in built_in[published].items() for row in row_of.items()
        ]
        scores = pd.DataFrame(rows, columns=["task", "layers", "score"])
    elif Path(published).is_file():
        scores = read_scores(published)
    else:
        raise MgcError(
            f"--published {published} is neither a file nor a paper with built-in scores "
            f"({', '.join(built_in)})."
        )
    known = list(dict.fromkeys(scores["task"]))
    if not tasks and len(known) == len(targets) == 1:
        tasks = known
    if len(tasks) != len(targets) or not set(tasks) <= set(known):
        raise MgcError(
            f"--published {published} has tasks {', '.join(known)}. Use --tasks to give the task "
            f"of each target ({', '.join(targets)})."
        )
    pieces = [
        scores.loc[scores["task"] == task, ["layers", "score"]].assign(target=target)
        for task, target in zip(tasks, targets, strict=True)
    ]
    return pd.concat(pieces, ignore_index=True).rename(columns={"score": "published"})


def read_scores(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read published scores from a CSV file.

    Returns:
        Table with the columns ``task``, ``layers`` (blocks first) and ``score``.

    Raises:
        MgcError: If the file is unreadable or one of its columns is missing.
    """
    scores = read_csv(path, text=("layers", "task"))
    missing = {"task", "layers", "score"} - set(scores)
    if missing:
        raise MgcError(f"{path} has no column {min(missing)!r}. It needs task,layers,score.")
    if not pd.api.types.is_numeric_dtype(scores["score"]):
        raise MgcError(f"{path}: column 'score' has cells that are not numbers.")
    scores["layers"] = scores["layers"].map(_blocks_first)
    return scores


def _blocks_first(layers: str) -> str:
    return "+".join(sorted(layers.split("+"), key=lambda name: not name.isdigit()))


def make_report(
    results: dict[str, Transfer],
    *,
    published: str | None = None,
    tasks: Sequence[str] = (),
    compare: Sequence[str] = (),
    built_in: Scores | None = None,
) -> TransferReport:
    """Create a report of the first experiment, with the scores of the others as columns.

    Args:
        results: Experiments by name.
        published: Argument of :func:`read_published`.
        tasks: Argument of :func:`read_published`.
        compare: Two combinations of layers to compare by class.
        built_in: Argument of :func:`read_published`.

    Raises:
        MgcError: If tasks or labels differ, or a combination is missing.
    """
    name, *others = results
    main = results[name]
    for other in others:
        for key in ("task", "labels"):
            if results[other].meta[key] != main.meta[key]:
                raise MgcError(f"{other} and {name} differ in their {key}. Report them separately.")
    table = main.summary
    targets = list(dict.fromkeys(table["target"]))
    lines: dict[str, dict[str, float]] = {}
    if published is not None:
        reference = read_published(published, tasks, targets, built_in)
        for name_in_file, title in LINES.items():
            rows = reference[reference["layers"] == name_in_file]
            for target, value in zip(rows["target"], rows["published"], strict=True):
                lines.setdefault(target, {})[title] = value
        table = table.merge(reference, "left", on=["target", "layers"])
        table["difference"] = table["paper"] - table["published"]
    for other in others:
        columns = results[other].summary[["target", "layers", "paper"]]
        table = table.merge(
            columns.rename(columns={"paper": other}), "left", on=["target", "layers"]
        )
    table = table.sort_values(["target", "paper"], ascending=[True, False], ignore_index=True)
    report = TransferReport(table)
    for target in targets:
        report.plots[f"combinations_{target}"] = rank_combinations(
            table[table["target"] == target],
            metric=main.meta["metric"],
            title=_title(main, name, target),
            compared=others,
            lines=lines.get(target),
        )
    if compare:
        classes = scores_by_class(main, compare)
        report.plots[f"classes_{'_'.join(compare)}"] = compare_classes(
            classes, "ROC-AUC" if main.meta["task"] == "multilabel" else "accuracy", name
        )
    report.text = _markdown(main, name, table, targets, lines)
    return report


def scores_by_class(results: Transfer, layers: Sequence[str]) -> pd.DataFrame:
    """Return the nested score of each class or tag (rows) for two combinations (columns).

    The score is the accuracy within a class, or the ROC-AUC of a tag.

    Raises:
        MgcError: If a combination is missing, or the task is regression.
    """
    if results.meta["task"] == "regression":
        raise MgcError("--compare does not support regression.")
    if len(layers) != 2:
        raise MgcError("--compare needs two combinations separated by a comma, as in 12345,5.")
    columns = {}
    for name in layers:
        tracks = results.predictions
        if tracks.empty:
            raise MgcError("--compare needs the predictions of mgc transfer with --nested true.")
        known = tracks["layers"].unique()
        if name not in known:
            raise MgcError(f"--compare: no results for {name}. Choose from {', '.join(known)}.")
        tracks = tracks[tracks["layers"] == name]
        if results.meta["task"] == "multiclass":
            right = tracks["label"] == tracks["decision"]
            columns[name] = right.groupby(tracks["label"]).mean()
        else:
            kind = "score" if f"score.{results.meta['labels'][0]}" in tracks else "probability"
            columns[name] = pd.Series(
                {
                    label: roc_auc_score(tracks[f"target.{label}"], tracks[f"{kind}.{label}"])
                    for label in results.meta["labels"]
                    if tracks[f"target.{label}"].nunique() == 2
                }
            )
    return pd.DataFrame(columns)


def _title(results: Transfer, name: str, target: str) -> str:
    what = f", {target}" if results.meta["task"] == "regression" else ""
    return f"{name}{what}: {results.meta['classifier']}, {results.meta['folds']}"


def _markdown(
    results: Transfer,
    name: str,
    table: pd.DataFrame,
    targets: list[str],
    references: dict[str, dict[str, float]],
) -> str:
    lines = [heading(f"Transfer: {name}"), ""]
    lines.append(
        f"Scores are {escape(results.meta['metric'])}; classifier "
        f"{escape(results.meta['classifier'])}; {escape(results.meta['folds'])}."
    )
    lines += [
        "",
        "`paper` is the best mean over the test folds, which is optimistic; `full_grid` also tries "
        "standardised features; `nested` chooses settings within the training folds.",
    ]
    table, intervals = format_summary(table)
    if intervals:
        lines[-1] += f" {intervals}"
    for target in targets:
        rows = table[table["target"] == target].drop(columns=["target", "metric"])
        lines += ["", heading(target, 2), ""]
        if "published" in rows:
            both = rows.dropna(subset=["published"])
            if len(both):
                lines.append(
                    f"Mean absolute difference from {len(both)} published scores: "
                    f"{both['difference'].abs().mean():.4f}."
                )
            for title, value in references.get(target, {}).items():
                lines.append(f"{title.capitalize()}: {value:.3f}.")
            lines.append("")
        lines.append(frame_table(rows.set_index("layers")))
    return "\n".join(lines) + "\n"
