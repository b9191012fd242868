from collections.abc import Callable

import pytest

import mgc
from mgc.cli import main


def rows(capsys: pytest.CaptureFixture[str], *options: str) -> list[list[str]]:
    main(["list", *options])
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_verbose_lists_folders_and_requirements_of_packages(
    capsys: pytest.CaptureFixture[str], install: Callable[..., None], tmp_path
) -> None:
    install("old_one", "raise SystemExit", requires="mgc<0.0.2", old="old_one:Net")
    install("new_one", "raise SystemExit", new="new_one:Net")
    table = rows(capsys, "--verbose")
    assert ["model", "old", "old_one", "1.0", "old_one:Net"] in table
    assert ["old_one", "1.0", "<0.0.2", "no", str(tmp_path)] in table
    assert ["new_one", "1.0", "any", "yes", str(tmp_path)] in table
    mine = next(row for row in table if row[:2] == [mgc.DISTRIBUTION, mgc.__version__])
    assert mine[2:4] == ["any", "yes"]
    assert ["old_one", "1.0", "<0.0.2", "no", str(tmp_path)] not in rows(capsys)


def test_check_lists_broken_components(
    capsys: pytest.CaptureFixture[str], install: Callable[..., None]
) -> None:
    install("bad_two", "import nowhere_at_all", bad="bad_two:Net")
    install("twin_two", "", vgg_tagger="twin_two:Net")
    lines = [" ".join(row) for row in rows(capsys, "--check")]
    broken = [line for line in lines if line.startswith("broken: ")]
    assert len(broken) == 2
    assert "bad_two 1.0 could not be imported" in broken[0]
    assert broken[1] == "broken: 2 packages register the model 'vgg_tagger'."
