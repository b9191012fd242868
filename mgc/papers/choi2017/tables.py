"""Tables of Choi et al. (2017) with our scores: figures 2 to 9 as numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from os import PathLike
from pathlib import Path

import pandas as pd

from mgc.evaluation.intervals import NOT_COMPUTED, Score, read_intervals
from mgc.evaluation.results import Results
from mgc.papers.choi2017 import EMOTION_IN_TEXT, SCORES, TAGGING_AUC, TARGETS, Target
from mgc.papers.tables import Cell, Published, ScoreTable
from mgc.transfer.outcome import Transfer

#: Combinations of the five blocks, most blocks first.
COMBINATIONS = ["".join(c) for n in range(5, 0, -1) for c in combinations("12345", n)]

#: Combinations without scores in the paper.
UNPUBLISHED = ("1235", "1245", "1345")

ALL, LAST, MFCC, BOTH = "12345", "5", "mfcc", "12345+mfcc"

#: Rows of the summary that are not combinations.
BEST, IN_TEXT, RANDOM_BEST, STATE_OF_THE_ART = (
    "best convnet feature", "… in section 4.2.4", "best random convnet feature", "state of the art"
)  # fmt: skip

#: Rows of figure 2, with more rows of ours.
SUMMARY = (BEST, IN_TEXT, ALL, LAST, BOTH, MFCC, RANDOM_BEST, STATE_OF_THE_ART)

TAGGING = "Section 3.1: ROC-AUC of the tagger"


def random_row(combination: str) -> str:
    """Return the row of a random convnet feature."""
    return f"random {combination}"


@dataclass
class Experiment:
    """Results of one target.

    Attributes:
        name: Key of :data:`mgc.papers.choi2017.TARGETS`.
        convnet: Results with trained features and MFCCs.
        random: Results with random convnet features, if any.
    """

    name: str
    convnet: Transfer | None = None
    random: Transfer | None = None

    @property
    def target(self) -> Target:
        """Description of the target."""
        return TARGETS[self.name]

    @property
    def parts(self) -> dict[str, Transfer]:
        """Results by the prefix of their rows."""
        found = {"": self.convnet, random_row(""): self.random}
        return {prefix: results for prefix, results in found.items() if results is not None}

    def summary(self, results: Transfer) -> pd.DataFrame:
        """Return the scores of this target by combination."""
        rows = results.summary
        return rows[rows["target"] == self.target.column].set_index("layers")

    def cells(self) -> dict[Cell, Results]:
        """Return the nested predictions of each combination, and of the best one.

        The best combination is chosen within each training fold.
        """
        title, column = self.target.title, self.target.column
        found: dict[Cell, Results] = {}
        for prefix, results in self.parts.items():
            known = self.summary(results).index
            for name in known:
                found[f"{prefix}{name}", title] = results.select(column, [name])
            blocks = [name for name in COMBINATIONS if name in known]
            if blocks:
                best = RANDOM_BEST if prefix else BEST
                found[best, title] = results.select(column, blocks)
        return found

    def scores(self, protocol: str) -> dict[str, Score]:
        """Return our scores by row: ``paper`` or ``nested``."""
        found: dict[str, Score] = {}
        for prefix, results in self.parts.items():
            summary = self.summary(results)
            if protocol == "nested":
                intervals = read_intervals(summary.reset_index(), "nested_")
            else:
                intervals = [NOT_COMPUTED] * len(summary)
            for name, value, interval in zip(
                summary.index, summary[protocol], intervals, strict=True
            ):
                found[f"{prefix}{name}"] = Score(value, interval)
            blocks = summary[protocol][summary.index.isin(COMBINATIONS)]
            if len(blocks) and protocol == "paper":
                row = RANDOM_BEST if prefix else BEST
                found[row] = Score(float(blocks.max()), NOT_COMPUTED)
        return found


def published_rows(name: str, scores: Mapping[str, Mapping[str, float]]) -> dict[str, Published]:
    """Return the published scores of a target by row."""
    known = dict(scores[name])
    best = known.pop("best", None)
    named = [value for row, value in known.items() if row in COMBINATIONS]
    rows = {BEST: best if best is not None else max(named)}
    if name in EMOTION_IN_TEXT:
        rows[IN_TEXT] = EMOTION_IN_TEXT[name]
    if "state_of_the_art" in known:
        rows[STATE_OF_THE_ART] = known.pop("state_of_the_art")
    return {row: (value, None) for row, value in (rows | known).items()}


def make_tables(
    experiments: Iterable[Experiment],
    cells: Mapping[Cell, Results],
    scores: Mapping[str, Mapping[str, float]] = SCORES,
    tagging: Score | None = None,
) -> list[ScoreTable]:
    """Return the tables of the paper with our scores.

    Args:
        experiments: Results of each target.
        cells: Nested predictions of :meth:`Experiment.cells`.
        scores: Published scores by target and combination.
        tagging: ROC-AUC of the tagger on its test tracks.
    """
    from mgc.evaluation.intervals import score

    experiments = list(experiments)
    tables = []
    for title, emotion in (("accuracy", False), ("r²", True)):
        published: dict[Cell, Published] = {}
        ours: dict[Cell, Score] = {}
        columns = []
        for experiment in experiments:
            target = experiment.target
            if (target.task == "emomusic") != emotion:
                continue
            nested = f"{target.title}, nested"
            columns += [target.title, nested]
            for row, value in published_rows(experiment.name, scores).items():
                published[row, target.title] = value
            by_protocol = {p: experiment.scores(p) for p in ("paper", "nested")}
            for row in (BEST, RANDOM_BEST):
                if (row, target.title) in cells:
                    by_protocol["nested"][row] = score(cells[row, target.title])
            for column, found in zip((target.title, nested), by_protocol.values(), strict=True):
                ours |= {(row, column): value for row, value in found.items()}
        if columns:
            shown = {cell: value for cell, value in ours.items() if cell[0] in SUMMARY}
            known = {row for row, _ in (*published, *shown)}
            rows = [row for row in SUMMARY if row in known]
            tables.append(
                ScoreTable(f"Figure 2: {title}", rows, columns, published, shown, not emotion)
            )
    tables += [_make_figure(experiment, scores) for experiment in experiments]
    cell = "vgg_tagger", "ROC-AUC"
    auc = {} if tagging is None else {cell: tagging}
    tables.append(
        ScoreTable(TAGGING, cell[:1], cell[1:], {cell: (TAGGING_AUC, None)}, auc, percent=False)
    )
    return tables


def _make_figure(experiment: Experiment, scores: Mapping[str, Mapping[str, float]]) -> ScoreTable:
    """Return the scores of all combinations of a target."""
    target = experiment.target
    columns = (target.title, "nested", "random", "random, nested")
    ours: dict[Cell, Score] = {}
    for protocol, pair in (("paper", columns[::2]), ("nested", columns[1::2])):
        for row, value in experiment.scores(protocol).items():
            prefix = random_row("")
            column = pair[1] if row.startswith(prefix) else pair[0]
            ours[row.removeprefix(prefix), column] = value
    published = {
        (row, target.title): value for row, value in published_rows(experiment.name, scores).items()
    }
    rows = [*COMBINATIONS, MFCC, BOTH]
    known = {cell[0] for cell in (*ours, *published)}
    shown = columns if experiment.random else columns[:2]
    return ScoreTable(
        f"Figure {target.figure}: {target.title}",
        [row for row in rows if row in known],
        shown,
        published,
        ours,
        percent=target.task != "emomusic",
    )


def load_experiments(folder: str | PathLike[str]) -> list[Experiment]:
    """Read the results of all targets in the output folder of ``mgc reproduce choi2017``."""
    found = []
    for name, target in TARGETS.items():
        parts = {
            part: Transfer.load(Path(folder, target.task, part))
            for part in ("convnet", "random")
            if Path(folder, target.task, part, "summary.csv").is_file()
        }
        if parts:
            found.append(Experiment(name, **parts))
    return found
