"""``mgc transfer``: train classifiers on extracted features."""

from typing import Annotated, Literal

from mgc.core.ranges import Folds, Processes, Range, Seed
from mgc.core.terminal import print_line, print_text


def transfer(
    features: list[str],
    out: str,
    layers: str = "all",
    with_each: str | None = None,
    classifier: Literal["svm", "svm_rbf", "knn", "logistic"] = "svm",
    folds: Folds | None = None,
    folds_of: str | None = None,
    seed: Seed | None = None,
    nested: bool = True,
    inner_folds: Annotated[int, Range(1, 1000)] | None = None,
    probabilities: bool = False,
    jobs: Processes | Literal[-1] = -1,
) -> None:
    """Train a classifier on each combination of layers and report its scores.

    Scores are reported for two protocols. `paper` tunes on the test folds and is therefore
    optimistic: it is the mean test score of the best setting, without standardisation, as published
    by Choi et al. (2017). `full_grid` also tries standardised features, as described in the paper.
    `nested` tunes all settings, including standardisation, within each training fold, and has a
    95 % interval over tracks and a standard deviation over folds. The SVM's grid is that of the
    paper: linear or RBF kernel, gamma 1/2³, 1/2⁵, … 1/2¹³ or 1 / number of features, C 0.1, 2, 8 or
    32. To resume an interrupted run, run the same command again.

    Example: mgc transfer gtzan.parquet gtzan_mfcc.parquet --layers all --out results/gtzan

    Example: mgc transfer harmonic.parquet --layers penultimate --probabilities --out svm/harmonic,
    then mgc fuse svm/harmonic svm/percussive --method weighted --weights 0.2,0.8 --out svm/both

    Args:
        features: Feature tables of the same tracks, written by `mgc extract`.
        out: Folder for the results: summary.csv, scores.parquet, predictions.parquet.
        layers: Combinations, separated by commas, such as 123,135,mfcc,12345+mfcc. Digits are block
            numbers, other layers are given by name. `all` is every combination of blocks, and every
            other layer alone and with all blocks.
        with_each: Layer to add to every combination of blocks, such as mfcc.
        classifier: svm; svm_rbf (RBF kernel only); knn (nearest neighbours); logistic (ridge
            regression for regression tasks).
        folds: Number of stratified folds to create. By default the folds given in the table, else
            its split into train, val and test, else 10 folds.
        folds_of: Output folder of `mgc crossval`. Uses its test folds, and tunes on its validation
            folds, so that results can be compared and fused.
        seed: Seed to shuffle the tracks before creating folds. By default folds follow the order of
            the table, which keeps neighbours (often of one artist) together.
        nested: Whether to run the nested protocol too. It takes about four times as long.
        inner_folds: Number of folds used to tune the settings for each test fold, rounded up to an
            even number. By default all other folds. 2 makes the nested protocol feasible for large
            data sets.
        probabilities: Also write class probabilities of the nested protocol to OUT/test and
            OUT/validate, for `mgc fuse` and `mgc report experiment`. Needs a single combination of
            layers. SVM probabilities are calibrated on training tracks (Platt scaling).
        jobs: Number of processes; -1 is one per core, the maximum.

    Raises:
        MgcError: If the tables do not match or a setting is wrong.
    """
    given = dict(locals())
    from mgc.transfer import files

    print_text(files.transfer(**given).text)
    print_line(f"Written to {out}")
