"""``mgc reproduce dieleman2011``: table 1 of Dieleman, Brakel and Schrauwen (2011)."""

import inspect
import json
import math
import shlex
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mgc import registry
from mgc.configurations import find_configuration
from mgc.core.ranges import MAY_BE_EMPTY, Processes, Range
from mgc.core.terminal import print_line, print_text
from mgc.core.text_files import read_json_object
from mgc.core.yaml_files import read_yaml
from mgc.errors import MgcError
from mgc.papers.dieleman2011 import TASKS
from mgc.papers.dieleman2011.rates import choose_rates, read_rates
from mgc.papers.reproducing import parse_names, run_command
from mgc.runs.tracking import share_wandb_group
from mgc.training.options import check_reserved_options, group_options, option_name

if TYPE_CHECKING:
    import pandas as pd

#: Parts of the experiment, for ``--only``.
PARTS = ("pretraining", "baselines", "normalised_baselines", "networks", "report")

#: Suffix of the folders of baselines with timbre that is normalised per track.
NORMALISED = "_normalised"

#: Folder of the pretraining in the output folder.
PRETRAINED = "pretrained"

#: Options that the command sets.
RESERVED = (
    "data.root", "data.duplicates", "data.normalise_timbre", "data.tracks_per_class",
    "data.artists", "data.genre_tracks", "data.artist_tracks", "data.key_tracks", "model.lr",
    "model.reduction", "model.start", "model.weights", "optimizer", "trainer.max_epochs",
)  # fmt: skip

PerClass = Annotated[int, Range(0, 10**9)]


@dataclass(frozen=True)
class Setup:
    """Settings of the experiment.

    Attributes:
        folder: Output folder.
        data: Options of ``mgc fit`` that select the tracks, by task; ``pretraining`` has those of
            all tasks.
        overrides: Options of ``mgc fit`` given after ``--``.
        epochs: Numbers of epochs after which networks are tested.
        pretrain_epochs: Number of epochs of pretraining.
        jobs: Number of runs in parallel.
    """

    folder: Path
    data: dict[str, list[str]]
    overrides: Sequence[str]
    epochs: Sequence[int]
    pretrain_epochs: int
    jobs: int | None

    def options(self, config: str, task: str, epochs: int) -> list[str]:
        """Return the options of ``mgc fit`` with a configuration."""
        given = select_options(self.overrides, config)
        return [*self.data[task], f"--trainer.max_epochs={epochs}", *given]


@share_wandb_group("dieleman2011")
def reproduce_dieleman2011(
    *overrides: str,
    root: str,
    out: str = "runs/dieleman2011",
    tasks: str = "all",
    epochs: str = "20,30",
    pretrain_epochs: Annotated[int, Range(2, 10**6)] = 2,
    genre_tracks: PerClass = 250,
    artist_tracks: PerClass = 100,
    key_tracks: PerClass = 250,
    artists: Annotated[int, Range(2, 10**5)] = 50,
    duplicates: Annotated[str, MAY_BE_EMPTY] = "msd_duplicates.txt",
    jobs: Processes | None = None,
    only: str = "pretraining,baselines,networks,report",
) -> None:
    """Run all experiments of Dieleman et al. (2011) and compare with the published results.

    `mgc data pack` converts the track files to beat-aligned features, unless they are packed.
    `mgc sweep` pretrains a convolutional deep belief network without labels, on all tracks except
    validation and test tracks of the tasks. For each task, it trains networks that start from the
    pretrained weights, or from Gaussian ones with the same mean and variance (matched), with three
    learning rates, and a windowed logistic regression with five. The rate with the best accuracy on
    validation tracks is tested. `mgc crossval` trains and tests naive Bayes. Each command is
    printed before it runs. To resume an interrupted experiment, run the same command again.

    Writes to OUT: pretrained, the pretraining; a folder for each task with its sweeps, the test
    results of each system, and a report with confusion matrices; tables.md with the paper's table 1
    beside our scores, learning rates, tests of its claims, and differences from the paper;
    scores.csv and claims.csv with the same numbers; rates.csv, the accuracy on validation tracks by
    learning rate.

    Arguments after `--` are options of `mgc fit`. Those of a model or data set only change the
    configurations that have them: model.lr_binary is for pretraining only, model.maps for
    pretraining and networks.

    Example: mgc reproduce dieleman2011 --root data/msd --jobs 4

    Example: mgc reproduce dieleman2011 --root data/msd --tasks key --key_tracks 50
    --genre_tracks 0 --artist_tracks 0 --pretrain_epochs 5 -- --model.lr_binary 0.05
    --model.lr_gaussian 0.05 --model.momentum 0.5 --model.first_epochs 3

    Args:
        overrides: Options of `mgc fit`, given after `--`.
        root: Folder with the Million Song Dataset: its track files or a packed store, and lists.
        out: Output folder.
        tasks: Tasks, separated by commas, or all: genre, artist, key.
        epochs: Numbers of epochs after which networks are tested, separated by commas. Logistic
            regression is trained for the last one.
        pretrain_epochs: Number of epochs of pretraining. The first is for chroma and timbre
            (model.first_epochs), the others are for the joint layer.
        genre_tracks: Number of tracks per genre. With 0, there is no such task, as in the next two:
            pretraining does not leave out its tracks.
        artist_tracks: Number of tracks per artist.
        key_tracks: Number of tracks per key.
        artists: Number of artists.
        duplicates: List of known duplicates, in ROOT; an empty string keeps the duplicates.
        jobs: Number of runs in parallel; by default the number of GPUs, or 1.
        only: Parts to run, separated by commas, or all: pretraining, baselines,
            normalised_baselines (with timbre normalised per track, as for networks), networks,
            report.

    Raises:
        MgcError: If settings are invalid or an experiment fails.
    """
    check_reserved_options(overrides, RESERVED, "reproduce dieleman2011")
    parts = parse_names("only", only, PARTS)
    tracks = {"genre": genre_tracks, "artist": artist_tracks, "key": key_tracks}
    chosen = [task for task in parse_names("tasks", tasks, list(TASKS)) if tracks[task]]
    check_options(overrides)
    common = [f"--data.root={root}", f"--data.duplicates={duplicates}"]
    data = {task: [*common, f"--data.tracks_per_class={n}"] for task, n in tracks.items()}
    data["artist"].append(f"--data.artists={artists}")
    data["pretraining"] = [*common, f"--data.artists={artists}"]
    data["pretraining"] += [f"--data.{task}_tracks={n}" for task, n in tracks.items()]
    setup = Setup(
        Path(out),
        data,
        overrides,
        parse_epochs(epochs),
        pretrain_epochs,
        jobs,
    )
    pack_tracks(root)
    if "pretraining" in parts:
        pretrain(setup)
    for task in chosen:
        if "baselines" in parts:
            train_baselines(setup, task)
        if "normalised_baselines" in parts:
            train_baselines(setup, task, normalised=True)
        if "networks" in parts:
            train_networks(setup, task)
    if "report" in parts:
        from mgc.papers.dieleman2011.tables import write_report

        print_text(write_report(setup.folder, root, duplicates, overrides))
        print_line(f"Written to {setup.folder}")


def parse_epochs(text: str) -> list[int]:
    """Parse different numbers of epochs separated by commas, and return them in order."""
    words = [word.strip() for word in text.split(",")]
    numbers = sorted({int(word) for word in words if word.isdecimal()})
    if len(numbers) < len(words) or numbers[0] < 1:
        raise MgcError(f"--epochs {text}: expected different numbers of epochs, such as 20,30.")
    return numbers


def list_configs() -> list[str]:
    """List the configurations of all experiments."""
    models = ("naive_bayes", "beat_logistic", "conv_dbn")
    return ["conv_dbn_pretrain", *(f"{model}_{task}" for model in models for task in TASKS)]


def check_options(overrides: Sequence[str]) -> None:
    """Check that every option belongs to a configuration of the experiments.

    Raises:
        MgcError: If no model or data set has one of the options.
    """
    used = {tuple(o) for c in list_configs() for o in _select(group_options(overrides), c)}
    for option in group_options(overrides):
        if tuple(option) not in used:
            raise MgcError(
                f"{option[0].partition('=')[0]}: no model or data set of dieleman2011 has this "
                "option."
            )


def select_options(overrides: Sequence[str], config: str) -> list[str]:
    """Select the options that the model and the data set of a configuration have.

    Options other than those of a model or data set are for all configurations.
    """
    return [word for option in _select(group_options(overrides), config) for word in option]


