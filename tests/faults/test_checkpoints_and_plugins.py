"""Hostile checkpoints and misbehaving plugins are named in one line."""

import random
import re
import shutil
from pathlib import Path

import pytest
import yaml
from fault_cases import Case
from fault_examples import CKPT, EXAMPLES
from hostile_checkpoints import hostile_checkpoints
from misbehaving_plugins import Plugin, install_plugin, misbehaving_plugins, save_checkpoint


def test_hostile_checkpoints(case: Case) -> None:
    """Changed checkpoints are refused in one line, or the change is harmless."""
    words = f"{case.name} {case.example.with_checkpoint}"
    if CKPT not in words:
        pytest.skip("reads no checkpoint")
    folder = case.new()
    case.material.copy(("runs/one", "music"), folder)
    seed = list(EXAMPLES).index(case.name)
    checkpoints = hostile_checkpoints(folder / CKPT, (folder / CKPT).parent, case.limit(10), seed)
    for name, path in checkpoints:
        changed = words.replace(CKPT, str(path.relative_to(folder)))
        ended = case.server.run(changed, folder, timeout=30 + 5 * case.reference.seconds)
        problem = ended.problem(0, 2)
        if not problem and ended.code == 2 and path.name not in ended.errors[0]:
            problem = f"does not name the file: {ended.errors[0][:160]}"
        if not problem and ended.code == 0 and re.search(r"\bnan\b", ended.out, re.IGNORECASE):
            problem = "exit 0 with NaN"
        if list((folder / CKPT).parent.glob("executed*")):
            problem = "executed code"
        case.add(name, problem, changed)


def test_misbehaving_plugins(case: Case) -> None:
    """A plugin that breaks a contract is named in one line."""
    words = f"{case.name} {case.example.words}"
    plugins = [*misbehaving_plugins()]
    random.Random(case.name).shuffle(plugins)
    usable = [plugin for plugin in plugins if use_plugin(case, words, plugin)]
    if not usable:
        pytest.skip("loads no models or data sets")
    for plugin in usable[: case.limit(10)]:
        folder = case.new()
        case.material.copy(("music",), folder)
        install_plugin(plugin, folder)
        changed = use_plugin(case, words, plugin, folder)
        ended = case.server.run(changed, folder, timeout=30 + 5 * case.reference.seconds)
        problem = ended.problem(0, 1, 2)
        if not problem and ended.code == 2 and plugin.name not in ended.errors[0]:
            problem = f"does not name the plugin: {ended.errors[0][:160]}"
        case.add(plugin.name, problem, changed)
        shutil.rmtree(folder)


def use_plugin(case: Case, words: str, plugin: Plugin, folder: Path | None = None) -> str:
    """Return a command with a plugin's model or data set; empty if it uses none."""
    config = "small.yaml" in case.example.inputs
    if plugin.kind == "data" and "gtzan" in words.split():
        return words.replace(" gtzan ", f" {plugin.name} ")
    if plugin.kind == "model" and CKPT in words and case.name != "card":
        if folder:
            save_checkpoint(plugin, folder / CKPT)
            configured = folder / "runs/one/config.yaml"
            if configured.is_file():
                use_in_config(configured, plugin)
        return words
    if config:
        if folder:
            use_in_config(folder / "small.yaml", plugin)
        return words.replace(" --model.channels=3", "")
    return ""


def use_in_config(path: Path, plugin: Plugin) -> None:
    """Replace the model or data set of a configuration."""
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config[plugin.kind]["class_path"] = plugin.class_path
    if plugin.kind == "model":
        del config["model"]["init_args"]
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
