"""Redraws the figures of Choi et al. (2017) with our scores."""

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.figure import Figure

from mgc.core.figures import PlainFigure
from mgc.evaluation.colours import BLOCKS, COMPARED, OTHERS, PUBLISHED
from mgc.papers.choi2017.tables import (
    ALL,
    BEST,
    BOTH,
    LAST,
    MFCC,
    STATE_OF_THE_ART,
    Experiment,
    published_rows,
)
from mgc.transfer.report import make_report

#: Bars of figure 2 with their colours.
BARS = {BEST: BLOCKS, BOTH: COMPARED, MFCC: OTHERS, STATE_OF_THE_ART: PUBLISHED}


def draw_figures(
    experiments: Iterable[Experiment], scores: Mapping[str, Mapping[str, float]]
) -> dict[str, Figure]:
    """Return figures 2 to 9 by file name without suffix.

    Args:
        experiments: Results of each target.
        scores: Published scores by target and combination.
    """
    experiments = list(experiments)
    figures = {"figure2": _summarise(experiments, scores)} if experiments else {}
    tasks: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        tasks.setdefault(experiment.target.task, []).append(experiment)
    for task, targets in tasks.items():
        results = {prefix.strip() or task: part for prefix, part in targets[0].parts.items()}
        known = set(next(iter(results.values())).predictions["layers"])
        compare = [ALL, LAST] if task == "gtzan" and {ALL, LAST} <= known else []
        report = make_report(
            results,
            published="choi2017",
            built_in={"choi2017": scores},
            tasks=[each.name for each in targets],
            compare=compare,
        )
        for each in targets:
            name = f"figure{each.target.figure}_{each.name}"
            figures[name] = report.plots[f"combinations_{each.target.column}"]
        if compare:
            figures["figure5_gtzan"] = report.plots[f"classes_{ALL}_{LAST}"]
    return figures


def _summarise(experiments: list[Experiment], scores: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw figure 2: four features for each target."""
    figure = PlainFigure(figsize=(max(7.0, 2 + 1.4 * len(experiments)), 4.5), layout="constrained")
    axes = figure.subplots()
    positions = np.arange(len(experiments))
    width = 0.8 / len(BARS)
    for number, (row, colour) in enumerate(BARS.items()):
        ours, theirs = [], []
        for experiment in experiments:
            found = experiment.scores("paper").get(row)
            ours.append(found.value if found else np.nan)
            theirs.append(published_rows(experiment.name, scores).get(row, (np.nan, None))[0])
        x = positions + (number - 1.5) * width
        label = row if row == STATE_OF_THE_ART else f"{row}, paper protocol"
        heights = theirs if row == STATE_OF_THE_ART else ours
        axes.bar(x, heights, 0.9 * width, color=colour, label=label)
        if row != STATE_OF_THE_ART:
            axes.plot(
                x,
                theirs,
                "D",
                markersize=5,
                markerfacecolor="none",
                markeredgecolor=PUBLISHED,
                label="published" if number == 0 else None,
            )
    axes.set_xticks(positions, [each.target.title for each in experiments])
    axes.set_ylabel("accuracy, or r² of arousal and valence")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure
