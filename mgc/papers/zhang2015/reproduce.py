"""``mgc reproduce zhang2015``: tables 2 and 3, figure 3 and section 4.4 of Zhang et al. (2015)."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mgc import registry
from mgc.configurations import find_configuration
from mgc.core.ranges import Processes, Range
from mgc.core.terminal import print_line, print_text
from mgc.core.yaml_files import read_yaml
from mgc.errors import MgcError
from mgc.papers.reproducing import (
    Reproduction,
    describe_data,
    describe_overrides,
    parse_names,
    run_command,
)
from mgc.runs.tracking import share_wandb_group
from mgc.training.options import check_reserved_options, group_options, option_name, read_settings

if TYPE_CHECKING:
    from mgc.papers.zhang2015.tables import Row

Data = Literal["gtzan", "ismir2004"]

#: Registered names of the plugin's networks.
COMPETITORS = {
    "sparse_coding": "segment_sparse_coding",
    "autoencoder": "segment_autoencoder",
    "dbn": "segment_dbn",
}
PLUGIN = "mgc-segment-codes"

#: Parts of the experiment, for ``--only``.
PARTS = ("tables", "figure3", "study")

#: Number of folds (section 4.1). 1 means the given split of ISMIR 2004.
FOLDS = {"gtzan": 10, "ismir2004": 1}

#: Data settings that `mgc extract` has options for or does not need.
IGNORED_DATA_SETTINGS = (
    "root", "sample_rate", "clip_seconds", "hop_seconds", "clips_per_track", "batch_size",
    "num_workers", "train_on_val",
)  # fmt: skip

#: Difference from the paper: which tracks are used for training.
TRAINING = (
    "SVMs are tuned on the validation tracks and then fitted on training and validation tracks. "
    "Networks are trained on the training tracks only: on all folds but two, where the paper's "
    "learn from all but one, because the paper does not give the number of epochs; the best on the "
    "validation tracks is tested. `--data.train_on_val true` trains on all but one and tests "
    "the last of `--trainer.max_epochs`."
)

#: Choices where the paper is not clear.
CODES = (
    "DBN: the paper reimplements the system of Hamel and Eck (2010), which concatenates outputs "
    "of all layers; the paper does not say which layers it uses. Ours concatenates all of them; "
    "`--model.all_layers false` uses the topmost only."
)

#: The paper's "nonlinear SVM" (section 4.5): RBF kernel only.
CLASSIFIER = "svm_rbf"


@share_wandb_group("zhang2015")
def reproduce_zhang2015(
    *overrides: str,
    root: str,
    data: Data = "gtzan",
    features: str = "MEL,SFM,SCF,ALL",
    systems: str = "all",
    folds: Annotated[int, Range(3, 1000)] | None = None,
    test_folds: Annotated[int, Range(1, 1000)] | None = None,
    repeats: Annotated[int, Range(1, 1000)] = 1,
    out: str | None = None,
    jobs: Processes | None = None,
    configs: str = "",
    competitors: str = "",
    only: str = "tables,figure3",
) -> None:
    """Run all experiments of Zhang et al. (2015) and compare the results with the published ones.

    `mgc crossval` trains each network with each feature. For the rows with an SVM, `mgc extract`
    computes song representations with each fold's checkpoint, and `mgc transfer` trains an SVM with
    an RBF kernel on them, tuned on the fold's validation tracks. Each command is printed before it
    runs. To resume an interrupted experiment, run the same command again. Other features, systems,
    --test_folds or --repeats with the same OUT extend the same table; different tracks or splits
    raise an error.

    Writes to OUT: a folder for each row and feature; tables.md, which compares our scores with the
    paper's and tests its claims, updated after each network; and at the end, for each feature, a
    report with confusion matrices, and figure 3: song representations projected by t-SNE. With
    `--only study`, it trains KCNNs that differ from the paper's in window size, k, or number of
    units (section 4.4), and adds study.csv and study.png.

    The rows of sparse coding, autoencoder and deep belief net need the plugin mgc-segment-codes.
    Arguments after `--` are options of `mgc fit` for all networks; a model setting is passed only
    to networks that have it.

    In the paper's folds of GTZAN, training and test tracks share artists. For splits without shared
    artists, use `--folds 1 -- --data.split=fault_filtered` or `--data ismir2004 --folds 5`.

    Example: mgc reproduce zhang2015 --root data/gtzan

    Example: mgc reproduce zhang2015 --root data/gtzan --features MEL --test_folds 1
    --out runs/zhang2015_mel -- --model.table_lr 2 --trainer.max_epochs 60

    Example: mgc reproduce zhang2015 --root data/ismir2004 --data ismir2004 --repeats 10

    Example: mgc reproduce zhang2015 --root data/gtzan --only study --features MEL --test_folds 1
    --repeats 10

    Args:
        overrides: Options of `mgc fit`, given after `--`.
        root: Folder with the data set.
        data: Data set: gtzan (table 2) or ismir2004 (table 3).
        features: Columns, separated by commas: MEL, SFM, SCF, ALL.
        systems: Rows, separated by commas: sparse_coding, autoencoder, dbn, kcnn_frozen, kcnn,
            kcnn_k1_svm, kcnn_svm, and those of a KCNN whose lookup tables have a higher learning
            rate, kcnn_table_lr, kcnn_table_lr_svm; or all.
        folds: Number of folds; by default 10 for GTZAN, as in the paper, and 1 for ISMIR 2004,
            which means the split in the configuration.
        test_folds: Number of folds to train and test, starting with the first; by default all.
        repeats: Number of runs with different seeds; the paper reports means of 10.
        out: Output folder; by default runs/zhang2015/DATA.
        jobs: Number of folds to run in parallel; by default the number of GPUs, or 1.
        configs: Folder with configurations such as kcnn_gtzan.yaml; by default the shipped ones.
        competitors: Folder with configurations such as sparse_coding_gtzan.yaml; by default those
            of the plugin.
        only: Parts to run, separated by commas, or all: tables, figure3, study.

    Raises:
        MgcError: If settings are invalid or an experiment fails.
    """
    from mgc.papers.zhang2015 import FEATURES, TASKS
    from mgc.papers.zhang2015.folder import read_cells
    from mgc.papers.zhang2015.networks import NETWORKS, TABLE_1, study_network
    from mgc.papers.zhang2015.study import iterate_values
    from mgc.papers.zhang2015.tables import ROWS

    parts = parse_names("only", only, PARTS)
    reserved = ["data.root", "model.features"]
    reserved += [f"model.{setting}" for setting in TABLE_1] if "study" in parts else []
    check_reserved_options(overrides, reserved, "reproduce zhang2015")
    columns = parse_names("features", features, FEATURES)
    names = parse_names("systems", systems, list(ROWS)) if "tables" in parts else []
    rows = drop_uninstalled({name: ROWS[name] for name in names})
    if names and not rows:
        raise MgcError(f"--systems {systems} has no installed model.")
    networks = list(dict.fromkeys(row.network for row in rows.values()))
    if "study" in parts:
        networks = list(dict.fromkeys([*networks, *(study_network(*v) for v in iterate_values())]))
    with_svm = {row.network for row in rows.values() if row.svm}
    paths = {}
    for network in networks:
        given = competitors if network in COMPETITORS else configs
        name = f"{NETWORKS[network].config}_{data}"
        paths[network] = str(Path(given, f"{name}.yaml")) if given else name
        find_configuration(paths[network])
    folder = Path(out or f"runs/zhang2015/{data}")
    found = read_cells(folder)
    if not networks and not found:
        raise MgcError(f"{folder} has no results. Run the command with --only tables.")
    for results in found.values():
        if set(results.labels) != set(TASKS[data].GENRES):
            raise MgcError(f"{folder} has results with different genres. Choose another --out.")
    count = FOLDS[data] if folds is None else folds
    settings: dict[str, Any] = {"folds": count, "test_folds": test_folds}
    settings |= {"repeats": repeats, "jobs": jobs}
    check_same_splits(folder, root, count, overrides)
    data_description = describe_data(root, data)
    options = select_options(networks, overrides)
    for feature in columns:
        for network, path in paths.items():
            trained = folder / f"{network}_{feature}"
            rest = [f"--data.root={root}", f"--model.features={feature}", *options[network]]
            rest += NETWORKS[network].options
            run_command("crossval", *rest, config=path, out=str(trained), **settings)
            if network in with_svm:
                fit_svms(trained, folder / f"svm_{network}_{feature}", root, data)
            write_tables(folder, data, data_description)
    if "figure3" in parts:
        for feature in columns:
            project_songs(folder, feature)
    if "tables" in parts:
        write_reports(folder, data, data_description)
    print_text(write_tables(folder, data, data_description))
    print_line(f"Written to {folder}")


def write_tables(folder: Path, data: str, data_description: str) -> str:
    """Write tables, claims and notes of the finished networks, and return tables.md.

    Args:
        folder: Output folder.
        data: Name of the data set.
        data_description: Paragraph about the tracks.
    """
    from mgc.papers.zhang2015 import study
    from mgc.papers.zhang2015.folder import (
        describe_projections,
        read_cells,
        read_overrides,
    )
    from mgc.papers.zhang2015.tables import describe_changes, list_claims, make_table

    cells = read_cells(folder)
    notes = [*describe_overrides(read_overrides(folder)), data_description, TRAINING, CODES]
    notes += [*describe_changes(cells), *describe_projections(folder)]
    reproduction = Reproduction([make_table(cells, data)], list_claims(), cells, notes)
    studied = study.read_study(folder)
    if studied:
        table = study.tabulate_study(studied)
        reproduction.tables = [*reproduction.tables, study.make_study_table(studied)]
        reproduction.claims = [*reproduction.claims, *study.list_study_claims()]
        reproduction.cells = cells | studied
        notes.append(study.describe_study(table))
        reproduction.frames = {study.STUDY_FILES: table}
        reproduction.plots = {study.STUDY_FILES: study.plot_study(table)}
    return reproduction.save(folder)


def write_reports(folder: Path, data: str, data_description: str) -> None:
    """Write a report with confusion matrices for each feature; see :func:`write_tables`."""
    from mgc.evaluation.tested_runs import Run
    from mgc.papers import zhang2015
    from mgc.papers.zhang2015.folder import read_cells
    from mgc.reports.experiment import make_report

    cells = read_cells(folder)
    for feature in zhang2015.FEATURES:
        runs = [
            Run(f"{system} {column}", results)
            for (system, column), results in cells.items()
            if column == feature
        ]
        if any(run.name in zhang2015.TASKS[data].ACCURACY for run in runs):
            report = make_report(runs, zhang2015)
            report.text = f"{data_description}\n\n{report.text}"
            report.save(folder / "report" / feature)


def project_songs(folder: Path, feature: str) -> None:
    """Project the song representations of the first fold's networks (figure 3).

    Args:
        folder: Output folder, in which networks may be missing.
        feature: Feature that the networks were trained with.
    """
    tables = {
        network: folder / f"svm_{network}_{feature}" / "seed0_fold0" / "features.parquet"
        for network in (*COMPETITORS, "kcnn")
    }
    found = {network: str(path) for network, path in tables.items() if path.is_file()}
    if found:
        out, names = str(folder / "figure3" / feature), ",".join(found)
        run_command("report projection", [*found.values()], names=names, out=out)


def drop_uninstalled(rows: "dict[str, Row]") -> "dict[str, Row]":
    """Drop rows of models that are not installed, and print how to install them."""
    found = registry.find("model")
    absent = [n for n, row in rows.items() if COMPETITORS.get(row.network, "kcnn") not in found]
    if absent:
        print_line(
            f"Skipped {', '.join(absent)}: models are not installed. To add these rows, install "
            f"the plugin {PLUGIN} (plugins/{PLUGIN} in the source of mgc) and rerun."
        )
    return {name: row for name, row in rows.items() if name not in absent}


def select_options(networks: Sequence[str], overrides: Sequence[str]) -> dict[str, list[str]]:
    """Select the ``mgc fit`` options of each network, with only the settings that its model has.

    Settings that no model has are passed to all networks, and training reports them as errors.
    """
    models = {network: COMPETITORS.get(network, "kcnn") for network in networks}
    given: dict[str, list[str]] = {network: [] for network in networks}
    for option in group_options(overrides):
        name = option_name(option[0])
        accepting = [network for network in networks if _accepts(models[network], name)]
        if accepting and len(accepting) < len(models):
            others = [network for network in networks if network not in accepting]
            print_line(f"--{name} is ignored for {', '.join(others)}: no such setting.")
        for network in accepting or networks:
            given[network] += option
    return given


def check_same_splits(folder: Path, root: str, folds: int, overrides: Sequence[str]) -> None:
    """Check that all networks in ``folder`` were tested on the same tracks and splits.

    Raises:
        MgcError: If they were not, because scores on different test tracks are not comparable.
    """
    from mgc.papers.zhang2015.folder import iterate_plans

    requested = {"root": root, "folds": folds, "split": _split(overrides)}
    for _, _, trained, plan in iterate_plans(folder):
        if not (trained / "test" / "tracks.parquet").is_file():
            continue
        options = plan["overrides"]
        # The first override is the root.
        root_before = options[0].partition("=")[2]
        before = {"root": root_before, "folds": plan["folds"], "split": _split(options)}
        for name, value in requested.items():
            if before[name] != value:
                raise MgcError(
                    f"{trained} was run with {name} {before[name]}, not {value}: scores on "
                    "different test tracks are not comparable. Choose another --out."
                )


def fit_svms(trained: Path, out: Path, root: str, data: str) -> None:
    """Fit an SVM to the song representations of each fold's network; skip those up to date.

    Args:
        trained: Output folder of ``mgc crossval``.
        out: Folder for a folder per fold, such as ``seed0_fold0``, with features and SVM results.
        root: Folder with the data set.
        data: Name of the data set.

    Raises:
        MgcError: If a configuration or a checkpoint is missing.
    """
    from mgc.evaluation.results import Results
    from mgc.papers.zhang2015.folder import is_fitted, iterate_fits

    for seed, fold, checkpoint in iterate_fits(Results.load(trained / "test")):
        results_folder = out / f"seed{seed}_fold{fold}"
        features = str(results_folder / "features.parquet")
        options = extract_options(trained / f"seed{seed}" / f"fold{fold}", data)
        run_command("extract", [root], ckpt=checkpoint, out=features, **options)
        if not is_fitted(results_folder, checkpoint):
            # With two fits per fold, processes take longer to start than to fit.
            out_folder = str(results_folder)
            run_command("transfer", [features], out=out_folder, classifier=CLASSIFIER, jobs=1)


def extract_options(fold: Path, data: str) -> dict[str, Any]:
    """Return the ``mgc extract`` options for the tracks and the split of a fold.

    Args:
        fold: Folder of a fold, written by ``mgc crossval``.
        data: Name of the data set.

    Raises:
        MgcError: If the fold has no configuration.
    """
    path = fold / "config.yaml"
    if not path.is_file():
        raise MgcError(
            f"{path} is missing, although the fold is finished. Remove {fold} and rerun."
        )
    settings = read_yaml(path)
    given = settings["data"]["init_args"]
    return {
        "data": data,
        "data_args": {
            name: value
            for name, value in given.items()
            if name not in IGNORED_DATA_SETTINGS and value is not None
        },
        "keep_split": True,
        "hop_seconds": given.get("hop_seconds"),
        "num_workers": given["num_workers"],
        "accelerator": settings["trainer"]["accelerator"],
        # With several devices, Lightning would run this command once per device.
        "devices": 1,
    }


def _split(options: Sequence[str]) -> str:
    """Return the split that the options set; ``default`` is that of the configuration."""
    split = "default"
    for name, value, _ in read_settings(options):
        if name == "data.split":
            split = str(value)
    return split


def _accepts(model: str, option: str) -> bool:
    """Return whether a model has the setting that an ``mgc fit`` option names."""
    section, _, name = option.partition(".")
    if section != "model" or not name:
        return True
    setting = name.partition(".")[0]
    component = registry.load("model", model)
    return any(setting in inspect.signature(kind).parameters for kind in component.__mro__)
