"""``mgc report projection``: features of tracks in the plane."""

from pathlib import Path
from typing import Literal


def report_projection(
    features: list[str],
    out: str,
    names: str = "",
    layers: str = "",
    split: Literal["train", "val", "test"] | None = None,
    method: Literal["tsne", "umap"] = "tsne",
    perplexity: float = 30.0,
    seed: int = 0,
    wandb: bool = False,
    project: str = "mgc",
) -> None:
    """Draw the tracks of feature tables in the plane, coloured by genre, several side by side.

    Writes projection.png, projection.csv (place of every track) and measures.csv: how far the
    picture can be trusted, and the share of a track's five nearest others that are of its genre,
    which says in a number what the picture shows. Tracks that a network was trained on lie apart
    by genre more than others: test tracks have an outline and a share of their own
    (same_class_of_test), and --split test shows them alone.

    Example: mgc report projection kcnn.parquet sparse_coding.parquet --out report --split test

    Args:
        features: Feature tables of the same classes, written by mgc extract.
        out: Folder for the picture.
        names: Names of the tables, separated by commas; by default those of the files.
        layers: Layers to use, separated by commas, where a table has them; by default all.
        split: Show tracks of this split only: train, val or test. Tables hold a split where the
            data set gives one, or with --keep_split of mgc extract.
        method: tsne, or umap, which needs the extra `umap` of mgc.
        perplexity: About how many neighbours a track should have near it.
        seed: Seed of the projection.
        wandb: Whether to log picture and measures to Weights & Biases.
        project: Project in Weights & Biases.

    Raises:
        MgcError: If a table is missing, or the tables do not go together.
    """
    from mgc.errors import MgcError
    from mgc.transfer.feature_table import FeatureTable
    from mgc.transfer.projection import project as make_projection

    given = [name.strip() for name in names.split(",") if name.strip()]
    called = given or [Path(path).stem for path in features]
    if len(called) != len(features) or len(set(called)) < len(called):
        raise MgcError(
            f"Give {len(features)} different names, one per table: --names A,B, not "
            f"{', '.join(called)}."
        )
    projection = make_projection(
        {name: FeatureTable.load(path) for name, path in zip(called, features, strict=True)},
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
            f"projection {', '.join(called)}",
            "report",
            project,
            {"projection_measures": projection.measures},
            [Path(out, "projection.png")],
        )
    print(projection.measures.to_string(index=False, float_format="{:.3f}".format))
    print(f"Written to {out}")
