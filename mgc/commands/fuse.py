"""``mgc fuse``: combine predictions of several models."""

from typing import Literal

from mgc.core.terminal import print_line, print_text


def fuse(
    runs: list[str],
    out: str,
    method: Literal["fusion1", "fusion2", "weighted", "product"],
    weights: str = "",
    fit_weights: Literal["validation"] | None = None,
) -> None:
    """Combine predictions of models tested on the same tracks (late fusion).

    `fusion1` averages the probabilities of all clips and runs and takes the best class. `fusion2`
    averages the runs clip by clip, classifies each clip and takes the majority (Senac et al. 2017,
    section 4.3). `weighted` is the weighted arithmetic mean of the runs' track probabilities,
    `product` the weighted geometric mean. All runs must have the same tracks, labels and folds, for
    fusion1 and fusion2 also the same clips.

    Example: mgc fuse runs/crossval/stft runs/crossval/music --method fusion2 --out runs/fused

    Args:
        runs: Folders of runs or cross-validations, or of their results (with tracks.parquet).
        out: Folder for the fused results; other commands read it like a run.
        method: fusion1, fusion2, weighted or product.
        weights: Weights of the runs for weighted and product, separated by commas; by default
            equal. They are scaled to a sum of 1.
        fit_weights: `validation` fits the weights on the validation tracks of each fold (smallest
            log-loss; for regression smallest error).

    Raises:
        MgcError: If the runs do not match or a setting is wrong.
    """
    from mgc.evaluation import fusion

    print_text(fusion.fuse(runs, method, weights, fit_weights, out).report)
    print_line(f"Written to {out}")
