"""Options of ``mgc fit`` on a command line: their names, values and conflicts."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from mgc.configurations import read_configuration
from mgc.errors import MgcError

#: Options that take a configuration.
CONFIG_OPTIONS = ("--config", "-c")

#: Levels of a configuration that an option's name may omit.
OPTIONAL_LEVELS = ("init_args", "dict_kwargs")


def option_name(word: str) -> str:
    """Return an option's name in its shortest spelling.

    ``--data.init_args.split=fold`` and ``--data.split`` both give ``data.split``.
    """
    name = word.partition("=")[0].lstrip("-").removesuffix("+")
    if name and "config".startswith(name):  # -c, or an abbreviation
        return "config"
    return ".".join(level for level in name.split(".") if level not in OPTIONAL_LEVELS)


def divide_options(words: Sequence[str]) -> list[list[str]]:
    """Group the words of a command line by option: its name, then its values."""
    options: list[list[str]] = []
    for word in words:
        if word.startswith(("--", "-c")) or not options:
            options.append([])
        # The value of a short option may be attached to it.
        attached = word.startswith("-c") and word != "-c"
        options[-1] += ["-c", word[2:].removeprefix("=")] if attached else [word]
    return options


def option_values(words: Sequence[str], *options: str) -> list[str]:
    """Return the values of an option in order, given all its spellings (``--config``, ``-c``)."""
    split = [part for w in words for part in (w.split("=", 1) if w[:2] == "--" else [w])]
    return [value for option, value in pairwise(split) if option in options]


def read_settings(words: Sequence[str]) -> Iterator[tuple[str, Any, list[str]]]:
    """Yield every setting that options make: by name, as a mapping, or in a YAML file.

    Files that cannot be read are skipped; ``mgc fit`` reports them.

    Yields:
        Name as :func:`option_name` returns it, value, and the words of the option.
    """
    for option in divide_options(words):
        name = option_name(option[0])
        text = option[0].partition("=")[2] or " ".join(option[1:])
        value: Any = text
        try:
            if name == "config":
                yield name, text, option
                name, value = "", yaml.safe_load(read_configuration(text))
            else:
                value = yaml.safe_load(text)
                # A section may be a file, as in --model model.yaml.
                if "." not in name and Path(text).suffix in (".yaml", ".yml", ".json"):
                    value = yaml.safe_load(Path(text).read_text(encoding="utf-8"))
        except (MgcError, OSError, ValueError, yaml.YAMLError):
            if not name:
                continue
        for setting, leaf in _flatten(name, value):
            yield setting, leaf, option


def refuse_options(words: Sequence[str], reserved: Collection[str], command: str) -> None:
    """Refuse options that change a setting which a command controls.

    Args:
        words: Options of ``mgc fit`` that the user passes on.
        reserved: Names of the settings, as :func:`option_name` returns them.
        command: Name of the command.

    Raises:
        MgcError: If an option sets one of them, in any spelling.
    """
    for name, value, option in read_settings(words):
        for setting in reserved:
            if not _overrides(name, value, setting):
                continue
            given = option[0].partition("=")[0]
            if option_name(given) == "config" and name != "config":
                given = " ".join(option)
            place = f"--{setting}" if option_name(given) == name else f"{setting} in {given}"
            raise MgcError(f"{place} is set by mgc {command}. Leave it out.")


def logs_to_wandb(words: Sequence[str]) -> bool:
    """Return whether a fit with these options logs to W&B, as it does by default."""
    logger: object = "WandbLogger"
    for name, value, _ in read_settings(words):
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
        # A class name keeps the settings of the section, anything else replaces them.
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
