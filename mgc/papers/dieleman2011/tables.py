"""Tables, claims and notes of ``mgc reproduce dieleman2011``."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from mgc.core import markdown
from mgc.core.markdown import code, escape
from mgc.errors import MgcError
from mgc.evaluation.intervals import score
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import Run
from mgc.papers import dieleman2011
from mgc.papers.claims import Claim
from mgc.papers.dieleman2011 import LEARNING_RATES, TASKS
from mgc.papers.dieleman2011.rates import choose_rates, read_rates
from mgc.papers.reproducing import Reproduction, describe_overrides, load_finished
from mgc.papers.tables import Cell, ScoreTable
from mgc.reports.experiment import make_report

#: Numbers of epochs in table 1.
EPOCHS = (20, 30)

#: Rows of table 1 that are not networks, by the name of their folder.
BASELINES = {
    "naive_bayes": "naive Bayes",
    "naive_bayes_normalised": "naive Bayes, timbre normalised per track",
    "logistic": "windowed logistic regression",
    "logistic_normalised": "windowed logistic regression, timbre normalised per track",
}

#: Starts of networks, as in the rows of table 1.
STARTS = {"matched": "without pretraining", "pretrained": "with pretraining"}

#: Tracks of the dataset without known duplicates: section 2.1.
TRACKS = 1_000_000 - 78_190

TITLE = "Table 1: test accuracies"

DIFFERENCES = (
    "The tracks of the tasks and their splits are not published. Ours: for genre, the MusicBrainz "
    "tag that most users gave to the artist; for key, the tracks with the highest key confidence; "
    "80 % training, 10 % validation and 10 % test tracks of each class, drawn at random. An "
    "artist's tracks are in several of these, also for genre.",
    "A learning rate is chosen by the accuracy on validation tracks after exactly the given number "
    "of epochs; of equal ones, the highest. Each setting is trained once, with the same seed. A "
    "network is tested after the first and the last number of epochs of the same fit.",
    "Not given in the paper: batch sizes (4 tracks for networks, 8 for pretraining), the "
    "distribution of naive Bayes (Gaussian), and how the segments of a beat are found (those whose "
    "middle is in the beat). Without pretraining, hidden biases are drawn like the weights.",
    "Logistic regression is trained by gradient descent with the loss summed over the windows of a "
    "track, one track at a time. The paper does not say over what it sums; with a mean, its "
    "learning rates hardly change the weights.",
)

OPEN = (
    "*Gains of pretraining are maximal when labelled data is limited* (section 7, after Erhan et "
    "al.): the tasks differ in more than their number of tracks, and the paper has no experiment "
    "with fewer tracks of one task. `--genre_tracks 50 --out FOLDER` would be one.",
    "*Key detection is easier because keys with a high confidence were selected* (section 7): "
    "needs keys annotated by hand, as the paper says.",
    "*The features have musically significant timescales* (section 5.1): the paper does not vary "
    "widths or pooling. `-- --model.width 4 --out FOLDER` would.",
    "*Several passes of pretraining are unnecessary* (section 5.2): compare with "
    "`--pretrain_epochs 4 --out FOLDER -- --model.first_epochs 2`.",
)


def row_name(system: str) -> str:
    """Return the row of table 1 of a system, such as ``matched_30``."""
    start, _, epochs = system.rpartition("_")
    if start in STARTS:
        return f"{epochs} epochs, conv. MLP {STARTS[start]}"
    return BASELINES[system]


def write_report(folder: Path, root: str, duplicates: str, overrides: Sequence[str]) -> str:
    """Write tables, claims and reports of the finished systems.

    Returns:
        The text of tables.md.

    Raises:
        MgcError: If no system is finished, or data is missing.
    """
    found = {task: list_systems(folder / task) for task in TASKS}
    if not any(found.values()):
        raise MgcError(f"{folder} has no results. Run the command without --only.")
    runs = {task: load_finished(folder / task, names) for task, names in found.items() if names}
    for task, tested in runs.items():
        published = [run for run in tested if run.name in TASKS[task].ACCURACY]
        same = set(tested[0].test.labels) == set(TASKS[task].GENRES)
        paper = dieleman2011 if published and same else None
        make_report(tested, paper).save(folder / task / "report")
    cells = {
        (row_name(run.name), task): run.test for task, tested in runs.items() for run in tested
    }
    rates = pd.concat([read_rates(folder, task) for task in TASKS], ignore_index=True)
    notes = [
        *describe_data(root, duplicates, runs),
        *DIFFERENCES,
        *describe_overrides({"": overrides}),
        *describe_rates(rates),
        describe_other_claims(cells, rates),
    ]
    reproduction = Reproduction([make_table(cells)], list_claims(), cells, notes)
    reproduction.frames = {"rates": rates.set_index(["task", "system"])}
    return reproduction.save(folder)


def list_systems(folder: Path) -> list[str]:
    """List the systems with results in a task's folder, in the order of table 1."""
    names = {path.parent.parent.name for path in folder.glob("*/test/tracks.parquet")}
    networks = [name for name in names if name.rpartition("_")[0] in STARTS]
    networks.sort(key=lambda name: (-_epochs_of(name), name))
    return [*(name for name in BASELINES if name in names), *networks]


