"""``mgc reproduce gwardys2014``: tables I and III of Gwardys and Grzywczak (2014)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mgc.configurations import find_configuration
from mgc.core.markdown import code
from mgc.core.ranges import Processes, Range
from mgc.core.terminal import print_line, print_text
from mgc.core.yaml_files import read_yaml
from mgc.errors import MgcError
from mgc.papers.reproducing import (
    Reproduction,
    describe_data,
    describe_overrides,
    load_finished,
    parse_names,
    run_command,
)
from mgc.runs.tracking import share_wandb_group
from mgc.training.options import check_reserved_options, read_settings

if TYPE_CHECKING:
    from mgc.evaluation.results import Results
    from mgc.papers.claims import Claim
    from mgc.papers.tables import Cell, ScoreTable

COMPONENTS = ("original", "harmonic", "percussive")

#: Parts of the experiment, for ``--only``.
PARTS = ("finetuned", "svm", "random", "fusion", "report")

#: Number of folds, one for testing and one for validation. The paper tests on 10 % of the tracks.
FOLDS = 10

#: Data settings that `mgc extract` has separate options for or that only affect splits.
IGNORED_DATA_SETTINGS = (
    "root", "split", "fold", "folds", "seed", "sample_rate", "clip_seconds", "hop_seconds",
    "clips_per_track", "batch_size", "num_workers", "max_broken", "train_on_val",
)  # fmt: skip

#: Kinds of systems and names of their columns. ``random`` is ``svm`` without ImageNet.
COLUMNS = {"finetuned": "fine-tuned", "svm": "SVM", "random": "SVM, random weights"}

#: Tables of accuracies and their kinds of systems.
TABLES = {
    "Table I: classification rates for fine-tuning": ("finetuned",),
    "Table III: classification rates for SVM features classification": ("svm", "random"),
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

#: Section V: adding the likelihoods of the SVMs was 2 % better than multiplying them.
PRODUCT_LOSS = 0.02


@share_wandb_group("gwardys2014")
def reproduce_gwardys2014(
    *overrides: str,
    root: str,
    out: str = "runs/gwardys2014",
    config: str = "timm_finetune_gtzan",
    test_folds: Annotated[int, Range(1, 1000)] = 1,
    jobs: Processes | None = None,
    only: str = "all",
) -> None:
    """Run all experiments of Gwardys and Grzywczak (2014) and compare with the published results.

    `mgc crossval` fine-tunes a network on each of three versions of the songs: original, harmonic
    and percussive. `mgc extract` and `mgc transfer` train an SVM per version on the penultimate
    layer of the network before fine-tuning, with the same test tracks, and on that of the network
    with random weights, to see what ImageNet contributes. `mgc fuse` merges each kind of systems
    with the paper's weights, with weights fitted to validation tracks, and by a product.
    Each command is printed before it runs. To resume an interrupted experiment, run the same
    command again.

    Writes to OUT: a folder for each system; tables.md with the paper's tables I and III beside our
    scores, tests of its claims, and differences from the paper; scores.csv and claims.csv with the
    same numbers; and a report with confusion matrices, tables II and IV.

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
        only: Parts to run, separated by commas, or all: finetuned, svm, random (SVMs on random
            weights), fusion, report.

    Raises:
        MgcError: If settings are invalid or an experiment fails.
    """
    check_reserved_options(overrides, ("data.root", "model.component"), "reproduce gwardys2014")
    parts = parse_names("only", only, PARTS)
    folder = Path(out)
    if "finetuned" in parts:
        for component in COMPONENTS:
            run_command(
                "crossval",
                f"--data.root={root}",
                f"--model.component={component}",
                *overrides,
                config=config,
                folds=FOLDS,
                test_folds=test_folds,
                out=str(folder / f"finetuned_{component}"),
                jobs=jobs,
            )
    for system in ("svm", "random"):
        for component in COMPONENTS if system in parts else ():
            trained = folder / f"finetuned_{component}"
            options = extract_options(trained)
            features = folder / f"{component}.parquet"
            if system == "random":
                options["model_args"] |= {"pretrained": False, "weights": None}
                features = folder / f"{component}_random.parquet"
            run_command("extract", [root], out=str(features), **options)
            run_command(
                "transfer",
                [str(features)],
                out=str(folder / f"{system}_{component}"),
                layers="penultimate",
                classifier="svm_rbf",
                folds_of=str(trained),
                probabilities=True,
                # With two fits per fold, processes take longer to start than to fit.
                jobs=1,
            )
    if "fusion" in parts:
        for system, merge, components, options in list_fusions():
            if not (folder / f"{system}_original").is_dir():
                continue
            runs = [str(folder / f"{system}_{component}") for component in components]
            run_command("fuse", runs, out=str(folder / f"{system}_{merge}"), **options)
    if "report" in parts:
        print_text(write_report(folder, root, config, overrides, test_folds))
        print_line(f"Written to {folder}")


def write_report(
    folder: Path, root: str, config: str, overrides: Sequence[str], test_folds: int
) -> str:
    """Write tables, claims and the experiment report of the finished systems.

    Returns:
        The text of tables.md.

    Raises:
        MgcError: If no system is finished, or data is missing.
    """
    from mgc.papers import gwardys2014
    from mgc.reports.experiment import make_report

    systems = {
        f"{system}_{row}": (title, column)
        for system, column in COLUMNS.items()
        for row, title in ROWS.items()
    }
    tested = load_finished(folder, list(systems))
    make_report(tested, gwardys2014).save(folder / "report")
    cells = {systems[run.name]: run.test for run in tested}
    notes = [describe_data(root), *describe_differences(config, overrides, test_folds)]
    return Reproduction(make_tables(cells), list_claims(), cells, notes).save(folder)


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
    for system, weights in (WEIGHTS | {"random": WEIGHTS["svm"]}).items():
        for merge, parts in (
            ("harmonic_percussive", ["harmonic", "percussive"]),
            ("all", list(COMPONENTS)),
        ):
            given = ",".join(f"{weights[part]:g}" for part in parts)
            found.append((system, merge, parts, {"method": "weighted", "weights": given}))
        fitted = {"method": "weighted", "fit_weights": "validation"}
        found.append((system, "all_fitted", list(COMPONENTS), fitted))
        # Section V multiplies the likelihoods without weights.
        found.append((system, "all_product", parts, {"method": "product"}))
    return found


def make_tables(cells: "Mapping[Cell, Results]") -> "list[ScoreTable]":
    """Return tables I and III, with our scores of the systems that have results."""
    from mgc.evaluation.intervals import score
    from mgc.papers.gwardys2014 import ACCURACY
    from mgc.papers.tables import ScoreTable

    tables = []
    for title, systems in TABLES.items():
        columns = [COLUMNS[system] for system in systems]
        published = {
            (name, COLUMNS[system]): (ACCURACY[f"{system}_{row}"][0] / 100, None)
            for system in systems
            for row, name in ROWS.items()
            if f"{system}_{row}" in ACCURACY
        }
        if "svm" in systems:
            merged = published[ROWS["all"], COLUMNS["svm"]][0]
            published[ROWS["all_product"], COLUMNS["svm"]] = merged - PRODUCT_LOSS, None
        ours = {cell: score(results) for cell, results in cells.items() if cell[1] in columns}
        tables.append(ScoreTable(title, list(ROWS.values()), columns, published, ours))
    return tables


def list_claims() -> "list[Claim]":
    """List the paper's claims about the order of systems."""
    from mgc.papers.claims import Claim

    finetuned, svm, random = COLUMNS.values()
    merged, product = ROWS["all"], ROWS["all_product"]
    single = [ROWS[component] for component in COMPONENTS]
    original = ROWS["original"]
    return [
        Claim(
            "Merged fine-tuned networks over the original one",
            (((merged, finetuned), (original, finetuned)),),
            "section VI: 4 %",
        ),
        Claim(
            "Merged SVMs over the original one",
            (((merged, svm), (original, svm)),),
            "section V: 10 %",
        ),
        Claim(
            "Added likelihoods over multiplied ones",
            (((merged, svm), (product, svm)),),
            "section V: 2 %",
        ),
        Claim(
            "SVMs over fine-tuning, both merged",
            (((merged, svm), (merged, finetuned)),),
            "section VI",
        ),
        Claim(
            "Features of ImageNet over those of random weights",
            tuple(((row, svm), (row, random)) for row in (*single, merged)),
            "section III: transfer of features; without figures",
        ),
    ]


def describe_differences(config: str, overrides: Sequence[str], test_folds: int) -> list[str]:
    """Describe how the experiment differs from the paper's, a paragraph each."""
    model = read_yaml(find_configuration(config))["model"]["init_args"]
    backbone = str(model.get("backbone", "the default"))
    for name, value, _ in read_settings(overrides):
        if name in ("model.backbone", "model.init_args.backbone"):
            backbone = str(value)
    found = [
        f"The network is {code(backbone)}; the paper's is CaffeNet: AlexNet with local response "
        "normalization and more channels than torchvision's `alexnet`. Fine-tuning ends at the "
        "best epoch on validation tracks, a tenth of the tracks; the paper trains on 900 tracks "
        "and takes the best model on training data.",
        f"Tested on {test_folds} of {FOLDS} folds; the paper on a single split, not published. "
        "Weights of merged systems are the paper's, and those fitted to validation tracks beside "
        "them.",
    ]
    return found + describe_overrides({"": overrides})
