"""``mgc reproduce choi2017``: figures 2 to 9 of Choi et al. (2017)."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mgc.core.fingerprint import hash_file, hash_values
from mgc.core.ranges import Folds, Processes, Range, Seed
from mgc.core.terminal import print_line, print_text
from mgc.core.writing import writes_folder
from mgc.errors import MgcError
from mgc.papers.choi2017 import TARGETS, TASKS
from mgc.papers.reproducing import Reproduction, parse_names, run_command
from mgc.runs.tracking import share_wandb_group

if TYPE_CHECKING:
    from mgc.evaluation.intervals import Score

#: Parts of a task: features of the trained network and MFCCs, features of an untrained one.
PARTS = ("convnet", "random")

#: Arguments of the tagger that an untrained network shares.
NETWORK_ARGUMENTS = ("channels", "n_fft", "hop_length", "n_mels", "f_max")


@writes_folder("out")
@share_wandb_group("choi2017")
def reproduce_choi2017(
    roots: dict[str, str] | None = None,
    weights: str | None = None,
    calibrate: str | None = None,
    features: str | None = None,
    tasks: str = "all",
    only: str = "all",
    layers: str = "all",
    classifier: Literal["svm", "svm_rbf", "knn", "logistic"] = "svm",
    folds: Folds | None = None,
    inner_folds: Annotated[int, Range(1, 1000)] | None = None,
    seed: Seed = 0,
    published: str | None = None,
    tagging: str | None = None,
    out: str = "runs/choi2017",
    jobs: Processes | Literal[-1] = -1,
) -> None:
    """Run all experiments of Choi et al. (2017) and compare with the published results.

    For each task, `mgc extract` computes the features of all layers of a trained tagger, those of
    the same network with random weights, and MFCCs. `mgc transfer` trains SVMs on every combination
    of layers, on MFCCs, and on both, with the paper's protocol, which is optimistic, and by nested
    cross-validation. Features that the authors released can replace the extraction; there are no
    random ones among them. Each command is printed before it runs. To resume an interrupted
    experiment, run the same command again. Other tasks or parts with the same OUT extend the
    tables.

    Writes to OUT: a folder for each task; tables.md with our scores beside those of the paper's
    figures 2 to 9, tests of its claims, and differences from the paper; scores.csv and claims.csv
    with the same numbers; and the figures as pictures.

    Example: mgc reproduce choi2017 --roots.gtzan data/gtzan --roots.emomusic data/emomusic
    --weights weights_theano.hdf5 --calibrate data/gtzan

    Example: mgc reproduce choi2017 --features transfer_learning_music --inner_folds 2

    Args:
        roots: Folder of each data set, as in --roots.gtzan data/gtzan: extended_ballroom, gtzan,
            gtzan_speech_music, emomusic, jamendo_vocals or urbansound8k.
        weights: Trained tagger: the released weights_theano.hdf5, or a checkpoint of a vgg_tagger.
            Needed for tasks with a root.
        calibrate: Folder with music to calibrate the released weights, as for `mgc import
            choi2017`.
        features: Folder with the released features, for tasks without a root.
        tasks: Tasks, separated by commas, by the name of their data set; by default all with a root
            or released features.
        only: Parts, separated by commas: convnet (with MFCCs), random; by default both.
        layers: Combinations of layers, as for `mgc transfer`.
        classifier: Classifier, as for `mgc transfer`.
        folds: Number of folds, as for `mgc transfer`; by default those of the paper.
        inner_folds: Number of folds used to tune for each test fold, as for `mgc transfer`. 2 makes
            nested cross-validation feasible for large tasks.
        seed: Seed of the random network.
        published: CSV file with columns task, layers, score, with the scores that the authors
            released, such as gtzan_genre,135,0.865. They are not in the paper's text.
        tagging: Output folder of `mgc test` with the tagger on the Last.fm tags, for its ROC-AUC.
        out: Output folder.
        jobs: Number of processes that train SVMs; -1 is one per core.

    Raises:
        MgcError: If settings are invalid or an experiment fails.
    """
    from mgc.papers.choi2017 import SCORES
    from mgc.papers.choi2017.claims import list_claims, split_genres
    from mgc.papers.choi2017.notes import list_notes
    from mgc.papers.choi2017.plots import draw_figures
    from mgc.papers.choi2017.tables import load_experiments, make_tables

    roots = roots or {}
    chosen = choose_tasks(tasks, roots, features)
    parts = parse_names("only", only, PARTS)
    scores = SCORES if published is None else merge_published(published)
    auc = None if tagging is None else score_tagging(tagging)
    folder = Path(out)
    trained: dict[str, Any] = {}
    if set(chosen) & set(roots):
        trained = prepare_tagger(weights, calibrate, folder)
    settings = {"classifier": classifier, "folds": folds, "inner_folds": inner_folds, "jobs": jobs}
    for task in chosen:
        tables = prepare_features(task, folder / task, roots, features, trained, parts, seed)
        for part, files in tables.items():
            wanted = layers if part == "convnet" else select_blocks(layers)
            if wanted:
                results = str(folder / task / part)
                run_command("transfer", files, out=results, layers=wanted, **settings)
    experiments = load_experiments(folder)
    cells = {cell: found for each in experiments for cell, found in each.cells().items()}
    cells |= split_genres(cells)
    reproduction = Reproduction(
        make_tables(experiments, cells, scores, auc),
        list_claims(),
        cells,
        list_notes(experiments, cells, tagging),
        plots=draw_figures(experiments, scores),
    )
    print_text(reproduction.save(folder))
    print_line(f"Written to {out}")


def choose_tasks(tasks: str, roots: Mapping[str, str], features: str | None) -> list[str]:
    """Return the tasks to run, in the order of the paper.

    Raises:
        MgcError: If a task is unknown or has neither a root nor features, or there are none.
    """
    from mgc.papers.choi2017.features import has_features

    names = ", ".join(TASKS)
    for task in roots:
        if task not in TASKS:
            raise MgcError(f"--roots.{task}: unknown task. Choose from {names}.")
    if features is not None and not Path(features).is_dir():
        raise MgcError(f"--features {features}: no such folder.")
    released = [task for task in TASKS if features is not None and has_features(features, task)]
    given: list[str] = [task for task in TASKS if task in roots or task in released]
    if not given:
        raise MgcError(
            "No task has data. Add the folder of a data set, such as --roots.gtzan data/gtzan, or "
            "--features with the released features."
        )
    if tasks == "all":
        return given
    wanted = parse_names("tasks", tasks, TASKS)
    for task in wanted:
        if task not in given:
            raise MgcError(f"--tasks {tasks}: add --roots.{task}, or --features with its files.")
    return wanted


def select_blocks(layers: str) -> str:
    """Return the combinations that consist of blocks only."""
    if layers == "all":
        return layers
    words = [word.strip() for word in layers.split(",")]
    return ",".join(word for word in words if word == "all" or word.isdigit())


def prepare_tagger(weights: str | None, calibrate: str | None, folder: Path) -> dict[str, Any]:
    """Return the ``mgc extract`` options of the trained tagger; import released weights.

    Returns:
        ``ckpt``, and ``random``, the options of the same network with random weights.

    Raises:
        MgcError: If the weights are missing, or those of another model.
    """
    from mgc import checkpoint
    from mgc.models.vgg import VGGTagger
    from mgc.registry import is_class

    if weights is None:
        raise MgcError("Extraction needs --weights: weights_theano.hdf5, or a checkpoint.")
    if not Path(weights).is_file():
        raise MgcError(f"--weights {weights}: no such file.")
    ckpt = weights
    if Path(weights).suffix != ".ckpt":
        name = hash_values(hash_file(weights, content_only=True), calibrate or "")[:8]
        ckpt = str(folder / f"vgg_choi2017_{name}.ckpt")
        if not Path(ckpt).exists():
            run_command("import choi2017", weights, out=ckpt, calibrate=calibrate)
    elif calibrate is not None:
        raise MgcError("--calibrate is for the released weights: omit it with a checkpoint.")
    contents = checkpoint.read(ckpt)
    about = contents.get(checkpoint.KEY, {})
    if not is_class(VGGTagger, about.get("class_path", "")):
        kind = about.get("class_path", "another model")
        raise MgcError(f"--weights {weights}: expected a vgg_tagger, found {kind}.")
    arguments = checkpoint.init_arguments(contents)
    parameters = inspect.signature(VGGTagger).parameters
    network = {
        name: arguments[name]
        for name in NETWORK_ARGUMENTS
        if arguments.get(name, parameters[name].default) != parameters[name].default
    }
    clips = {"sample_rate": about["sample_rate"], "clip_seconds": about["clip_seconds"]}
    return {"ckpt": ckpt, "clips": clips, "random": {"model_args": network} if network else {}}


def prepare_features(
    task: str,
    folder: Path,
    roots: Mapping[str, str],
    features: str | None,
    trained: Mapping[str, Any],
    parts: Sequence[str],
    seed: int,
) -> dict[str, list[str]]:
    """Extract the features of a task, or import the released ones.

    Args:
        task: Name of the data set.
        folder: Output folder of the task.
        roots: Folders of the data sets.
        features: Folder with the released features, for tasks without a root.
        trained: Options of :func:`prepare_tagger`.
        parts: Parts to run.
        seed: Seed of the random network.

    Returns:
        Feature tables of each part.
    """
    if task not in roots:
        table = str(folder / "released.parquet")
        if "convnet" not in parts:
            print_line(f"Skipped random features of {task}: not among the released ones.")
            return {}
        run_command("import choi2017-features", str(features), task=task, out=table)
        return {"convnet": [table]}
    # With several devices, Lightning would run this command once per device.
    common: dict[str, Any] = {"data": task, "devices": 1}
    tables: dict[str, list[str]] = {}
    if "convnet" in parts:
        files = [str(folder / f"{name}.parquet") for name in ("convnet", "mfcc")]
        run_command("extract", [roots[task]], out=files[0], ckpt=trained["ckpt"], **common)
        clips = trained["clips"]
        run_command("extract", [roots[task]], out=files[1], model="mfcc", **common, **clips)
        tables["convnet"] = files
    if "random" in parts:
        path = str(folder / "random.parquet")
        options = {"model": "vgg_tagger", "seed": seed, **trained["clips"], **trained["random"]}
        run_command("extract", [roots[task]], out=path, **options, **common)
        tables["random"] = [path]
    return tables


def merge_published(path: str) -> dict[str, dict[str, float]]:
    """Add released scores to those of the paper's text.

    Raises:
        MgcError: If the file is unreadable, or has none of the paper's tasks.
    """
    from mgc.papers.choi2017 import SCORES
    from mgc.transfer.report import read_scores

    if not Path(path).is_file():
        raise MgcError(f"--published {path}: no such file.")
    table = read_scores(path)
    names = {target.released: name for name, target in TARGETS.items()}
    merged = {name: dict(scores) for name, scores in SCORES.items()}
    known = table[table["task"].isin(names)]
    if known.empty:
        raise MgcError(f"--published {path}: none of the tasks {', '.join(names)}.")
    for task, layers, score in known[["task", "layers", "score"]].itertuples(index=False):
        merged[names[task]][layers] = round(float(score), 3)  # as in the paper
    return merged


def score_tagging(folder: str) -> "Score":
    """Return the ROC-AUC of the test results of a tagger.

    Raises:
        MgcError: If there are no results, or those of another task.
    """
    from mgc.evaluation.intervals import score
    from mgc.evaluation.tested_runs import load_run

    results = load_run(folder, "tagger").test
    if results is None or results.task != "multilabel":
        raise MgcError(f"--tagging {folder}: expected test results of a multilabel task.")
    return score(results)
