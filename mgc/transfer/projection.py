"""Pictures of features in the plane: one dot a track, tracks with like features side by side."""

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

from mgc.core.writing import all_or_nothing
from mgc.errors import MgcError
from mgc.installation import pip_install
from mgc.transfer.feature_table import FeatureTable

Method = Literal["tsne", "umap"]

#: Neighbours that the measures of a projection look at, at most.
NEIGHBOURS = 5

#: Split whose tracks have an outline.
TEST = "test"

#: Shapes of the dots, so that more classes than colours can be told apart, and in grey, too.
MARKERS = "osD^vP"


@dataclass
class Projection:
    """Tables of features in the plane.

    Attributes:
        points: A row per track and table: ``features`` (name of the table), ``track``, ``split``,
            ``label``, ``x``, ``y``.
        measures: A row per table: ``tracks``, ``width`` (numbers of a track), ``trustworthiness``
            (share of neighbours in the picture that are near in the features; 0 to 1, Venna and
            Kaski 2001), ``neighbours`` (how many the following look at: five, or all that a track
            of the smallest class has in it), ``same_class`` and ``same_class_in_picture`` (share of
            a track's nearest others that are of its class, by features and in the picture), and
            ``same_class_of_test`` (the same by features, of test tracks alone, whose neighbours may
            be of any split; nothing where there are none).
        figure: The picture.
    """

    points: pd.DataFrame
    measures: pd.DataFrame
    figure: Figure

    def save(self, folder: str | PathLike[str]) -> None:
        """Write ``projection.png``, ``projection.csv`` and ``measures.csv``.

        Args:
            folder: Folder to write to; it is made.
        """
        with all_or_nothing(folder) as out:
            self.points.to_csv(out / "projection.csv", index=False)
            self.measures.to_csv(out / "measures.csv", index=False)
            self.figure.savefig(out / "projection.png", dpi=150)


def project(
    tables: Mapping[str, FeatureTable],
    layers: Sequence[str] = (),
    split: str | None = None,
    method: Method = "tsne",
    perplexity: float = 30.0,
    seed: int = 0,
) -> Projection:
    """Project features of tracks to the plane, each table by itself.

    Every number is standardised first. t-SNE: van der Maaten and Hinton, "Visualizing
    high-dimensional data using t-SNE", JMLR 2008; started from the first two principal components,
    so that the same seed gives the same picture.

    Args:
        tables: Tables of features of the same classes, by name.
        layers: Layers to use, where a table has them; by default all.
        split: Show tracks of this split only.
        method: ``tsne``, or ``umap``, which needs the package umap-learn.
        perplexity: About how many neighbours a track should have near it; at most a third of the
            tracks is used.
        seed: Seed of the projection.

    Raises:
        MgcError: If a table has no classes, other classes, none of the layers, or too few tracks,
            or the perplexity is not above 0.
    """
    if not perplexity > 0:
        raise MgcError(f"perplexity={perplexity:g}: must be greater than 0.")
    first = next(iter(tables.values()))
    points, measures = [], []
    for name, table in tables.items():
        if table.task != "multiclass" or not table.labels:
            raise MgcError(f"{name}: has no classes to colour the tracks by.")
        if table.labels != first.labels:
            raise MgcError(f"{name}: has other classes than the first table. Show them apart.")
        chosen = [layer for layer in table.layers if not layers or layer in layers]
        if not chosen:
            raise MgcError(
                f"{name}: has none of the layers {', '.join(layers)}, but "
                f"{', '.join(table.layers)}."
            )
        rows = np.ones(len(table.tracks), bool)
        if split is not None:
            rows = (table.tracks["split"] == split).to_numpy()
        values = np.concatenate([table.layers[layer] for layer in chosen], 1)[rows]
        if len(values) <= 2 * NEIGHBOURS:
            of = f" of the split {split}" if split else ""
            raise MgcError(
                f"{name}: {len(values)} tracks{of} are too few for a picture: more than "
                f"{2 * NEIGHBOURS} are needed."
            )
        if values.shape[1] < 2:
            raise MgcError(f"{name}: one number a track makes no picture. Choose other layers.")
        if not np.isfinite(values).all():
            raise MgcError(f"{name}: holds values that are not finite. Extract the features anew.")
        values = StandardScaler().fit_transform(values)
        place = _plane(values, method, perplexity, seed)
        tracks = table.tracks.loc[rows, ["track", "split", "label"]]
        points.append(tracks.assign(x=place[:, 0], y=place[:, 1]))
        points[-1].insert(0, "features", name)
        label, test = tracks["label"].to_numpy(), (tracks["split"] == TEST).to_numpy()
        # With more, even classes far apart would not reach 1.
        near = int(np.clip(tracks["label"].value_counts().min() - 1, 1, NEIGHBOURS))
        same = _same_class(values, label, near)
        measures.append(
            {
                "features": name,
                "tracks": len(values),
                "width": values.shape[1],
                "trustworthiness": trustworthiness(values, place, n_neighbors=NEIGHBOURS),
                "neighbours": near,
                "same_class": same.mean(),
                "same_class_of_test": same[test].mean() if test.any() else np.nan,
                "same_class_in_picture": _same_class(place, label, near).mean(),
            }
        )
    table_of_points = pd.concat(points, ignore_index=True)
    table_of_measures = pd.DataFrame(measures)
    figure = plot_projection(table_of_points, table_of_measures, first.labels)
    return Projection(table_of_points, table_of_measures, figure)


def plot_projection(points: pd.DataFrame, measures: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """Draw tables of features side by side, up to three in a row.

    Test tracks have an outline, where there are others beside them.

    Args:
        points: See :class:`Projection`.
        measures: See :class:`Projection`.
        labels: Names of the classes.
    """
    rows = -(-len(measures) // 3)
    columns = -(-len(measures) // rows)
    figure = Figure(figsize=(5.2 * columns, 5 * rows + 0.9), layout="constrained")
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
        of_test = f", of test tracks {measure.same_class_of_test:.0%}" if outlined.any() else ""
        axis.set_title(
            f"{measure.features}: {measure.tracks} tracks\n"
            f"nearest {measure.neighbours} of the same class: {measure.same_class:.0%}{of_test}",
            fontsize=10,
        )
        # Distances have no unit, and axes no meaning.
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


def _plane(values: np.ndarray, method: Method, perplexity: float, seed: int) -> np.ndarray:
    near = min(perplexity, (len(values) - 1) / 3)
    if method == "tsne":
        return TSNE(perplexity=near, init="pca", random_state=seed).fit_transform(values)
    try:
        from umap import UMAP
    except ImportError as error:
        raise MgcError(
            f"UMAP needs another package: {pip_install('umap')}, or use --method tsne."
        ) from error
    return UMAP(n_neighbors=max(2, round(near)), random_state=seed, n_jobs=1).fit_transform(values)


def _same_class(values: np.ndarray, label: np.ndarray, number: int) -> np.ndarray:
    """Share of the nearest neighbours of each track that are of its class."""
    near = NearestNeighbors(n_neighbors=number).fit(values).kneighbors(return_distance=False)
    return (label[near] == label[:, None]).mean(1)
