"""``mgc reproduce zhang2015``: all rows and columns of the tables of Zhang et al. (2015)."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mgc import registry
from mgc.configurations import find_configuration
from mgc.errors import MgcError
from mgc.papers.reproducing import describe_music, say
from mgc.training.options import divide_options, option_name, read_settings, refuse_options

if TYPE_CHECKING:
    from mgc.evaluation.results import Results
    from mgc.papers.claims import Cell
    from mgc.papers.zhang2015.tables import Row

Data = Literal["gtzan", "ismir2004"]


#: Networks of the plugin, and what they are registered as.
COMPETITORS = {
    "sparse_coding": "segment_sparse_coding",
    "autoencoder": "segment_autoencoder",
    "dbn": "segment_dbn",
}
PLUGIN = "mgc-segment-codes"

#: Section 4.1: ten balanced folds; the given split of ISMIR 2004.
FOLDS = {"gtzan": 10, "ismir2004": 1}

#: Settings of the data that `mgc extract` has options of its own for or takes from the checkpoint,
#: or that only training uses.
HANDLED_BY_EXTRACT = (
    "root", "sample_rate", "clip_seconds", "hop_seconds", "clips_per_track", "batch_size",
    "num_workers",
)  # fmt: skip

#: The paper's "nonlinear SVM" (section 4.5), not the grid that tries a linear kernel too.
CLASSIFIER = "svm_rbf"


def reproduce_zhang2015(
    *overrides: str,
    root: str,
    data: Data = "gtzan",
    features: str = "MEL,SFM,SCF,ALL",
    systems: str = "all",
    folds: int | None = None,
    test_folds: int | None = None,
    repeats: int = 1,
    out: str | None = None,
    jobs: int | None = None,
    configs: str = "",
    competitors: str = "",
) -> None:
    """Run every experiment of Zhang et al. (2015), and set the results beside theirs.

    Each network is trained for each feature by `mgc crossval`. For the rows with a support vector
    machine, its song representations are computed by `mgc extract`, by every fold's own
    checkpoint, and go to `mgc transfer`, which chooses the settings of an RBF kernel on the fold's
    validation tracks. Each command is shown before it runs. Interrupted, it goes on where it
    stopped when the same command is given again; other features, systems, --test_folds or
    --repeats of the same OUT are added to the same table, while other tracks or splits are refused.
    Written to OUT: a folder for each row and feature; tables.md, after each of them, with the
    paper's table beside ours, and whether the order of its rows is found again; and in the end
    report with confusion matrices by feature.

    The rows of sparse coding, the autoencoder and the deep belief net need the plugin
    mgc-segment-codes. Words after `--` are options of `mgc fit` for every network; settings of a
    model go to the networks that have them.

    The paper's folds of GTZAN have its artists on both sides. With `--folds 1 --
    --data.split=fault_filtered` they are not, and with `--data ismir2004 --folds 5` neither.

    Example: mgc reproduce zhang2015 --root data/gtzan

    Example: mgc reproduce zhang2015 --root data/gtzan --features MEL --test_folds 1
    --out runs/zhang2015_mel -- --model.table_lr 2 --trainer.max_epochs 60

    Example: mgc reproduce zhang2015 --root data/ismir2004 --data ismir2004 --repeats 10

    Args:
        overrides: Options of `mgc fit`, given after `--`.
        root: Folder with the data set.
        data: Which data set: gtzan (table 2) or ismir2004 (table 3).
        features: Columns, separated by commas: MEL, SFM, SCF, ALL.
        systems: Rows, separated by commas: sparse_coding, autoencoder, dbn, kcnn_frozen, kcnn,
            kcnn_k1_svm, kcnn_svm; or all.
        folds: Number of folds; by default the paper's 10 for GTZAN, and 1 for ISMIR 2004, which is
            the split that the configuration names.
        test_folds: How many of the folds to train and test, from the first; by default all.
        repeats: How often to repeat it with another seed; the paper reports means of 10.
        out: Folder for everything; by default runs/zhang2015/DATA.
        jobs: Folds to run at the same time; by default one per GPU.
        configs: Folder with kcnn_gtzan.yaml and the others; by default the shipped ones.
        competitors: Folder with sparse_coding_gtzan.yaml and the others; by default those that the
            plugin ships.

    Raises:
        MgcError: If settings are wrong, or an experiment fails.
    """
    from mgc.core.writing import replacing
    from mgc.evaluation.tested_runs import Run
    from mgc.experiments.crossval import cross_validate
    from mgc.papers import zhang2015
    from mgc.papers.zhang2015 import FEATURES, TASKS
    from mgc.papers.zhang2015.folder import changes, read_cells
    from mgc.papers.zhang2015.tables import ROWS, describe
    from mgc.reports.experiment import make_report

    refuse_options(overrides, ("data.root", "model.features"), "reproduce zhang2015")
    columns = _choose("features", features, FEATURES)
    names = list(ROWS) if systems == "all" else _choose("systems", systems, list(ROWS))
    rows = {name: ROWS[name] for name in names}
    rows, absent = installed(rows)
    if absent:
        print(absent, flush=True)
    if not rows:
        raise MgcError("--systems: none is left to run.")
    networks = list(dict.fromkeys(row.network for row in rows.values()))
    with_machine = {row.network for row in rows.values() if row.svm}
    paths = {}
    for network in networks:
        given = competitors if network in COMPETITORS else configs
        name = f"{network}_{data}"
        paths[network] = str(Path(given, f"{name}.yaml")) if given else name
        find_configuration(paths[network])
    folder = Path(out or f"runs/zhang2015/{data}")
    for results in read_cells(folder).values():
        if set(results.labels) != set(TASKS[data].GENRES):
            raise MgcError(f"{folder} holds results of other genres: choose another --out.")
    count = FOLDS[data] if folds is None else folds
    settings: dict[str, Any] = {
        "folds": count,
        "test_folds": test_folds,
        "repeats": repeats,
        "jobs": jobs,
    }
    refuse_other_splits(folder, root, count, overrides)
    music = describe_music(root, data)
    words = options_of(networks, overrides)

    def write() -> "tuple[str, dict[Cell, Results]]":
        cells = read_cells(folder)
        text = describe(cells, data, f"{changes(folder)}{music}")
        with replacing(folder / "tables.md") as partial:
            partial.write_text(text, encoding="utf-8")
        return text, cells

    for feature in columns:
        for network, path in paths.items():
            place = folder / f"{network}_{feature}"
            rest = [f"--data.root={root}", f"--model.features={feature}", *words[network]]
            say("crossval", config=path, out=place, rest=rest, **settings)
            seeds = list(range(repeats))
            summary = cross_validate(path, place, rest, count, seeds, test_folds, jobs)
            print(summary.text)
            print(f"Written to {place}")
            if network in with_machine:
                fit_machines(place, folder / f"svm_{network}_{feature}", root, data)
            text, cells = write()
    for feature in FEATURES:
        runs = [
            Run(f"{system} {column}", results)
            for (system, column), results in cells.items()
            if column == feature
        ]
        if runs:
            report = make_report(runs, zhang2015)
            report.text = f"{music}\n\n{report.text}"
            report.save(folder / "report" / feature)
    print(text)
    print(f"Written to {folder}")


def installed(rows: "dict[str, Row]") -> "tuple[dict[str, Row], str]":
    """Leave out the rows of models that are not installed.

    Args:
        rows: Rows by short name.

    Returns:
        The others, and a line that tells which are left out and how to install them; empty if none
        is.
    """
    found = registry.find("model")
    absent = [n for n, row in rows.items() if COMPETITORS.get(row.network, "kcnn") not in found]
    if not absent:
        return rows, ""
    line = (
        f"Left out: {', '.join(absent)}, whose models are not installed. They are in the plugin "
        f"{PLUGIN}, which comes with the source of mgc (plugins/{PLUGIN}): install it from there "
        "and run the same command again."
    )
    return {name: row for name, row in rows.items() if name not in absent}, line


def options_of(networks: Sequence[str], overrides: Sequence[str]) -> dict[str, list[str]]:
    """Divide options of ``mgc fit`` among the networks.

    Args:
        networks: Names of networks.
        overrides: Options, each with its value in the same word or in the next ones.

    Returns:
        The options of each network: settings of a model only where the model has them, unless none
        has, which training then tells.
    """
    models = {network: COMPETITORS.get(network, "kcnn") for network in networks}
    given: dict[str, list[str]] = {network: [] for network in networks}
    for option in divide_options(overrides):
        name = option_name(option[0])
        taking = [network for network in networks if _takes(models[network], name)]
        if taking and len(taking) < len(models):
            others = [network for network in networks if network not in taking]
            print(f"--{name}: no setting of {', '.join(others)}, and left out there.", flush=True)
        for network in taking or networks:
            given[network] += option
    return given


def refuse_other_splits(folder: Path, root: str, folds: int, overrides: Sequence[str]) -> None:
    """Refuse a folder whose figures are of other tracks or splits.

    Differences between rows of different tests say nothing of the rows.

    Args:
        folder: Folder of the reproduction.
        root: Folder with the data set.
        folds: Number of folds.
        overrides: Options of ``mgc fit``.

    Raises:
        MgcError: If a network there was tested on others.
    """
    from mgc.papers.zhang2015.folder import plans

    asked = {"root": root, "folds": folds, "split": _split(overrides)}
    for _, _, trained, plan in plans(folder):
        if not (trained / "test" / "tracks.parquet").is_file():
            continue
        words = plan["overrides"]
        # The root is the first of them.
        there = {
            "root": words[0].partition("=")[2], "folds": plan["folds"], "split": _split(words)
        }  # fmt: skip
        for name, value in asked.items():
            if there[name] != value:
                raise MgcError(
                    f"{trained} has another {name} ({there[name]}, not {value}): figures "
                    "of other tests do not belong in one table. Choose another --out."
                )


def fit_machines(trained: Path, out: Path, root: str, data: str) -> None:
    """Fit a support vector machine to the representations that every fold's network gives.

    Args:
        trained: Folder that ``mgc crossval`` wrote.
        out: Folder with a folder for each fold, ``seed0_fold0``, of those that ``mgc transfer``
            writes, which also gets the features.
        root: Folder with the data set.
        data: Name of the data set.

    Raises:
        MgcError: If a configuration or a checkpoint is not there.
    """
    from mgc.evaluation.results import Results
    from mgc.papers.zhang2015.folder import is_fitted, tested
    from mgc.transfer.extraction import extract_audio
    from mgc.transfer.files import transfer

    for seed, fold, checkpoint in tested(Results.load(trained / "test")):
        place = out / f"seed{seed}_fold{fold}"
        if is_fitted(place, checkpoint):
            continue
        features = str(place / "features.parquet")
        options = extract_options(trained / f"seed{seed}" / f"fold{fold}", data)
        say("extract", root, ckpt=checkpoint, out=features, **options)
        extract_audio([root], ckpt=checkpoint, out=features, **options)
        # Two fits a fold: starting processes takes longer.
        fitting: dict[str, Any] = {"out": str(place), "classifier": CLASSIFIER, "jobs": 1}
        say("transfer", features, **fitting)
        print(transfer([features], **fitting).text)
        print(f"Written to {place}")


def extract_options(fold: Path, data: str) -> dict[str, Any]:
    """Find out how to compute features of the tracks, and with the split, of a fold.

    Args:
        fold: Folder of a fold that ``mgc crossval`` wrote.
        data: Name of the data set.

    Returns:
        Options of ``mgc extract``.

    Raises:
        MgcError: If its configuration is not there.
    """
    import yaml

    path = fold / "config.yaml"
    if not path.is_file():
        raise MgcError(f"{path}: not there, though the fold is finished. Remove {fold}.")
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    given = settings["data"]["init_args"]
    return {
        "data": data,
        "data_args": {
            name: value
            for name, value in given.items()
            if name not in HANDLED_BY_EXTRACT and value is not None
        },
        "keep_split": True,
        "hop_seconds": given.get("hop_seconds"),
        "num_workers": given["num_workers"],
        "accelerator": settings["trainer"]["accelerator"],
        # Several would start this command once more for each.
        "devices": 1,
    }


def _choose(option: str, text: str, known: Sequence[str]) -> list[str]:
    """Read names separated by commas, and put them into the order of the paper."""
    words = {word.strip() for word in text.split(",")}
    for word in sorted(words - set(known)):
        raise MgcError(f"--{option} {text}: {word!r} is none of {', '.join(known)}.")
    return [name for name in known if name in words]


def _split(words: Sequence[str]) -> str:
    """Find the split that options name."""
    split = "that of the configuration"
    for name, value, _ in read_settings(words):
        if name == "data.split":
            split = str(value)
    return split


def _takes(model: str, option: str) -> bool:
    """Tell whether an option of ``mgc fit`` is one that a model can take."""
    section, _, name = option.partition(".")
    if section != "model" or not name:
        return True
    setting = name.partition(".")[0]
    component = registry.load("model", model)
    return any(setting in inspect.signature(kind).parameters for kind in component.__mro__)
