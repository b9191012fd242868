"""Test that imports between parts of mgc point down, without cycles."""

import ast
import re
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import mgc
from mgc.cli import COMMANDS

ROOT = Path(mgc.__file__).parent

#: Folders and modules of mgc from top to bottom. Each may import itself and those below.
LAYERS = (
    "__main__", "cli", "commands", "papers", "experiments", "training", "testing", "reports",
    "transfer", "deployment", "models", "evaluation", "checkpoint", "runs", "features", "registry",
    "data", "synthesis", "configurations", "core", "libraries", "locks", "installation", "task",
    "errors",
)  # fmt: skip


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


#: All modules except mgc itself, which loads public names lazily.
SOURCES = {
    module_name(path): path
    for path in sorted(ROOT.rglob("*.py"))
    if "plugin_template" not in path.parts and path != ROOT / "__init__.py"
}


def imports(text: str) -> set[str]:
    """Return all imported modules of mgc, including imports in functions and for types."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in SOURCES}
        elif isinstance(node, ast.ImportFrom) and node.module in SOURCES:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in SOURCES else node.module for name in names}
    return found


def layer(module: str) -> int:
    return LAYERS.index(module.split(".")[1])


def upward(module: str, text: str) -> list[str]:
    return sorted(name for name in imports(text) if layer(name) < layer(module))


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_down(module: str) -> None:
    assert not upward(module, SOURCES[module].read_text())


def test_upward_imports_in_functions_are_found() -> None:
    text = "def load():\n    from mgc.models.base import MusicModel\n"
    assert upward("mgc.evaluation.callback", text) == ["mgc.models.base"]
    text = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mgc.features import mfcc\n"
    )
    assert upward("mgc.data.base", text) == ["mgc.features.mfcc"]
    assert not upward("mgc.models.base", text)


def test_imports_have_no_cycles() -> None:
    graph = {module: imports(path.read_text()) for module, path in SOURCES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(SOURCES)


def test_only_main_imports_the_command_line() -> None:
    importing = {m for m, path in SOURCES.items() if "mgc.cli" in imports(path.read_text())}
    assert importing == {"mgc.__main__"}


def test_commands_are_not_imported() -> None:
    targets = {command.target.partition(":")[0] for command in COMMANDS.values()}
    importing = {m for m, path in SOURCES.items() if targets & imports(path.read_text())}
    assert not importing


def test_targets_of_commands_are_functions() -> None:
    for name, command in COMMANDS.items():
        module, _, function = command.target.partition(":")
        assert callable(getattr(import_module(module), function)), name


def test_modules_started_by_name_exist() -> None:
    calls = r"(?:start_module|import_module)\(\s*\"(mgc[\w.]+)\""
    named = [n for path in SOURCES.values() for n in re.findall(calls, path.read_text())]
    assert "mgc.experiments.fold_run" in named
    assert set(named) <= set(SOURCES)


@pytest.mark.parametrize(
    ("call", "module"),
    [(r"(?<![\w.])print\(", "mgc.core.terminal"), (r"\.to_csv\(", "mgc.core.csv")],
)
def test_names_are_escaped_in_one_place(call: str, module: str) -> None:
    using = {name for name, path in SOURCES.items() if re.search(call, path.read_text())}
    assert using == {module}
