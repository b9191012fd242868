"""Expands short names of models and data sets in configurations and on the command line."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jsonargparse import get_loader
from lightning.pytorch.cli import LightningCLI

from mgc import registry
from mgc.configurations import find_configuration
from mgc.registry import GROUPS
from mgc.training.options import CONFIG_OPTIONS


def load_config(stream: str) -> Any:
    """Load YAML and expand short names."""
    value = get_loader("yaml")(stream)
    return expand_names(value) if isinstance(value, dict) else value


def expand_names(config: dict[str, Any]) -> dict[str, Any]:
    """Replace short names by class paths, in place.

    Args:
        config: A configuration, or a section from its own file.
    """
    for key, value in config.items():
        if key in GROUPS:
            if isinstance(value, str) and registry.is_name(key, value):
                config[key] = registry.class_path(key, value)
            elif isinstance(value, dict) and isinstance(value.get("class_path"), str):
                value["class_path"] = _class_path(key, value["class_path"])
        elif key in LightningCLI.subcommands() and isinstance(value, dict):
            expand_names(value)
        elif key == "class_path" and isinstance(value, str):
            # A section from its own file: --model model.yaml.
            for kind in GROUPS:
                if value in registry.find(kind):
                    config[key] = registry.class_path(kind, value)
    return config


def expand_arguments(args: list[str]) -> list[str]:
    """Expand names in ``--model NAME``, ``--config=NAME`` and similar options.

    Raises:
        MgcError: If a name is unknown.
    """
    options: dict[str, Callable[[str], str]] = {
        f"--{kind}{suffix}": partial(_class_path, kind)
        for kind in GROUPS
        for suffix in ("", ".class_path", ".help")
    } | dict.fromkeys(CONFIG_OPTIONS, _config_path)
    expanded: list[str] = []
    for arg in args:
        option, equals, value = arg.partition("=")
        if option in options and equals:
            expanded.append(f"{option}={options[option](value)}")
        elif expanded and expanded[-1] in options:
            expanded.append(options[expanded[-1]](arg))
        else:
            expanded.append(arg)
    return expanded


def _class_path(kind: str, name: str) -> str:
    """Return the class path of a short name; return anything else unchanged."""
    return registry.class_path(kind, name) if registry.is_name(kind, name) else name


def _config_path(name: str) -> str:
    return str(find_configuration(name))