def _epochs_of(system: str) -> int:
    return int(re.sub(r"\D", "", system))


def make_table(cells: Mapping[Cell, Results]) -> ScoreTable:
    """Return table 1 with our scores."""
    published = {
        (row_name(system), task): (accuracy / 100, None)
        for task, paper in TASKS.items()
        for system, (accuracy, _) in paper.ACCURACY.items()
    }
    known = dict.fromkeys(row for row, _ in [*published, *cells])
    rows = [row for row in BASELINES.values() if row in known]
    return ScoreTable(
        TITLE,
        list(dict.fromkeys([*rows, *known])),
        list(TASKS),
        published,
        {cell: score(results) for cell, results in cells.items()},
        notes="The baselines have timbre as it is, networks have it normalised per track, as in "
        "the paper: section 5.2 describes this for the network only. `--only "
        "normalised_baselines,report` adds rows of baselines with normalised timbre. Confusion "
        "matrices are in genre/report, artist/report and key/report.",
    )


def list_claims() -> list[Claim]:
    """List the paper's claims about the order of systems."""
    logistic, bayes = BASELINES["logistic"], BASELINES["naive_bayes"]
    matched, pretrained = (
        {epochs: row_name(f"{start}_{epochs}") for epochs in EPOCHS} for start in STARTS
    )

    def over(title: str, better: Iterable[str], worse: str, task: str, source: str) -> Claim:
        pairs = tuple(((row, task), (worse, task)) for row in better)
        return Claim(f"{title} on {task}", pairs, source)

    networks = (matched[30], pretrained[30])
    claims = []
    for task in ("genre", "artist"):
        claims += [
            over("Convolutional network over logistic regression", networks, logistic, task,
                 "abstract, section 7"),
            over("Convolutional network over naive Bayes", networks, bayes, task, "section 7"),
        ]  # fmt: skip
    claims.append(
        Claim(
            "Logistic regression over the convolutional network on key",
            tuple(((logistic, "key"), (row, "key")) for row in networks),
            "section 7",
        )
    )
    claims += [
        over("Logistic regression over naive Bayes", [logistic], bayes, task, "table 1")
        for task in TASKS
    ]
    claims.append(
        over("With pretraining over without, 30 epochs,", [pretrained[30]], matched[30], "artist",
             "abstract, sections 7 and 8")
    )  # fmt: skip
    claims += [
        over("With pretraining over without, 20 epochs,", [pretrained[20]], matched[20], task,
             "section 7")
        for task in TASKS
    ]  # fmt: skip
    return claims


