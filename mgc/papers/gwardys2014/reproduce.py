"""``mgc reproduce gwardys2014``: tables I and III of Gwardys and Grzywczak (2014)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mgc.core.ranges import Processes, Range
from mgc.core.terminal import print_line, print_text
from mgc.core.yaml_files import read_yaml
from mgc.errors import MgcError
from mgc.papers.reproducing import describe_data, print_command
from mgc.training.options import check_reserved_options

if TYPE_CHECKING:
    import pandas as pd

COMPONENTS = ("original", "harmonic", "percussive")

#: Number of folds, one for testing and one for validation. The paper tests on 10 % of the tracks.
FOLDS = 10

#: Data settings that `mgc extract` has separate options for or that only affect splits.
IGNORED_DATA_SETTINGS = (
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
    test_folds: Annotated[int, Range(1, 1000)] = 1,
    jobs: Processes | None = None,
) -> None:
    """Run all experiments of Gwardys and Grzywczak (2014) and compare with the published results.

    `mgc crossval` fine-tunes a network on each of three versions of the songs: original, harmonic
    and percussive. `mgc extract` and `mgc transfer` train an SVM per version on the penultimate
    layer of the network before fine-tuning, with the same test tracks. `mgc fuse` merges both kinds
    of systems with the paper's weights, with weights fitted to validation tracks, and by a product.
    Each command is printed before it runs. To resume an interrupted experiment, run the same
    command again.

    Writes to OUT: a folder for each system, tables.md with the paper's tables I and III, and a
    report with confusion matrices.

    Arguments after `--` are options of `mgc fit` and change the configuration.

    Example: mgc reproduce gwardys2014 --root data/gtzan

    Example: mgc reproduce gwardys2014 --root data/gtzan --test_folds 10 --out runs/gwardys2014_cv
    -- --model.backbone resnet18

    Args:
        overrides: Options of `mgc fit`, given after `--`.
        root: Folder with GTZAN.
        out: Output folder.
        config: YAML file or name of a shipped configuration, as for `mgc fit`, with a
            timm_finetune model.
        test_folds: Number of folds to test, of 10: 1 is the paper's single split, 10 is 10-fold
            cross-validation.
        jobs: Number of folds to run in parallel; by default the number of GPUs, or 1.

    Raises:
        MgcError: If settings are invalid or an experiment fails.
    """
    from mgc.core.writing import replacing
    from mgc.evaluation.fusion import fuse
    from mgc.evaluation.tested_runs import load_runs
    from mgc.experiments.crossval import cross_validate
    from mgc.papers import gwardys2014
    from mgc.reports.experiment import make_report
    from mgc.transfer.extraction import extract_audio
    from mgc.transfer.files import transfer

    check_reserved_options(overrides, ("data.root", "model.component"), "reproduce gwardys2014")
    folder = Path(out)
    for component in COMPONENTS:
        fit_options = [f"--data.root={root}", f"--model.component={component}", *overrides]
        results_folder = str(folder / f"finetuned_{component}")
        given: dict[str, Any] = {"folds": FOLDS, "test_folds": test_folds, "out": results_folder}
        print_command("crossval", config=config, rest=fit_options, **given)
        summary = cross_validate(config, results_folder, fit_options, FOLDS, [0], test_folds, jobs)
        print_text(summary.text)
        print_line(f"Written to {results_folder}")
    for component in COMPONENTS:
        trained = folder / f"finetuned_{component}"
        features = str(folder / f"{component}.parquet")
        results_folder = str(folder / f"svm_{component}")
        options = extract_options(trained)
        print_command("extract", root, out=features, **options)
        extract_audio([root], out=features, **options)
        fitting: dict[str, Any] = {
            "out": results_folder,
            "layers": "penultimate",
            "classifier": "svm_rbf",
            "folds_of": str(trained),
            "probabilities": True,
            # With two fits per fold, processes take longer to start than to fit.
            "jobs": 1,
        }
        print_command("transfer", features, **fitting)
        print_text(transfer([features], **fitting).text)
        print_line(f"Written to {results_folder}")
    for system, merge, parts, options in list_fusions():
        runs = [str(folder / f"{system}_{part}") for part in parts]
        results_folder = str(folder / f"{system}_{merge}")
        print_command("fuse", *runs, out=results_folder, **options)
        print_text(fuse(runs, out=results_folder, **options).report)
        print_line(f"Written to {results_folder}")
    systems = [f"{system}_{row}" for system in TITLES for row in ROWS]
    report = make_report(load_runs([folder / name for name in systems], systems), gwardys2014)
    report.save(folder / "report")
    tables = [scores_table(report.systems, system) for system in TITLES]
    text = "\n".join([*tables, describe_data(root), ""])
    with replacing(folder / "tables.md") as partial:
        partial.write_text(text, encoding="utf-8")
    print_text(text)
    print_line(f"Written to {folder}")


def extract_options(trained: Path) -> dict[str, Any]:
    """Return the ``mgc extract`` options for features of the network before fine-tuning.

    Args:
        trained: Output folder of ``mgc crossval``.

    Raises:
        MgcError: If the first fold has no configuration.
    """
    from mgc.evaluation.results import Results

    checkpoints = Results.load(trained / "test").source["checkpoints"]
    checkpoint = Path(next(iter(checkpoints.values())))
    path = checkpoint.parent.parent / "config.yaml"
    if not path.is_file():
        raise MgcError(
            f"{path} is missing, although {trained} has test results. Remove {trained} and train "
            "for at least one epoch."
        )
    settings = read_yaml(path)
    data, model = (settings[kind]["init_args"] for kind in ("data", "model"))
    return {
        "model": "timm_finetune",
        "model_args": model,
        "data": "gtzan",
        "data_args": {
            name: value for name, value in data.items() if name not in IGNORED_DATA_SETTINGS
        },
        "layers": "penultimate",
        "sample_rate": data["sample_rate"],
        "clip_seconds": data["clip_seconds"],
        "hop_seconds": data["hop_seconds"],
        "resampling": "fast",
        # With several devices, Lightning would run this command once per device.
        "devices": 1,
    }


def list_fusions() -> list[tuple[str, str, list[str], dict[str, Any]]]:
    """List the fusions: system, name, components, options of ``mgc fuse``."""
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


def scores_table(systems: "pd.DataFrame", system: str) -> str:
    """Format one of the paper's tables with our scores in Markdown: accuracy in %, with intervals.

    Args:
        systems: ``systems`` of :class:`mgc.reports.experiment.ExperimentReport`.
        system: ``finetuned`` or ``svm``.
    """
    from mgc.core import markdown
    from mgc.evaluation.intervals import name_intervals, read_intervals

    found = dict(zip(systems["system"], read_intervals(systems), strict=True))
    by_name = systems.set_index("system")
    intervals = name_intervals(found.values())
    cells = []
    for row, title in ROWS.items():
        ours = by_name.loc[f"{system}_{row}"]
        published = "" if ours["published"] != ours["published"] else f"{100 * ours.published:.0f}"
        interval = found[f"{system}_{row}"].scaled(100)
        cells.append([title, published, f"{100 * ours['accuracy']:.1f}", f"{interval:.1f}"])
    return "\n".join(
        [
            markdown.heading(TITLES[system], 2),
            "",
            markdown.table(["", "paper, %", "ours, %", intervals], cells),
            "",
            f"Ours: {systems['tracks'].max()} test tracks; the paper: 100.",
            "",
        ]
    )
