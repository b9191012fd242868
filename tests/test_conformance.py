"""Run the checks of mgc.testing on every model and dataset of mgc."""

import tomllib
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest
import registered

import mgc
from mgc import registry
from mgc.testing import DATA_CHECKS, MODEL_CHECKS, DataCase, ModelCase


def test_registered_classes_are_installed() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    installed = distribution(mgc.DISTRIBUTION).entry_points
    for group in registry.GROUPS.values():
        found = {
            entry_point.name: entry_point.value for entry_point in installed.select(group=group)
        }
        assert found == pyproject["project"]["entry-points"][group], "run make install again"


def cases(kind, settings, checks):
    for name, claims in registry.find(kind).items():
        if claims[0].dist.name != mgc.DISTRIBUTION:
            continue  # belongs to a plugin, which has its own tests
        for check in settings.get(name, {}).get("checks", checks):
            yield pytest.param(name, check, id=f"{name}-{check.__name__.removeprefix('check_')}")


@pytest.mark.parametrize(("name", "check"), [*cases("model", registered.MODELS, MODEL_CHECKS)])
def test_model(name: str, check: Callable[[ModelCase], None]) -> None:
    settings = {k: v for k, v in registered.MODELS.get(name, {}).items() if k != "checks"}
    check(ModelCase(registry.load("model", name), **settings))


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> Callable[[str], Path]:
    """Return a function that writes the tiny copy of a dataset once per writer."""
    written: dict[Callable, Path] = {}

    def copy(name: str) -> Path:
        write = registered.writer(name)
        if write not in written:
            written[write] = tmp_path_factory.mktemp(name)
            write(written[write])
        return written[write]

    return copy


@pytest.mark.parametrize(("name", "check"), [*cases("data", registered.DATA, DATA_CHECKS)])
def test_data(name: str, check: Callable[[DataCase], None], copies) -> None:
    settings = {
        k: v for k, v in registered.DATA.get(name, {}).items() if k not in ("checks", "writer")
    }
    check(DataCase(registry.load("data", name), copies(name), **settings))
