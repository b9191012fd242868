"""Reports a late fusion: scores, gain and paired tests against the single runs."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from mgc.core import markdown
from mgc.evaluation.alignment import align
from mgc.evaluation.intervals import MEASURE, gain, name_intervals, score
from mgc.evaluation.paired import correct_once, holm, mcnemar
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import Run


def describe_fusion(runs: Sequence[Run], fused: Results) -> str:
    """Compare a fusion with its runs.

    Single runs are scored like the fusion: by majority vote of the clips for ``fusion2``, else by
    mean probability.

    Returns:
        Markdown: scores with 95 % intervals over tracks, the gain over the best run, and for
        multiclass a McNemar test of every pair.
    """
    method = str(fused.source["fusion"])
    decision = "vote" if method == "fusion2" else "decision"
    singles = {run.name: align(run.test) for run in runs}
    scores = {run: score(results, decision) for run, results in singles.items()}
    rows = [*scores.items(), (method, score(fused))]
    interval = name_intervals(found.interval for _, found in rows)
    lines = [markdown.heading(f"Fusion: {method} of {', '.join(singles)}"), ""]
    cells = [[run, found.value, found.interval] for run, found in rows]
    lines.append(markdown.table(["", MEASURE[fused.task], interval], cells))
    best = max(scores, key=lambda run: np.nan_to_num(scores[run].value, nan=-np.inf))
    gained, between = gain(fused, singles[best], decision)
    lines += [
        "",
        f"Gain over the best single run, {markdown.escape(best)}: {gained:+.3f} "
        f"({between.name}: {between:+.3f}).",
    ]
    if "weights" in fused.source:
        lines += ["", f"Weights: {_describe_weights(fused.source['weights'], list(singles))}."]
    if fused.task == "multiclass":
        lines += ["", *_test_pairs(singles, fused, decision, method)]
    return "\n".join(lines) + "\n"


def _test_pairs(
    singles: dict[str, Results], fused: Results, decision: str, method: str
) -> list[str]:
    right = {run: correct_once(results, decision) for run, results in singles.items()}
    right[method] = correct_once(fused)
    seeds = fused.tracks.get("seed", fused.tracks["track"].iloc[:0])
    note = ""
    if seeds.nunique() > 1:
        note = f" (seed {seeds.iloc[0]} only, because other seeds test the same tracks)"
    lines = [f"Exact McNemar tests on {len(right[method])} tracks{note}:", ""]
    pairs = list(combinations(right, 2))
    tests = [mcnemar(right[one], right[two]) for one, two in pairs]
    adjusted = holm([test.p for test in tests])
    rows = [
        [one, two, test.only_first, test.only_second, f"{test.p:.3g}", f"{p:.3g}"]
        for (one, two), test, p in zip(pairs, tests, adjusted, strict=True)
    ]
    head = ["first", "second", "only first right", "only second right", "p", "p (Holm)"]
    return [*lines, markdown.table(head, rows)]


def _describe_weights(weights: dict[str, list[float]], names: list[str]) -> str:
    values = np.array(list(weights.values()))
    parts = []
    for name, column in zip(names, values.T, strict=True):
        spread = f" ({column.min():.2f} to {column.max():.2f} by fold)" if np.ptp(column) else ""
        parts.append(f"{markdown.escape(name)} {column.mean():.2f}{spread}")
    return ", ".join(parts)
