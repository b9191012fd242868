"""Study of hyperparameters of Zhang et al. (2015), section 4.4."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from time import process_time
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from mgc.core.figures import PlainFigure
from mgc.core.markdown import image
from mgc.evaluation.colours import BLOCKS, PUBLISHED
from mgc.evaluation.intervals import mean_difference, score, track_gains
from mgc.evaluation.results import Results
from mgc.features.audio_words import COMPONENTS
from mgc.features.frame_bands import FRAME_FEATURES
from mgc.models.kcnn import KCNN
from mgc.papers.claims import Claim
from mgc.papers.tables import Cell, ScoreTable
from mgc.papers.zhang2015 import FEATURES
from mgc.papers.zhang2015.networks import STUDY, TABLE_1, study_network

#: Names of the plot and the table.
STUDY_FILES = "study"

TITLE = "Section 4.4: hyperparameters of the KCNN"

#: Words of a track of 30 s, and the size of its codebook.
WORDS, CODEBOOK = 161, 256

#: Steps of which the shortest is the time of a step.
REPEATS = 20

LABELS = {
    "window": "window size in words",
    "k": "k of k-max pooling",
    "units": "convolutional units",
    "hidden": "hidden units",
}


def row_name(setting: str, value: int) -> str:
    """Return the name of a row, such as ``window 5``."""
    return f"{setting} {value}"


def iterate_values() -> Iterable[tuple[str, int]]:
    """Iterate over the settings and their values."""
    return ((setting, value) for setting, values in STUDY.items() for value in values)


def read_study(folder: Path) -> dict[Cell, Results]:
    """Load the finished results, by row and feature, on the tests that all of them share.

    Settings and features without results other than those of the tables are left out.
    """
    cells: dict[Cell, Results] = {}
    for feature in FEATURES:
        found = {}
        for setting, value in iterate_values():
            path = folder / f"{study_network(setting, value)}_{feature}" / "test"
            if (path / "tracks.parquet").is_file():
                found[setting, value] = Results.load(path)
        studied = {key[0] for key in found if "/" in study_network(*key)}
        found = {key: results for key, results in found.items() if key[0] in studied}
        if not found:
            continue
        shared = set.intersection(*(_list_fits(results.tracks) for results in found.values()))
        for (setting, value), results in found.items():
            cells[row_name(setting, value), feature] = replace(
                results,
                tracks=_select_fits(results.tracks, shared),
                clips=_select_fits(results.clips, shared),
            )
    return cells


def make_study_table(cells: Mapping[Cell, Results]) -> ScoreTable:
    """Return our scores as a table. The paper has none."""
    rows = [row_name(*key) for key in iterate_values()]
    return ScoreTable(
        TITLE,
        [row for row in rows if any(cell[0] == row for cell in cells)],
        [feature for feature in FEATURES if any(cell[1] == feature for cell in cells)],
        {},
        {cell: score(results) for cell, results in cells.items()},
    )


def list_study_claims() -> list[Claim]:
    """List the claims of section 4.4 about an order."""
    best = row_name("window", TABLE_1["window"])
    return [
        Claim(
            f"{row_name('window', value)} over {best}",
            tuple(((row_name("window", value), f), (best, f)) for f in FEATURES),
            "section 4.4: marginally",
        )
        for value in STUDY["window"]
        if value > TABLE_1["window"]
    ]


def tabulate_study(cells: Mapping[Cell, Results]) -> pd.DataFrame:
    """Return scores, differences from the paper's values, and times of a training step."""
    lines = []
    for setting, value in iterate_values():
        for feature in FEATURES:
            results = cells.get((row_name(setting, value), feature))
            if results is None:
                continue
            accuracy = score(results)
            line: dict[str, Any] = {"setting": setting, "value": value, "feature": feature}
            line |= {"accuracy": accuracy.value, **accuracy.interval.columns()}
            base = cells.get((row_name(setting, TABLE_1[setting]), feature))
            if base is not None and value != TABLE_1[setting]:
                gains = track_gains(results, base).dropna()
                difference = mean_difference(gains)
                line["difference"] = difference.value
                line |= difference.interval.columns("difference_")
            line["step_ms"] = 1000 * measure_step(setting, value, feature)
            lines.append(line)
    frame = pd.DataFrame(lines)
    extra = [f"{p}{n}" for p in ("", "difference_") for n in ("interval", "method")]
    extra.append("difference_tracks")
    return frame.drop(columns=extra, errors="ignore").set_index("setting")


