"""``mgc fuse``: combine what several models said of the same tracks."""

from typing import Literal


def fuse(
    runs: list[str],
    out: str,
    method: Literal["fusion1", "fusion2", "weighted", "product"],
    weights: str = "",
    fit_weights: Literal["validation"] | None = None,
) -> None:
    """Combine the results of models that were tested on the same tracks (late fusion).

    Senac et al. (2017), section 4.3: `fusion1` averages the probabilities of all clips of all runs
    and takes the best class; `fusion2` averages the runs clip by clip, decides for each clip and
    takes the majority. `weighted` is a weighted mean of the runs' probabilities of a track,
    `product` a weighted geometric mean. Runs whose tracks, labels or folds differ are refused, for
    the methods by clip also those whose clips differ.

    Example: mgc fuse runs/crossval/stft runs/crossval/music --method fusion2 --out runs/fused

    Args:
        runs: Folders of runs or cross-validations, or of their results (with tracks.parquet).
        out: Folder for the fused results, which is one of results itself.
        method: fusion1, fusion2, weighted or product.
        weights: Weights of the runs for weighted and product, separated by commas; by default
            equal. They are scaled to a sum of 1.
        fit_weights: `validation` finds the weights that fit the validation tracks best (smallest
            log-loss; for regression smallest error), for every fold from its own ones.

    Raises:
        MgcError: If the runs do not belong together or the settings do not fit.
    """
    from mgc.evaluation import fusion

    print(fusion.fuse(runs, method, weights, fit_weights, out).report)
    print(f"Written to {out}")
