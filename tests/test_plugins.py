"""Test that plugins can be installed and import public names only."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[1] / "plugins"
PACKAGES = sorted(path.parent for path in PLUGINS.glob("*/pyproject.toml"))


def test_plugins_are_installed_and_found(tmp_path: Path) -> None:
    # Build copies, because building writes to the source folder.
    words = "-m uv pip install -q --no-cache --offline --no-deps --no-build-isolation --target"
    copies = tmp_path / "copies"
    leftovers = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    for package in PACKAGES:
        shutil.copytree(package, copies / package.name, ignore=leftovers)
    site, environment = tmp_path / "site", os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    subprocess.run(
        [sys.executable, *words.split(), site, *copies.iterdir()], check=True, env=environment
    )
    code = (
        "from mgc import registry\n"
        "for kind in registry.GROUPS:\n"
        "    for name, (claim, *_) in registry.find(kind).items():\n"
        "        if claim.dist.name != 'mgc-lightning':\n"
        "            print(claim.dist.name, registry.load_claim(kind, claim).__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True
    )
    found = [line.split() for line in done.stdout.splitlines()]
    assert {name for name, _ in found} == {package.name for package in PACKAGES}
    assert all(module.startswith("mgc_") for _, module in found)
    listed = subprocess.run(
        [sys.executable, "-m", "mgc", "configs"],
        check=True,
        env=environment,
        capture_output=True,
        text=True,
    )
    configs = {line.split()[0] for line in listed.stdout.splitlines()}
    shipped = {path.stem for path in PLUGINS.glob("mgc-segment-codes/configs/*.yaml")}
    assert shipped
    assert shipped <= configs


def public_names() -> list[str]:
    """Return the public names listed in the README of the plugins."""
    text = (PLUGINS / "README.md").read_text()
    promised = text.partition("Public are:")[2].partition("Of these,")[0]
    return re.findall(r"`(mgc(?:\.\w+)+)", promised)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_plugins_import_public_names_only(package: Path) -> None:
    public = public_names()
    assert "mgc.models.base" in public
    for path in [p for p in package.rglob("*.py") if "build" not in p.parts]:
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name.split(".")[0] != "mgc":
                    continue
                assert any(f"{name}.".startswith(f"{known}.") for known in public), (path, name)
                assert "._" not in name, (path, name)
