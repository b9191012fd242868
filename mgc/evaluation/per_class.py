"""Computes scores of each class, tag or quantity."""

from os import PathLike

import numpy as np
import pandas as pd
from sklearn import metrics

from mgc.evaluation.results import Results


def confusion_matrix(results: Results) -> pd.DataFrame:
    """Count tracks by true class (rows) and decision (columns), in the order of the labels."""
    labels = list(results.labels)
    tracks = results.tracks
    counts = metrics.confusion_matrix(tracks["label"], tracks["decision"], labels=labels)
    return pd.DataFrame(counts, index=labels, columns=labels)


def per_class(results: Results) -> pd.DataFrame:
    """Return the scores of each label, one label per row.

    Columns are ``precision``, ``recall``, ``f1`` and ``tracks`` (multiclass); ``auroc``,
    ``average_precision`` and ``tracks`` with the tag (multilabel); ``r2`` and ``rmse``
    (regression).
    """
    tracks, labels = results.tracks, list(results.labels)
    if results.task == "multiclass":
        precision, recall, f1, support = metrics.precision_recall_fscore_support(
            tracks["label"], tracks["decision"], labels=labels, zero_division=0.0
        )
        columns = {"precision": precision, "recall": recall, "f1": f1, "tracks": support}
        return pd.DataFrame(columns, index=pd.Index(labels, name="label"))
    rows = []
    outputs = results.scores if results.task == "multilabel" else results.outputs
    for label, column in zip(labels, outputs, strict=True):
        target, output = tracks[f"target.{label}"], tracks[column]
        if results.task == "regression":
            rmse = metrics.root_mean_squared_error(target, output)
            rows.append({"r2": metrics.r2_score(target, output), "rmse": rmse})
        else:
            both = target.nunique() == 2
            nan = float("nan")
            rows.append(
                {
                    "auroc": metrics.roc_auc_score(target, output) if both else nan,
                    "average_precision": (
                        metrics.average_precision_score(target, output) if both else nan
                    ),
                    "tracks": int(target.sum()),
                }
            )
    return pd.DataFrame(rows, index=pd.Index(labels, name="label"))


def worst_mistakes(results: Results, count: int) -> pd.DataFrame:
    """Return the misclassified tracks with the smallest probability of the true class.

    Columns are ``track``, ``label``, ``decision`` and ``probability`` (of the true class).
    """
    tracks = results.tracks
    wrong = tracks[tracks["label"] != tracks["decision"]]
    outputs = wrong[results.outputs].to_numpy()
    true = [results.labels.index(label) for label in wrong["label"]]
    probability = outputs[np.arange(len(wrong)), true]
    table = wrong[["track", "label", "decision"]].assign(probability=probability)
    return table.nsmallest(count, "probability")


def plot_confusion(counts: pd.DataFrame, title: str, path: str | PathLike[str]) -> None:
    """Plot a confusion matrix and save it as a PNG file."""
    from mgc.core.figures import PlainFigure

    figure = PlainFigure(
        figsize=(2.5 + 0.5 * len(counts), 2 + 0.5 * len(counts)), layout="constrained"
    )
    axes = figure.subplots()
    numbers = counts.to_numpy()
    shares = numbers / numbers.sum(axis=1, keepdims=True).clip(min=1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(counts)), counts.columns, rotation=45, ha="right")
    axes.set_yticks(range(len(counts)), counts.index)
    axes.set(xlabel="decision", ylabel="true class", title=title)
    for row in range(len(counts)):
        for column in range(len(counts)):
            if numbers[row, column]:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(
                    column, row, str(numbers[row, column]), ha="center", va="center", color=color
                )
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    figure.savefig(path, dpi=120)
