"""``mgc transfer``: what the layers of a model are worth for another task."""

from typing import Literal


def transfer(
    features: list[str],
    out: str,
    layers: str = "all",
    with_each: str | None = None,
    classifier: Literal["svm", "svm_rbf", "knn", "logistic"] = "svm",
    folds: int | None = None,
    folds_of: str | None = None,
    seed: int | None = None,
    nested: bool = True,
    inner_folds: int | None = None,
    probabilities: bool = False,
    jobs: int = -1,
) -> None:
    """Fit a classifier on combinations of layers and report how well each serves the task.

    Two protocols are reported. `paper` is the best setting's mean score over the test folds, of
    features as they are: optimistic, and what Choi et al. (2017) published (`full_grid` also tries
    standardised features, as their text says). `nested` chooses the settings, standardisation
    among them, within each training fold; with its 95 % interval over tracks and its standard
    deviation over folds. The grid of the support vector machine is that of the paper: kernel linear
    or RBF, gamma 1/2³, 1/2⁵, … 1/2¹³ or 1 / number of features, C 0.1, 2, 8 or 32. An interrupted
    run goes on where it stopped when the same command is given again.

    Example: mgc transfer gtzan.parquet gtzan_mfcc.parquet --layers all --out results/gtzan

    Example: mgc transfer harmonic.parquet --layers penultimate --probabilities --out svm/harmonic,
    then mgc fuse svm/harmonic svm/percussive --method weighted --weights 0.2,0.8 --out svm/both

    Args:
        features: Feature tables of the same tracks, written by `mgc extract`.
        out: Folder for the results: summary.csv, scores.parquet, predictions.parquet.
        layers: Combinations, separated by commas: digits count the blocks, other layers have their
            names, as in 123,135,mfcc,12345+mfcc. `all` is every combination of blocks, every other
            layer alone and with all the blocks.
        with_each: Layer that is also joined to every combination of blocks, such as mfcc.
        classifier: svm; svm_rbf (RBF kernels only); knn (nearest neighbours); logistic (ridge
            regression for quantities).
        folds: Number of folds to make, stratified by class. By default the folds given in the
            table, else its split into train, val and test, else 10 folds.
        folds_of: Folder that `mgc crossval` wrote: its test folds are used, and its validation
            folds choose the settings, so that results can be compared and fused.
        seed: Shuffle the tracks before folds are made. By default folds are cut in the order of the
            table, which keeps neighbours (often of one artist) together.
        nested: Whether to run the nested protocol too; it takes about four times as long again.
        inner_folds: How many of the other folds choose the settings of each fold (rounded up to
            an even number). By default all; 2 makes the nested protocol of large sets feasible.
        probabilities: Also write how likely each class is for every track of the nested protocol,
            to OUT/test and OUT/validate, for `mgc fuse` and `mgc report experiment`; of one
            combination of layers. Those of support vector machines are calibrated (Platt) on
            training tracks.
        jobs: Number of processes; -1 is one per core.

    Raises:
        MgcError: If the tables or the settings do not fit together.
    """
    given = dict(locals())
    from mgc.transfer import files

    print(files.transfer(**given).text)
    print(f"Written to {out}")
