"""Writes the page of results from the files of ``mgc reproduce`` commands.

A folder has a subfolder per paper, and in it one per experiment, with ``command.txt`` and the files
of :meth:`mgc.papers.reproducing.Reproduction.save`. To write the page of this project, run
``python -m mgc.papers.results_page docs/results docs/results.md``.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from mgc.core import markdown
from mgc.core.csv import read_csv
from mgc.core.text_files import read_text
from mgc.papers import load_paper
from mgc.papers.claims import claims_table
from mgc.papers.reproducing import CLAIMS, NOTES, SCORES
from mgc.papers.tables import read_tables

#: File with the command of an experiment.
COMMAND = "command.txt"

INTRODUCTION = """\
# Results beside those of the papers

Each section names a paper, the command, the data, our scores beside the published ones, and tests
of the paper's claims. `mgc reproduce` has written the files in `docs/results`, and
`python -m mgc.papers.results_page docs/results docs/results.md` this page from them."""

#: Columns of the tables with names instead of numbers.
_NAMES = (
    "table",
    "row",
    "column",
    "method",
    "unit",
    "claim",
    "source",
    "pairs",
    "verdict",
    "reason",
)


def make_page(folder: Path) -> str:
    """Return the page of results in Markdown.

    Args:
        folder: Folder with the result files. Links to pictures begin with its name.

    Raises:
        MgcError: If a file is missing or damaged.
    """
    parts = [INTRODUCTION]
    for paper in sorted(path for path in folder.iterdir() if path.is_dir()):
        source = " ".join((load_paper(paper.name).__doc__ or "").partition("Source: ")[2].split())
        parts += [markdown.heading(paper.name, 2), markdown.escape(source)]
        for experiment in sorted(path for path in paper.iterdir() if path.is_dir()):
            parts += _sections(experiment, folder.name)
    return "\n\n".join(parts) + "\n"


def _sections(experiment: Path, root: str) -> Iterator[str]:
    yield markdown.heading(experiment.name, 3)
    yield f"```\n{read_text(experiment / COMMAND).strip()}\n```"
    for table in read_tables(read_csv(experiment / SCORES, _NAMES)):
        yield table.markdown(level=4)
    # Links of the notes are relative to their folder; the pictures follow below.
    notes = read_text(experiment / NOTES).strip().split("\n\n")
    yield "\n\n".join(note for note in notes if not note.startswith("!["))
    yield claims_table(read_csv(experiment / CLAIMS, _NAMES))
    for picture in sorted(experiment.glob("*.png")):
        path = Path(root, *picture.parts[-3:]).as_posix()
        yield markdown.image(picture.stem.replace("_", " "), path)


def main(folder: str, page: str) -> None:
    """Write the page of results."""
    Path(page).write_text(make_page(Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
