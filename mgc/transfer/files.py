"""Runs transfer experiments on feature tables or their files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mgc.core.writing import writes_folder
from mgc.errors import MgcError
from mgc.evaluation.results import Results
from mgc.transfer.combinations import load_tables, parse_combinations
from mgc.transfer.experiment import load_finished, run_transfer
from mgc.transfer.feature_table import FeatureTable
from mgc.transfer.fitting import Progress
from mgc.transfer.folds import make_plan, plan_like
from mgc.transfer.outcome import Transfer, check_output_folder
from mgc.transfer.probabilities import fold_results

Table = FeatureTable | str | os.PathLike[str]


@writes_folder("out", apart=True)
def transfer(
    features: Table | Sequence[Table],
    out: str | os.PathLike[str] | None = None,
    layers: str = "all",
    with_each: str | None = None,
    classifier: Literal["svm", "svm_rbf", "knn", "logistic"] = "svm",
    folds: int | None = None,
    folds_of: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    nested: bool = True,
    inner_folds: int | None = None,
    probabilities: bool = False,
    jobs: int = -1,
) -> Transfer:
    """Train a classifier on combinations of layers and score each of them.

    Example:
        >>> features = mgc.extract("data/gtzan", "best.ckpt", data="gtzan")
        >>> mgc.transfer(features, classifier="knn", folds=5)

    Args:
        features: One or more feature tables of the same tracks, or their Parquet files.
        out: Output folder. An interrupted experiment resumes from it. By default, nothing is
            written.
        layers: Comma-separated combinations, as for ``mgc transfer``; ``all`` for all of them.
        with_each: Layer to add to every combination of blocks.
        classifier: ``svm``, ``svm_rbf`` (RBF kernels only), ``knn`` or ``logistic``.
        folds: Number of stratified folds. Default: folds of the table, else its split, else 10.
        folds_of: Output folder of ``mgc crossval``, to use the same folds.
        seed: Seed for shuffling the tracks before making folds. By default, they keep the order of
            the table.
        nested: Whether to run nested cross-validation as well.
        inner_folds: Number of other folds used to choose the settings for each test fold. Default:
            all.
        probabilities: Whether to compute class probabilities for every track, returned as ``test``
            and ``validation``. Needs a single combination of layers.
        jobs: Number of processes; -1 is one per core.

    Raises:
        MgcError: If tables have different tracks, or arguments contradict each other.
    """
    given = [features] if isinstance(features, FeatureTable | str | os.PathLike) else features
    table = load_tables(given)
    chosen = parse_combinations(layers, list(table.layers), with_each=with_each)
    if probabilities and (len(chosen) > 1 or not nested):
        raise MgcError(
            "--probabilities needs the nested protocol and a single combination of layers. Select "
            f"it with --layers. Available layers: {', '.join(table.layers)}."
        )
    if folds_of is not None:
        if folds is not None or seed is not None or inner_folds is not None:
            raise MgcError("--folds_of excludes --folds, --seed and --inner_folds.")
        test, validation = (
            Results.load(Path(folds_of, stage)).tracks for stage in ("test", "validate")
        )
        plan = plan_like(table, test, validation, nested=nested)
    else:
        plan = make_plan(table, folds=folds, seed=seed, inner_folds=inner_folds, nested=nested)
    if out is not None:
        check_output_folder(Path(out))
    finished = out and load_finished(out, table, chosen, plan, classifier)
    if finished and not (probabilities and finished.test is None):
        return finished
    progress = Progress(None if out is None else Path(out, "progress.jsonl"))
    result = run_transfer(table, chosen, plan, classifier=classifier, jobs=jobs, progress=progress)
    if out is not None:
        result.save(out)  # kept even if the probabilities fail
    if probabilities:
        names = next(iter(chosen.values()))
        result.test, result.validation = fold_results(table, names, plan, result, jobs)
        if out is not None:
            result.save(out)
    return result