def plot_study(table: pd.DataFrame) -> Figure:
    """Plot accuracy and time of a training step against each setting."""
    figure = PlainFigure(figsize=(11, 5), layout="constrained")
    settings = list(dict.fromkeys(table.index))
    grid = figure.subplots(2, len(settings), sharex="col", sharey="row", squeeze=False)
    for (above, below), setting in zip(grid.T, settings, strict=True):
        for number, (feature, lines) in enumerate(table.loc[[setting]].groupby("feature")):
            x, y = lines["value"], 100 * lines["accuracy"]
            errors = [y - 100 * lines["low"], 100 * lines["high"] - y]
            style = {"color": BLOCKS, "marker": "osD^"[number], "label": str(feature)}
            above.errorbar(x, y, errors, capsize=3, linewidth=1, **style)
            below.plot(x, lines["step_ms"], linewidth=1, **style)
        for axes in (above, below):
            axes.axvline(TABLE_1[setting], color=PUBLISHED, linestyle="--", linewidth=1)
            axes.set_xscale("log")
            labels = [str(value) for value in STUDY[setting]]
            axes.set_xticks(STUDY[setting], labels, fontsize=8)
            axes.minorticks_off()
            axes.grid(axis="y", alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        below.set_xlabel(LABELS[setting])
    grid[1, 0].set_ylim(bottom=0)
    grid[0, 0].set_ylabel("accuracy in %")
    grid[1, 0].set_ylabel("CPU time of a step in ms")
    grid[0, -1].legend(frameon=False)
    return figure


def describe_study(table: pd.DataFrame) -> str:
    """Describe in Markdown what the study says of the claims of section 4.4."""

    def compare(setting: str, values: Sequence[int]) -> str:
        parts = []
        lines: list[dict[str, Any]] = table.reset_index().to_dict("records")  # type: ignore[assignment]
        times = {
            (line["setting"], line["value"], line["feature"]): line["step_ms"] for line in lines
        }
        for line in lines:
            base = times.get((setting, TABLE_1[setting], line["feature"]))
            if line["setting"] == setting and line["value"] in values and base:
                low, high = 100 * line["difference_low"], 100 * line["difference_high"]
                parts.append(
                    f"{row_name(setting, line['value'])} ({line['feature']}) "
                    f"{100 * line['difference']:+.1f} points ({low:+.1f} to {high:+.1f}), "
                    f"{line['step_ms'] / base:.1f} times the time"
                )
        return "; ".join(parts) or f"{setting} not run"

    def others(setting: str) -> str:
        return compare(setting, [value for value in STUDY[setting] if value != TABLE_1[setting]])

    larger = [value for value in STUDY["window"] if value > TABLE_1["window"]]
    features = table.drop_duplicates("feature")
    tests = ", ".join(
        f"{feature} {tracks} test tracks"
        for feature, tracks in zip(features["feature"], features["tracks"], strict=True)
    )
    return "\n".join(
        [
            "Hyperparameters (section 4.4). The paper tried a few networks on 100 tracks of GTZAN "
            "after training on the other 900, ten runs each, and prints neither the values nor "
            f"scores; the values here are ours ({tests}). Each network differs from that of "
            "table 1 in one setting. Differences are from its accuracy, with 95 % paired bootstrap "
            "intervals; the time is the CPU time of a training step on one track of 30 s.",
            "",
            "- *The numbers of convolutional and hidden units, provided they are large enough, "
            f"have a limited impact.* {others('units')}; {others('hidden')}.",
            "- *k = 5 achieves a good trade-off between training speed and performance.* "
            f"{others('k')}.",
            "- *Performance improves marginally when the window size is larger than 5, but the "
            f"training time increases drastically.* {compare('window', larger)}. Order of the "
            "scores: below.",
            "- *Training could be faster with a larger learning rate.* Open: the paper does not "
            "say which rates it compared, or how long it trained.",
            "",
            image("accuracy and time of a step by hyperparameter", f"{STUDY_FILES}.png"),
        ]
    )


def measure_step(setting: str, value: int, feature: str) -> float:
    """Measure the CPU time of a training step on a track of 30 s, in seconds."""
    names = FRAME_FEATURES if feature == "ALL" else (feature,)
    return _measure_step(tuple((TABLE_1 | {setting: value}).items()), len(names))


@cache
def _measure_step(sizes: tuple[tuple[str, int], ...], features: int) -> float:
    """Return the shortest CPU time, which depends least on what else the machine computes."""
    tables = {str(number): (CODEBOOK, COMPONENTS) for number in range(features)}
    settings: dict[str, Any] = dict(sizes)
    net = KCNN(10, tables, **settings)
    optimizer = torch.optim.SGD(net.parameters(), 0.02, weight_decay=1e-4)
    words = {name: torch.arange(WORDS)[None] for name in tables}
    target = torch.zeros(1, dtype=torch.long)
    times = []
    for _ in range(REPEATS):
        begin = process_time()
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(words), target).backward()
        optimizer.step()
        times.append(process_time() - begin)
    return min(times)


def _list_fits(tracks: pd.DataFrame) -> set[tuple[int, int]]:
    """Return the seeds and test folds."""
    return set(tracks[["seed", "fold"]].itertuples(index=False, name=None))


def _select_fits(rows: pd.DataFrame, fits: set[tuple[int, int]]) -> pd.DataFrame:
    keys = rows[["seed", "fold"]].itertuples(index=False, name=None)
    return rows[[key in fits for key in keys]].reset_index(drop=True)