def _select(options: Sequence[list[str]], config: str) -> Iterator[list[str]]:
    settings = read_yaml(find_configuration(config))
    arguments = {
        kind: {
            name
            for parent in inspect.getmro(registry.load(kind, settings[kind]["class_path"]))
            if "__init__" in vars(parent)
            for name in inspect.signature(vars(parent)["__init__"]).parameters
        }
        for kind in registry.GROUPS
    }
    for option in options:
        kind, _, name = option_name(option[0]).partition(".")
        if not name or kind not in arguments or name.partition(".")[0] in arguments[kind]:
            yield option


def pack_tracks(root: str) -> None:
    """Pack the track files, unless the folder has a packed store."""
    from joblib import cpu_count

    from mgc.data.msd import MSDUnlabelled
    from mgc.data.msd.beat_store import INDEX

    data = MSDUnlabelled(root)
    if not (data.store / INDEX).is_file():
        print_line(f"$ {shlex.join(['mgc', 'data', 'pack', 'msd_unlabelled', '--root', root])}")
        print_line(data.pack(cpu_count()).summary)


def pretrain(setup: Setup) -> None:
    """Pretrain the layers of the networks."""
    options = setup.options("conv_dbn_pretrain", "pretraining", setup.pretrain_epochs)
    run_command("sweep", "conv_dbn_pretrain", *options, out=str(setup.folder / PRETRAINED), jobs=1)


def train_baselines(setup: Setup, task: str, normalised: bool = False) -> None:
    """Train and test naive Bayes and logistic regression.

    ``normalised`` normalises timbre per track. The paper says this of the network only.
    """
    suffix = NORMALISED if normalised else ""
    options = ["--data.normalise_timbre=true"] if normalised else []
    config = f"naive_bayes_{task}"
    run_command(
        "crossval",
        *setup.options(config, task, 1),
        *options,
        config=config,
        folds=1,
        out=str(setup.folder / task / f"naive_bayes{suffix}"),
        jobs=1,
    )
    name = f"logistic{suffix}"
    sweep_rates(setup, task, f"beat_logistic_{task}", name, setup.epochs[-1:], options)
    test_best(setup, task, name, read_rates(setup.folder, task))


def train_networks(setup: Setup, task: str) -> None:
    """Train networks with each start and learning rate, and test the best rates.

    Raises:
        MgcError: If there are no pretrained layers.
    """
    result = setup.folder / PRETRAINED / "run0" / "result.json"
    if not result.is_file():
        raise MgcError(
            f"{setup.folder / PRETRAINED} has no pretrained layers. Run the command with --only "
            "pretraining first."
        )
    weights = f"--model.weights={read_json_object(result)['checkpoint']}"
    sweep_rates(setup, task, f"conv_dbn_{task}", "networks", setup.epochs, [weights])
    rates = read_rates(setup.folder, task)
    for epochs in setup.epochs:
        for start in ("matched", "pretrained"):
            test_best(setup, task, f"{start}_{epochs}", rates)


def sweep_rates(
    setup: Setup,
    task: str,
    config: str,
    name: str,
    epochs: Sequence[int],
    options: Sequence[str] = (),
) -> None:
    """Train a model with each learning rate of its sweep, and keep it after given epochs."""
    keep = {
        "monitor": "val/track_accuracy",
        "mode": "max",
        "save_top_k": -1,
        "every_n_epochs": math.gcd(*epochs),
        "filename": "epoch_{epoch}",
        "auto_insert_metric_name": False,
        "enable_version_counter": False,
    }
    callback = json.dumps({"class_path": "ModelCheckpoint", "init_args": keep})
    run_command(
        "sweep",
        config,
        *setup.options(config, task, epochs[-1]),
        *options,
        f"--trainer.callbacks+={callback}",
        out=str(setup.folder / task / name),
        jobs=setup.jobs,
    )


def test_best(setup: Setup, task: str, system: str, rates: "pd.DataFrame") -> None:
    """Test a system with its best learning rate, unless that was tested already."""
    from mgc.evaluation.results import Results
    from mgc.training import cli as training

    chosen = str(choose_rates(rates).set_index("system").loc[system, "checkpoint"])
    folder = setup.folder / task / system
    done = folder / "test"
    if (done / "tracks.parquet").is_file() and Results.load(done).source["checkpoint"] == chosen:
        return
    words = ["test", f"--ckpt_path={chosen}", f"--trainer.default_root_dir={folder}"]
    # With several devices, Lightning would run this command once per device.
    words += ["--trainer.devices=1", "--trainer.logger=false"]
    print_line(f"$ {shlex.join(['mgc', *words])}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The dirpath has changed")
        training.main(words)
