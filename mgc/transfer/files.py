"""Transfer experiments on feature tables or their files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mgc.errors import MgcError
from mgc.evaluation.results import Results
from mgc.transfer.combinations import load_tables, parse_combinations
from mgc.transfer.experiment import Progress, Transfer, run_transfer
from mgc.transfer.feature_table import FeatureTable
from mgc.transfer.folds import make_plan, plan_like
from mgc.transfer.probabilities import fold_results

Table = FeatureTable | str | os.PathLike[str]


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

    Args:
        features: One or several feature tables of the same tracks, or Parquet files that
            ``mgc extract`` wrote.
        out: Folder for the results. An interrupted experiment resumes from it. By default nothing
            is written.
        layers: Combinations, separated by commas, as for ``mgc transfer``; ``all`` by default.
        with_each: Layer that is joined to every combination of blocks.
        classifier: ``svm``; ``svm_rbf`` (RBF kernels only); ``knn``; ``logistic``.
        folds: Number of stratified folds. By default the folds of the table, else its split, else
            10 folds.
        folds_of: Folder that ``mgc crossval`` wrote, whose folds are used.
        seed: Seed that shuffles the tracks before folds are made; by default they keep the order
            of the table.
        nested: Whether to run nested cross-validation too.
        inner_folds: How many of the other folds choose the settings of each fold; by default all.
        probabilities: Whether to compute probabilities for every track: ``test`` and
            ``validation`` of the results. Needs one combination of layers.
        jobs: Number of processes; -1 is one per core.

    Returns:
        Scores, predictions and a summary.

    Raises:
        MgcError: If the tables or the settings do not fit together.
    """
    given = [features] if isinstance(features, FeatureTable | str | os.PathLike) else features
    table = load_tables(given)
    chosen = parse_combinations(layers, list(table.layers), with_each=with_each)
    if probabilities and (len(chosen) > 1 or not nested):
        raise MgcError(
            "--probabilities: give one combination of layers (--layers), and leave the nested "
            f"protocol on. The tables hold {', '.join(table.layers)}."
        )
    classes = table.targets if table.task == "multiclass" else None
    if folds_of is not None:
        if folds is not None or seed is not None or inner_folds is not None:
            raise MgcError("--folds_of brings its own folds: leave out --folds and --seed.")
        test, validation = (
            Results.load(Path(folds_of, stage)).tracks for stage in ("test", "validate")
        )
        plan = plan_like(table.tracks, test, validation, classes, table.labels, nested=nested)
    else:
        plan = make_plan(
            table.tracks,
            classes,
            table.labels,
            folds=folds,
            seed=seed,
            inner_folds=inner_folds,
            nested=nested,
        )
    progress = Progress(None if out is None else Path(out, "progress.jsonl"))
    result = run_transfer(table, chosen, plan, classifier=classifier, jobs=jobs, progress=progress)
    if out is not None:
        result.save(out)  # kept even if the probabilities fail
    if probabilities:
        layers_of = next(iter(chosen.values()))
        result.test, result.validation = fold_results(table, layers_of, plan, result, jobs)
        if out is not None:
            result.save(out)
    return result
