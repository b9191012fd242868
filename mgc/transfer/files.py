"""A transfer experiment from files to files: feature tables in, scores and probabilities out."""

from pathlib import Path
from typing import Literal

from mgc.errors import MgcError
from mgc.evaluation.results import Results
from mgc.transfer.combinations import load_tables, parse_combinations
from mgc.transfer.experiment import METRICS, Progress, Transfer, run_transfer
from mgc.transfer.folds import make_plan, plan_like
from mgc.transfer.probabilities import fold_results


def transfer_tables(
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
) -> tuple[Transfer, str]:
    """Fit a classifier on combinations of layers, and write scores, predictions and a summary.

    Arguments are those of ``mgc transfer``.

    Returns:
        The results, and a table of them in words.

    Raises:
        MgcError: If the tables or the settings do not fit together.
    """
    table = load_tables(features)
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
    progress = Progress(Path(out, "progress.jsonl"))
    result = run_transfer(table, chosen, plan, classifier=classifier, jobs=jobs, progress=progress)
    result.save(out)
    if probabilities:
        tested, validated = fold_results(table, next(iter(chosen.values())), plan, result, jobs)
        tested.save(Path(out, "test"))
        if validated is not None:
            validated.save(Path(out, "validate"))
    shown = result.summary.sort_values(["target", "paper"], ascending=[True, False])
    shown = shown.drop(columns=["metric", "paper_setting", "full_grid_setting"])
    words = [
        f"{len(table.tracks)} tracks, {plan.description}",
        f"{METRICS[table.task]} by layers:",
        shown.to_string(index=False, float_format="{:.3f}".format),
        f"Written to {out}",
    ]
    return result, "\n".join(words)