def describe_data(root: str, duplicates: str, runs: Mapping[str, Sequence[Run]]) -> list[str]:
    """Describe the tracks of the dataset and of each task."""
    from mgc.data.msd import MSDUnlabelled

    data = MSDUnlabelled(root, genre_tracks=0, artist_tracks=0, key_tracks=0, duplicates=duplicates)
    tracks = len(data.read_index())
    known = f"without those that {code(duplicates)} lists" if duplicates else "with duplicates"
    text = (
        f"Our data: {escape(root)}, {tracks:,} tracks of the Million Song Dataset {known}; the "
        f"paper has about {TRACKS:,}, without duplicates."
    )
    if tracks < 0.95 * TRACKS:
        text = f"**Our scores are not comparable with the paper's.** {text}"
    sizes = [
        f"{task} {len(tested[0].test.tracks)} test tracks of {len(tested[0].test.labels)} classes"
        for task, tested in runs.items()
    ]
    paper = "genre 500 of 20, artist 500 of 50, key 300 of 12"
    return [text, f"Tasks: {'; '.join(sizes)}. The paper: {paper}."]


def describe_rates(rates: pd.DataFrame) -> list[str]:
    """Return a table of the chosen learning rates, beside the paper's."""
    if not len(rates):
        return []
    chosen = choose_rates(rates).set_index(["task", "system"])["learning rate"]
    systems = [*LEARNING_RATES, *(s for s in dict.fromkeys(rates["system"])
                                  if s not in LEARNING_RATES)]  # fmt: skip
    head = ["learning rate", *(f"{task}, {who}" for task in TASKS for who in ("paper", "ours"))]
    lines = []
    for system in systems:
        line = [row_name(system)]
        for number, task in enumerate(TASKS):
            published = LEARNING_RATES.get(system)
            line.append(f"{published[number]:g}" if published else "")
            line.append(f"{chosen[task, system]:g}" if (task, system) in chosen.index else "")
        lines.append(line)
    return [
        "Learning rates with the best accuracy on validation tracks (rates.csv has all):",
        markdown.table(head, lines),
    ]


def describe_other_claims(cells: Mapping[Cell, Results], rates: pd.DataFrame) -> str:
    """Describe the claims that no order of systems on the same tracks can test."""
    accuracies = {cell: score(results).value for cell, results in cells.items()}

    def values(row: str) -> str:
        given = [f"{task} {accuracies[row, task]:.1%}" for task in TASKS if (row, task) in cells]
        return ", ".join(given) or "not run"

    found = [
        "*Key detection is much easier than the other tasks, even for the simplest technique* "
        f"(section 7) compares different tracks. Ours with {BASELINES['naive_bayes']}: "
        f"{values(BASELINES['naive_bayes'])}.",
        "*At 30 epochs, pretraining is only advantageous for the artist task* (section 7) says "
        "that there is no difference for the others, which no test can confirm. Ours, with minus "
        f"without: {_gains(accuracies, 30)}.",
        "*Unsupervised pretraining improves convergence speed in all cases* (abstract): the gain "
        f"after 20 epochs is larger than after 30. Ours after 20: {_gains(accuracies, 20)}.",
        "*Without pretraining, key detection does not converge within 30 epochs at a learning rate "
        f"of 0.005* (section 7). Ours on validation tracks: {_key_rates(rates)}.",
        *OPEN,
    ]
    return "Claims without a test, and open ones:\n\n" + "\n".join(f"- {line}" for line in found)


def _gains(accuracies: Mapping[Cell, float], epochs: int) -> str:
    """Format the gain by pretraining in each task."""
    matched, pretrained = (row_name(f"{start}_{epochs}") for start in STARTS)
    gains = [
        f"{task} {100 * (accuracies[pretrained, task] - accuracies[matched, task]):+.1f} points"
        for task in TASKS
        if (pretrained, task) in accuracies and (matched, task) in accuracies
    ]
    return ", ".join(gains) or "not run"


def _key_rates(rates: pd.DataFrame) -> str:
    """Format the accuracies of both starts on key with a learning rate of 0.005."""
    rows = rates[(rates["task"] == "key") & (rates["learning rate"] == 0.005)]

    def lines() -> Iterator[str]:
        for system, accuracy in zip(rows["system"], rows["validation accuracy"], strict=True):
            if system.rpartition("_")[0] in STARTS:
                yield f"{row_name(system)} {accuracy:.1%}"

    return ", ".join(lines()) or "not run"
