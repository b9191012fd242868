"""``mgc report projection``: plot features in two dimensions."""

from pathlib import Path
from typing import Annotated, Literal

from mgc.core.ranges import Range, Seed
from mgc.core.terminal import print_line, print_text
from mgc.core.writing import writes_folder


@writes_folder("out")
def report_projection(
    features: list[str],
    out: str,
    names: str = "",
    layers: str = "",
    split: Literal["train", "val", "test"] | None = None,
    method: Literal["tsne", "umap"] = "tsne",
    perplexity: Annotated[float, Range(0, 10000, closed="right")] = 30.0,
    seed: Seed = 0,
    wandb: bool = False,
    project: str = "mgc",
) -> None:
    """Plot the tracks of feature tables in two dimensions, coloured by genre, side by side.

    Writes projection.png, projection.csv (coordinates of every track) and measures.csv:
    trustworthiness of the projection, and the mean share of a track's five nearest neighbours that
    have the same genre. A network separates the genres of its training tracks better than those of
    new tracks. Therefore test tracks are outlined and measured separately (same_class_of_test).
    With --split test, only test tracks are shown.

    Example: mgc report projection kcnn.parquet sparse_coding.parquet --out report --split test

    Args:
        features: Feature tables of the same classes, written by mgc extract.
        out: Folder for the results.
        names: Names of the tables, separated by commas; by default those of the files.
        layers: Layers to use in each table that has them, separated by commas; by default all.
        split: Show only tracks of this split: train, val or test. Tables have a split if the data
            set has one, or with --keep_split of mgc extract.
        method: tsne, or umap, which needs the extra `umap` of mgc.
        perplexity: Perplexity of t-SNE, or number of neighbours of UMAP.
        seed: Seed of the projection.
        wandb: Whether to log plot and measures to Weights & Biases.
        project: Project in Weights & Biases.

    Raises:
        MgcError: If a table is missing, or the tables do not match.
    """
    from mgc.errors import MgcError
    from mgc.transfer.feature_table import FeatureTable
    from mgc.transfer.projection import project as make_projection

    given = [name.strip() for name in names.split(",") if name.strip()]
    table_names = given or [Path(path).stem for path in features]
    if len(table_names) != len(features) or len(set(table_names)) < len(table_names):
        raise MgcError(
            f"--names {','.join(table_names)}: expected {len(features)} different names, one per "
            "table."
        )
    projection = make_projection(
        {name: FeatureTable.load(path) for name, path in zip(table_names, features, strict=True)},
        [layer.strip() for layer in layers.split(",") if layer.strip()],
        split,
        method,
        perplexity,
        seed,
    )
    projection.save(out)
    if wandb:
        from mgc.runs.tracking import log_results

        log_results(
            f"projection {', '.join(table_names)}",
            "report",
            project,
            {"projection_measures": projection.measures},
            [Path(out, "projection.png")],
        )
    print_text(projection.measures.to_string(index=False, float_format="{:.3f}".format))
    print_line(f"Written to {out}")
