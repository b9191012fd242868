"""The page of results agrees with its files."""

from pathlib import Path

import pytest

from mgc.errors import MgcError
from mgc.papers.reproducing import SCORES, Reproduction
from mgc.papers.results_page import COMMAND, main, make_page
from mgc.papers.zhang2015.tables import list_claims, make_table

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_the_project_is_that_of_its_files() -> None:
    page = DOCS / "results.md"
    if not page.is_file():
        pytest.skip("docs/ is not part of the package")
    advice = "run python -m mgc.papers.results_page docs/results docs/results.md"
    assert page.read_text(encoding="utf-8") == make_page(DOCS / "results"), advice


def test_a_page_has_the_command_tables_notes_claims_and_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "zhang2015" / "gtzan"
    reproduction = Reproduction([make_table({}, "gtzan")], list_claims(), {}, ["Some music."])
    reproduction.save(folder)
    (folder / COMMAND).write_text("mgc reproduce zhang2015 --root gtzan\n")
    (folder / "t_sne.png").touch()
    main(str(tmp_path / "results"), str(tmp_path / "results.md"))
    page = (tmp_path / "results.md").read_text()
    assert "## zhang2015\n\nP. Zhang, X. Zheng" in page
    assert "```\nmgc reproduce zhang2015 --root gtzan\n```" in page
    assert "| DBN + SVM | 63.2 |" in page
    assert "| KCNN + SVM over KCNN (section 4.5) | +6.7 |" in page
    assert "Some music." in page
    assert "![t sne](results/zhang2015/gtzan/t_sne.png)" in page
    (folder / SCORES).write_bytes(b"\xff")
    with pytest.raises(MgcError, match=rf"{SCORES} is not a CSV table"):
        make_page(tmp_path / "results")
