from collections.abc import Callable
from importlib.metadata import Distribution, version

import pytest

from mgc.cli import main
from mgc.commands.doctor import unmet_requirements


def problems(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the problem lines of a doctor that exits with code 1."""
    with pytest.raises(SystemExit) as stop:
        main(["doctor"])
    assert stop.value.code == 1
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")]


def test_all_is_well(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    main(["doctor"])
    out = capsys.readouterr().out
    assert out.endswith("No problems found.\n")
    lines = {tuple(line.split()[:2]) for line in out.splitlines()}
    assert {(name, version(name)) for name in ("torch", "lightning", "soundfile")} <= lines
    assert "device: cpu, " in out
    assert "W&B at http://127.0.0.1:9 does not answer" in out
    assert "vgg_tagger" in out


def test_broken_packages_are_reported_and_do_not_affect_others(
    capsys: pytest.CaptureFixture[str], install: Callable[..., None]
) -> None:
    install("bad_one", "import nowhere_at_all\nclass Net: ...", bad="bad_one:Net")
    install("old_one", "", requires="mgc>=0.0.1,<0.0.2", old="old_one:Net")
    net = "import lightning.pytorch as pl\nclass Net(pl.LightningModule): ..."
    install("lone_one", net, requires="a-package-nobody-has>=3", lone="lone_one:Net")
    install("twin_one", "", vgg_tagger="twin_one:Net")
    found = [line.removeprefix("problem: ") for line in problems(capsys)]
    assert len(found) == 5
    assert "bad_one 1.0 could not be imported (bad_one:Net): ModuleNotFoundError" in found[0]
    assert "needs mgc>=0.0.1,<0.0.2, but this is mgc" in found[1]
    assert "More than one package registers the model 'vgg_tagger'" in found[2]
    assert set(found[3:]) == {
        "lone_one 1.0: needs a-package-nobody-has>=3, which is not installed",
        "old_one 1.0: requires 'mgc', which is another project on the package index; require "
        "mgc-lightning>=0.0.1,<0.0.2",
    }


def test_plugin_that_requires_another_project_works(
    capsys: pytest.CaptureFixture[str], install: Callable[..., None]
) -> None:
    net = "import lightning.pytorch as pl\nclass Net(pl.LightningModule): ..."
    install("early_one", net, requires="MGC", early="early_one:Net")
    (problem,) = problems(capsys)
    assert problem.startswith("problem: early_one 1.0: requires 'MGC', which is another project")
    assert problem.endswith("; require mgc-lightning")
    main(["list", "--check"])
    assert "All models and data sets can be imported." in capsys.readouterr().out


class Package(Distribution):
    """A package that is not installed."""

    def __init__(self, *requires: str) -> None:
        self._requires = list(requires)

    @property
    def requires(self) -> list[str]:
        return self._requires

    def read_text(self, filename: str) -> None:
        return None

    def locate_file(self, path: object) -> None:
        return None


def test_unmet_requirements() -> None:
    package = Package(
        "torch>=99",
        "torch>=1",
        "a-package-nobody-has[extra]>=3",
        "another; extra == 'dev'",
        "windows-only; sys_platform == 'win32'",
        "numpy",
        "not a requirement ==",
    )
    assert list(unmet_requirements(package)) == [
        ("torch", f"needs torch>=99, but torch {version('torch')} is installed"),
        (
            "a-package-nobody-has",
            "needs a-package-nobody-has[extra]>=3, which is not installed",
        ),
        ("", "has an invalid requirement 'not a requirement =='"),
    ]
