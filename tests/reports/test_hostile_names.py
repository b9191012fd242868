"""Reports of runs and labels whose names look like markup, formulas and control characters."""

import csv
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from mgc.core.csv import read_csv
from mgc.core.text import visible
from mgc.evaluation.fusion_report import describe_fusion
from mgc.evaluation.per_class import confusion_matrix, plot_confusion
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import Run
from mgc.reports.comparison import ComparedRun, compare
from mgc.reports.label_errors import find_label_errors

NAMES = [
    "a|b", "two\nlines", "<script>alert(1)</script>", "![](http://x/y.png)", "[x](javascript:y)",
    "`code`", "*_~x~_*", "=cmd()", "+1a", "-x", "@y", "\tz", "\x1b[31mred\x07", "gpj.\u202eexe",
    "a\u2028b\x85c", "$\\frac$ $", "# title", "1. one", " spaces ", "&lt;b&gt;", "C:\\x\\",
]  # fmt: skip


def results(labels: list[str]) -> Results:
    names = [f"t{i}" for i in range(2 * len(labels))]
    truth = np.resize(labels, len(names)).astype(object)
    rows = pd.DataFrame({"track": names, "split": "test"})
    rows["label"] = rows["decision"] = rows["vote"] = pd.Series(truth, dtype=object)
    rows[[f"probability.{label}" for label in labels]] = np.eye(len(labels))[
        np.arange(len(names)) % len(labels)
    ]
    clips = rows.drop(columns="vote").assign(clip=0, start=0.0)
    return Results(clips, rows, "multiclass", tuple(labels), {})


def check_markdown(text: str) -> list[str]:
    """Return the cells of all tables, after checking that there is no markup from a name."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    inner = [token for block in tokens for token in block.children or ()]
    assert not {t.type for t in [*tokens, *inner]} & {
        "html_block", "html_inline", "link_open", "image", "em_open", "s_open",
    }  # fmt: skip
    assert len(visible(text, lines=True)) == len(text)
    cells, inside = [], False
    for token in tokens:
        inside = inside or token.type in ("td_open", "th_open")
        if inside and token.type == "inline":
            cells.append("".join(part.content for part in token.children or ()))
            inside = False
    return cells


class Cells(HTMLParser):
    """Collects tags and the text of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.inside = tag in ("td", "th")
        if self.inside:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


def shown(name: str) -> str:
    return visible(" ".join(name.splitlines()))


def test_comparison(tmp_path: Path) -> None:
    runs = [ComparedRun(name, {"model.lr": str(i), "note": name}) for i, name in enumerate(NAMES)]
    compare(runs, tmp_path)
    cells = check_markdown((tmp_path / "compare.md").read_text(encoding="utf-8"))
    assert {shown(name) for name in NAMES} <= set(cells)
    page = Cells((tmp_path / "compare.html").read_text(encoding="utf-8"))
    assert not page.tags & {"script", "img", "a"}
    # HTML shows any white space as one space.
    joined = [" ".join(visible(name).split()) for name in NAMES]
    assert set(joined) <= {" ".join(cell.split()) for cell in page.cells}
    with (tmp_path / "compare.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert not [cell for row in rows for cell in row if cell.startswith(tuple("=@\t"))]


def test_fusion() -> None:
    tested = results(["a", "b"])
    runs = [Run(name, tested, tested) for name in NAMES[:4]]
    fused = Results(tested.clips, tested.tracks, "multiclass", ("a", "b"), {"fusion": "mean"})
    cells = check_markdown(describe_fusion(runs, fused))
    assert {shown(name) for name in NAMES[:4]} <= set(cells)


@pytest.mark.parametrize("name", NAMES)
def test_confusion_matrix(name: str, tmp_path: Path) -> None:
    counts = confusion_matrix(results([name, "b"]))
    plot_confusion(counts, name, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size


@pytest.mark.parametrize("name", NAMES)
def test_label_errors(name: str, tmp_path: Path) -> None:
    wrong = results(["b", name, "c"])
    wrong.tracks.loc[:2, "track"] = [name, f"{name}2", "t3"]
    wrong.tracks.loc[0, "label"] = name
    errors = find_label_errors({name: wrong})
    errors.save(tmp_path, no_audio=name)
    check_markdown((tmp_path / "report.md").read_text(encoding="utf-8"))
    page = (tmp_path / "labels.html").read_text(encoding="utf-8")
    assert Cells(page).tags <= {"meta", "title", "style", "h1", "p", "section", "h2", "b"}
    table = read_csv(tmp_path / "labels.csv", text=("track", "label", "suggested"))
    assert table["track"].tolist() == errors.tracks["track"].tolist()
    assert table["label"].tolist() == errors.tracks["label"].tolist()
