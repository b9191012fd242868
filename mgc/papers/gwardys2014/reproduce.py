"""``mgc reproduce gwardys2014``: all rows of the tables of Gwardys and Grzywczak (2014)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgc.errors import MgcError
from mgc.papers.reproducing import describe_music, say
from mgc.training.options import refuse_options

if TYPE_CHECKING:
    import pandas as pd

COMPONENTS = ("original", "harmonic", "percussive")

#: Folds of which one is tested and one validates: the paper's 90 and 10 %.
FOLDS = 10

#: Settings of the data that `mgc extract` has options of its own for, or that say how tracks are
#: divided, which features do not depend on.
HANDLED_BY_EXTRACT = (
    "root", "split", "fold", "folds", "seed", "sample_rate", "clip_seconds", "hop_seconds",
    "clips_per_track", "batch_size", "num_workers", "max_broken",
)  # fmt: skip

TITLES = {
    "finetuned": "Table I: classification rates for fine-tuning",
    "svm": "Table III: classification rates for SVM features classification",
}

ROWS = {
    "original": "Original",
    "harmonic": "Harmonic",
    "percussive": "Percussive",
    "harmonic_percussive": "Harmonic + percussive",
    "all": "Original + harmonic + percussive",
    "all_fitted": "… weights fitted to validation tracks",
    "all_product": "… multiplied",
}


def reproduce_gwardys2014(
    *overrides: str,
    root: str,
    out: str = "runs/gwardys2014",
    config: str = "timm_finetune_gtzan",
    test_folds: int = 1,
    jobs: int | None = None,
) -> None:
    """Run every experiment of Gwardys and Grzywczak (2014), and set the results beside theirs.

    A network is fine-tuned on each of three versions of the songs (original, harmonic, percussive),
    by `mgc crossval`. The layer before the last of the network as it was before fine-tuning goes to
    an SVM per version, by `mgc extract` and `mgc transfer`, with the same test tracks. Both are
    merged with the paper's weights, with weights fitted to validation tracks, and by a product, by
    `mgc fuse`. Each command is shown before it runs. Interrupted, it goes on where it stopped when
    the same command is given again. Written to OUT: a folder for each system, tables.md with the
    paper's tables I and III, and report with confusion matrices.

    Words after `--` are options of `mgc fit` and change the configuration.

    Example: mgc reproduce gwardys2014 --root data/gtzan

    Example: mgc reproduce gwardys2014 --root data/gtzan --test_folds 10 --out runs/gwardys2014_cv
    -- --model.backbone resnet18

    Args:
        overrides: Options of `mgc fit`, given after `--`.
        root: Folder with GTZAN.
        out: Folder for everything.
        config: YAML file or name of a shipped configuration, as for `mgc fit`, with a
            timm_finetune model.
        test_folds: How many tenths of the tracks to test, each with a network trained on the
            others: 1 is the paper's single split, 10 is 10-fold cross-validation.
        jobs: Folds to run at the same time; by default one per GPU.

    Raises:
        MgcError: If settings are wrong, or an experiment fails.
    """
    from mgc.core.writing import replacing
    from mgc.evaluation.fusion import fuse
    from mgc.evaluation.tested_runs import load_runs
    from mgc.experiments.crossval import cross_validate
    from mgc.papers import gwardys2014
    from mgc.reports.experiment import make_report
    from mgc.transfer.extraction import extract_audio
    from mgc.transfer.files import transfer

    refuse_options(overrides, ("data.root", "model.component"), "reproduce gwardys2014")
    folder = Path(out)
    for component in COMPONENTS:
        words = [f"--data.root={root}", f"--model.component={component}", *overrides]
        place = str(folder / f"finetuned_{component}")
        say("crossval", config=config, folds=FOLDS, test_folds=test_folds, out=place, rest=words)
        summary = cross_validate(config, place, words, FOLDS, [0], test_folds, jobs)
        print(summary.text)
        print(f"Written to {place}")
    for component in COMPONENTS:
        trained = folder / f"finetuned_{component}"
        features, place = str(folder / f"{component}.parquet"), str(folder / f"svm_{component}")
        options = extract_options(trained)
        say("extract", root, out=features, **options)
        extract_audio([root], out=features, **options)
        fitting: dict[str, Any] = {
            "out": place,
            "layers": "penultimate",
            "classifier": "svm_rbf",
            "folds_of": str(trained),
            "probabilities": True,
            # Two fits a fold: starting processes takes longer.
            "jobs": 1,
        }
        say("transfer", features, **fitting)
        print(transfer([features], **fitting).text)
        print(f"Written to {place}")
    for system, merge, parts, options in merges():
        runs, place = [str(folder / f"{system}_{part}") for part in parts], f"{system}_{merge}"
        say("fuse", *runs, out=str(folder / place), **options)
        print(fuse(runs, out=folder / place, **options).report)
        print(f"Written to {folder / place}")
    systems = [f"{system}_{row}" for system in TITLES for row in ROWS]
    report = make_report(load_runs([folder / name for name in systems], systems), gwardys2014)
    report.save(folder / "report")
    tables = [table(report.systems, system) for system in TITLES]
    text = "\n".join([*tables, describe_music(root), ""])
    with replacing(folder / "tables.md") as partial:
        partial.write_text(text, encoding="utf-8")
    print(text)
    print(f"Written to {folder}")


def extract_options(trained: Path) -> dict[str, Any]:
    """Find out how to compute the features of the network that a fine-tuning started from.

    Args:
        trained: Folder that ``mgc crossval`` wrote.

    Returns:
        Options of ``mgc extract``.

    Raises:
        MgcError: If there is no configuration of the first fold.
    """
    import yaml

    from mgc.evaluation.results import Results

    checkpoints = Results.load(trained / "test").source["checkpoints"]
    checkpoint = Path(next(iter(checkpoints.values())))
    path = checkpoint.parent.parent / "config.yaml"
    if not path.is_file():
        raise MgcError(
            f"{path}: not there, though {trained} holds results of its run. Remove {trained}, and "
            "let training last an epoch at least."
        )
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    data, model = (settings[kind]["init_args"] for kind in ("data", "model"))
    return {
        "model": "timm_finetune",
        "model_args": model,
        "data": "gtzan",
        "data_args": {
            name: value for name, value in data.items() if name not in HANDLED_BY_EXTRACT
        },
        "layers": "penultimate",
        "sample_rate": data["sample_rate"],
        "clip_seconds": data["clip_seconds"],
        "hop_seconds": data["hop_seconds"],
        "resampling": "fast",
        # Several would start this command once more for each.
        "devices": 1,
    }


def merges() -> list[tuple[str, str, list[str], dict[str, Any]]]:
    """List the fusions: the system, the name, the components, and options of ``mgc fuse``."""
    from mgc.papers.gwardys2014 import WEIGHTS

    found: list[tuple[str, str, list[str], dict[str, Any]]] = []
    for system, weights in WEIGHTS.items():
        for merge, parts in (
            ("harmonic_percussive", ["harmonic", "percussive"]),
            ("all", list(COMPONENTS)),
        ):
            given = ",".join(f"{weights[part]:g}" for part in parts)
            found.append((system, merge, parts, {"method": "weighted", "weights": given}))
        fitted = {"method": "weighted", "fit_weights": "validation"}
        found.append((system, "all_fitted", list(COMPONENTS), fitted))
        found.append((system, "all_product", parts, {"method": "product", "weights": given}))
    return found


def table(systems: "pd.DataFrame", system: str) -> str:
    """Lay out one of the paper's tables with our figures beside.

    Args:
        systems: See :class:`mgc.reports.experiment.ExperimentReport`.
        system: ``finetuned`` or ``svm``.

    Returns:
        Markdown: correct tracks in %, with 95 % intervals over tracks.
    """
    from mgc.evaluation.intervals import name_intervals, read_intervals

    found = dict(zip(systems["system"], read_intervals(systems), strict=True))
    by_name = systems.set_index("system")
    intervals = name_intervals(found.values())
    lines = [f"## {TITLES[system]}", "", f"| | paper, % | ours, % | {intervals} |"]
    lines.append("| --- | --- | --- | --- |")
    for row, title in ROWS.items():
        ours = by_name.loc[f"{system}_{row}"]
        published = "" if ours["published"] != ours["published"] else f"{100 * ours.published:.0f}"
        interval = found[f"{system}_{row}"].scaled(100)
        lines.append(f"| {title} | {published} | {100 * ours['accuracy']:.1f} | {interval:.1f} |")
    tracks = systems["tracks"].max()
    lines += ["", f"{tracks} test tracks of ours, 100 of the paper.", ""]
    return "\n".join(lines)
