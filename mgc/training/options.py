"""Parses options of ``mgc fit`` on a command line."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mgc.configurations import read_configuration
from mgc.core.yaml_files import load_yaml, read_yaml
from mgc.errors import MgcError

#: Options that take a configuration.
CONFIG_OPTIONS = ("--config", "-c")

#: Levels of a configuration that an option's name may omit.
OPTIONAL_LEVELS = ("init_args", "dict_kwargs")


def option_name(word: str) -> str:
    """Return an option's name in its shortest form.

    ``--data.init_args.split=fold`` and ``--data.split`` both give ``data.split``.
    """
    name = word.partition("=")[0].lstrip("-").removesuffix("+")
    if name and "config".startswith(name):  # -c, or an abbreviation
        return "config"
    return ".".join(level for level in name.split(".") if level not in OPTIONAL_LEVELS)


def group_options(args: Sequence[str]) -> list[list[str]]:
    """Group command-line arguments by option: its name, then its values."""
    options: list[list[str]] = []
    for word in args:
        if word.startswith(("--", "-c")) or not options:
            options.append([])
        # The value of a short option may be attached to it.
        attached = word.startswith("-c") and word != "-c"
        options[-1] += ["-c", word[2:].removeprefix("=")] if attached else [word]
    return options


def option_values(args: Sequence[str], *options: str) -> list[str]:
    """Return the values of an option in order. ``options`` are all its names, such as ``-c``."""
    split = [part for w in args for part in (w.split("=", 1) if w[:2] == "--" else [w])]
    return [value for option, value in pairwise(split) if option in options]


def read_settings(args: Sequence[str]) -> Iterator[tuple[str, Any, list[str]]]:
    """Yield every setting of the options, whether set by name, as a mapping, or in a YAML file.

    Files that cannot be read are skipped; ``mgc fit`` reports them.

    Yields:
        Name as returned by :func:`option_name`, value, and arguments of the option.
    """
    for option in group_options(args):
        name = option_name(option[0])
        text = option[0].partition("=")[2] or " ".join(option[1:])
        value: Any = text
        try:
            if name == "config":
                yield name, text, option
                name, value = "", load_yaml(read_configuration(text), text)
            else:
                value = load_yaml(text, option[0])
                # A section may be a file, as in --model model.yaml.
                if "." not in name and Path(text).suffix in (".yaml", ".yml", ".json"):
                    value = read_yaml(text)
        except (MgcError, ValueError):
            if not name:
                continue
        for setting, leaf in _flatten(name, value):
            yield setting, leaf, option


def check_reserved_options(args: Sequence[str], reserved: Collection[str], command: str) -> None:
    """Check that no option changes a setting that is controlled by a command.

    Args:
        args: Options of ``mgc fit`` given by the user.
        reserved: Names of the controlled settings, as returned by :func:`option_name`.
        command: Name of the command.

    Raises:
        MgcError: If an option sets one of them, in any form.
    """
    for name, value, option in read_settings(args):
        for setting in reserved:
            if not _overrides(name, value, setting):
                continue
            given = option[0].partition("=")[0]
            if option_name(given) == "config" and name != "config":
                given = " ".join(option)
            place = f"--{setting}" if option_name(given) == name else f"{setting} in {given}"
            raise MgcError(f"{place} is set by mgc {command}. Remove it.")


def logs_to_wandb(args: Sequence[str]) -> bool:
    """Return whether a fit with these options logs to W&B, as it does by default."""
    logger: object = "WandbLogger"
    for name, value, _ in read_settings(args):
        if name in ("trainer.logger", "trainer.logger.class_path"):
            logger = value
    return "WandbLogger" in str(logger)


def _overrides(name: str, value: Any, setting: str) -> bool:
    if name == setting or name.startswith(f"{setting}."):
        return True
    rest = setting.removeprefix(name)
    if not name or rest == setting:
        return False
    if rest.startswith("."):
        # A class name keeps the other settings of the section, any other value replaces them.
        return "." in name and not isinstance(value, str)
    # The parser accepts abbreviations of the options that do not belong to a model or data set.
    return "." not in rest and ("." not in name or name.startswith("trainer."))


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        yield name, value
        return
    for key, inner in value.items():
        level = f"{name}.{key}" if name else str(key)
        yield from _flatten(option_name(level), inner)
