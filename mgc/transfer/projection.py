"""Projects features to two dimensions and plots one dot per track."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from mgc.core.csv import write_csv
from mgc.core.figures import PlainFigure
from mgc.core.writing import all_or_nothing
from mgc.errors import MgcError
from mgc.installation import pip_install
from mgc.transfer.feature_table import FeatureTable

Method = Literal["tsne", "umap"]

#: Maximum number of neighbours in the measures of a projection.
MAX_NEIGHBOURS = 5

#: Split whose tracks are drawn with an outline.
TEST = "test"

#: Shapes of the dots. They distinguish classes of the same colour, and classes printed in grey.
MARKERS = "osD^vP"


@dataclass
class Projection:
    """Feature tables projected to two dimensions.

    Attributes:
        points: A row per track and table: ``features`` (name of the table), ``track``, ``split``,
            ``label``, ``x``, ``y``.
        measures: A row per table: ``tracks``; ``width`` (number of features); ``trustworthiness``
            (whether neighbours in the plot are neighbours by features; 0 to 1, Venna and Kaski
            2001); ``neighbours`` (number of neighbours in the following measures: five, or the size
            of the smallest class minus 1); ``same_class`` and ``same_class_in_picture`` (share of
            a track's nearest neighbours in the same class, by features and in the plot); and
            ``same_class_of_test`` (``same_class`` of the test tracks, with neighbours of any split;
            NaN without test tracks).
        figure: The plot.
    """

    points: pd.DataFrame
    measures: pd.DataFrame
    figure: Figure

    def save(self, folder: str | PathLike[str]) -> None:
        """Write ``projection.png``, ``projection.csv`` and ``measures.csv``."""
        with all_or_nothing(folder) as out:
            write_csv(self.points, out / "projection.csv", index=False)
            write_csv(self.measures, out / "measures.csv", index=False)
            self.figure.savefig(out / "projection.png", dpi=150)


def project(
    tables: Mapping[str, FeatureTable],
    layers: Sequence[str] = (),
    split: str | None = None,
    method: Method = "tsne",
    perplexity: float = 30.0,
    seed: int = 0,
) -> Projection:
    """Standardise the features of each table and project them to two dimensions.

    t-SNE starts from the first two principal components, so that the same seed gives the same plot.
    Source: van der Maaten and Hinton, "Visualizing high-dimensional data using t-SNE", JMLR 2008.

    Args:
        tables: Feature tables with the same classes, by name.
        layers: Layers to use, if a table has them. Default: all.
        split: Split to plot. Default: all tracks.
        method: ``tsne``, or ``umap``, which needs the package umap-learn.
        perplexity: Approximate number of effective neighbours, limited to a third of the tracks.
        seed: Seed of the projection.

    Raises:
        MgcError: If a table lacks classes or all of the layers, has different classes or too few
            tracks, or if ``perplexity`` is not positive.
    """
    first = next(iter(tables.values()))
    points, measures = [], []
    for name, table in tables.items():
        if table.task != "multiclass" or not table.labels:
            raise MgcError(f"{name}: needs a multiclass table with labels.")
        if table.labels != first.labels:
            raise MgcError(
                f"{name}: classes differ from those of the first table. Plot it separately."
            )
        chosen = [layer for layer in table.layers if not layers or layer in layers]
        if not chosen:
            raise MgcError(
                f"{name}: has none of the layers {', '.join(layers)}. Choose from "
                f"{', '.join(table.layers)}."
            )
        rows = np.ones(len(table.tracks), bool)
        if split is not None:
            rows = (table.tracks["split"] == split).to_numpy()
        values = np.concatenate([table.layers[layer] for layer in chosen], 1)[rows]
        if len(values) <= 2 * MAX_NEIGHBOURS:
            of = f" in split {split}" if split else ""
            raise MgcError(
                f"{name}: a projection needs more than {2 * MAX_NEIGHBOURS} tracks, found "
                f"{len(values)}{of}."
            )
        if values.shape[1] < 2:
            raise MgcError(f"{name}: a projection needs two or more features per track, found 1.")
        if not np.isfinite(values).all():
            raise MgcError(f"{name}: has NaN or infinite values. Extract the features again.")
        values = StandardScaler().fit_transform(values)
        coordinates = _reduce_to_plane(values, method, perplexity, seed)
        tracks = table.tracks.loc[rows, ["track", "split", "label"]]
        points.append(tracks.assign(x=coordinates[:, 0], y=coordinates[:, 1]))
        points[-1].insert(0, "features", name)
        label, test = tracks["label"].to_numpy(), (tracks["split"] == TEST).to_numpy()
        # With more neighbours, the share could not reach 1 even for well-separated classes.
        neighbours = int(np.clip(tracks["label"].value_counts().min() - 1, 1, MAX_NEIGHBOURS))
        same = _same_class(values, label, neighbours)
        measures.append(
            {
                "features": name,
                "tracks": len(values),
                "width": values.shape[1],
                "trustworthiness": trustworthiness(values, coordinates, n_neighbors=MAX_NEIGHBOURS),
                "neighbours": neighbours,
                "same_class": same.mean(),
                "same_class_of_test": same[test].mean() if test.any() else np.nan,
                "same_class_in_picture": _same_class(coordinates, label, neighbours).mean(),
            }
        )
    table_of_points = pd.concat(points, ignore_index=True)
    table_of_measures = pd.DataFrame(measures)
    figure = plot_projection(table_of_points, table_of_measures, first.labels)
    return Projection(table_of_points, table_of_measures, figure)


def plot_projection(points: pd.DataFrame, measures: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """Plot the tables of a :class:`Projection`, three per row.

    Test tracks have an outline, unless all tracks are test tracks.
    """
    rows = -(-len(measures) // 3)
    columns = -(-len(measures) // rows)
    figure = PlainFigure(figsize=(5.2 * columns, 5 * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    colours = colormaps["tab10" if len(labels) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    for axis, measure in zip(axes, measures.itertuples(), strict=False):
        shown = points[points["features"] == measure.features]
        size = np.clip(6000 / len(shown), 4, 36)
        outlined = shown["split"] == TEST
        if outlined.all():
            outlined = ~outlined
        for number, label in enumerate(labels):
            of_class = shown["label"] == label
            axis.scatter(
                shown.loc[of_class, "x"],
                shown.loc[of_class, "y"],
                s=size,
                color=colours[number % len(colours)],
                marker=MARKERS[number % len(MARKERS)],
                edgecolors="black",
                alpha=0.8,
                linewidths=outlined[of_class] * np.sqrt(size) / 5,
            )
        test_share = f", of test tracks {measure.same_class_of_test:.0%}" if outlined.any() else ""
        axis.set_title(
            f"{measure.features}: {measure.tracks} tracks\n"
            f"nearest {measure.neighbours} of the same class: {measure.same_class:.0%}{test_share}",
            fontsize=10,
        )
        # The coordinates have no meaning.
        axis.set(xticks=[], yticks=[])
        axis.set_aspect("equal", adjustable="datalim")
    for axis in axes[len(measures) :]:
        axis.set_axis_off()
    handles = [
        axes[0].scatter([], [], color=colours[i % len(colours)], marker=MARKERS[i % len(MARKERS)])
        for i in range(len(labels))
    ]
    names = [*labels]
    if set(points["split"].dropna()) > {TEST}:
        handles.append(axes[0].scatter([], [], facecolors="none", edgecolors="black", marker="o"))
        names.append("test track")
    lines = -(-len(names) // (4 * columns))
    figure.legend(
        handles, names, loc="outside lower center", ncols=-(-len(names) // lines),
        frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _reduce_to_plane(
    values: np.ndarray, method: Method, perplexity: float, seed: int
) -> np.ndarray:
    neighbours = min(perplexity, (len(values) - 1) / 3)
    if method == "tsne":
        return TSNE(perplexity=neighbours, init="pca", random_state=seed).fit_transform(values)
    try:
        from umap import UMAP
    except ImportError as error:
        raise MgcError(
            f"UMAP is not installed: {pip_install('umap')}, or use --method tsne."
        ) from error
    return UMAP(n_neighbors=max(2, round(neighbours)), random_state=seed, n_jobs=1).fit_transform(
        values
    )


def _same_class(values: np.ndarray, label: np.ndarray, number: int) -> np.ndarray:
    """Return the share of each track's nearest neighbours in the same class."""
    neighbours = NearestNeighbors(n_neighbors=number).fit(values).kneighbors(return_distance=False)
    return (label[neighbours] == label[:, None]).mean(1)
