"""Tries wrong values for every argument of all registered classes and all commands."""

import inspect
import math
from collections.abc import Callable, Iterator
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from mgc import registry
from mgc.cli import COMMANDS

#: Values that no number can have.
NEVER_NUMBERS = (math.nan, -math.inf, 2**70, "", "many", [1, 2])

#: Values that some numbers can have.
RARELY_NUMBERS = (math.inf, -1, 0, 10**9)

#: Values that no text can have.
NEVER_TEXTS = ([1, 2],)


class BadSetting(NamedTuple):
    """Value to try for an argument.

    ``target`` is the class, or the command line without the argument. ``certain`` is whether the
    value is wrong for every argument of the type. Other values are wrong for most.
    """

    target: type | tuple[str, ...]
    argument: str
    value: Any
    certain: bool

    @property
    def words(self) -> list[str]:
        """The command line with the argument."""
        text = "null" if self.value is None else self.value
        return [*self.target, f"--{self.argument}={text}"]  # type: ignore[misc] # a command line


def bad_settings(
    classes: bool = True, commands: bool = True, certain: bool = False
) -> Iterator[BadSetting]:
    """Yield wrong values for the arguments of registered classes and commands.

    Args:
        classes: Whether to yield those of models and data modules.
        commands: Whether to yield those of commands other than ``fit`` and similar ones.
        certain: Whether to yield only values that are always wrong.
    """
    for setting in [*(_of_classes() if classes else ()), *(_of_commands() if commands else ())]:
        if setting.certain or not certain:
            yield setting


def registered_classes() -> Iterator[type]:
    """Yield all registered models and data modules."""
    for kind in registry.GROUPS:
        for name in registry.find(kind):
            yield registry.load(kind, name)


def arguments(component: type) -> dict[str, tuple[Any, Any]]:
    """Return type and default of all arguments of a class, including those of its bases."""
    found: dict[str, tuple[Any, Any]] = {}
    for cls in component.__mro__:
        if "__init__" not in vars(cls):
            continue
        function = vars(cls)["__init__"]
        parameters = inspect.signature(function).parameters.values()
        hints = get_type_hints(function)
        for parameter in parameters:
            if parameter.name in hints:
                found.setdefault(parameter.name, (hints[parameter.name], parameter.default))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    found.pop("kwargs", None)
    return found


def wrong_values(hint: Any, default: Any) -> Iterator[tuple[Any, bool]]:
    """Yield values to try for a type, and whether they are always wrong."""
    kinds = _kinds(hint)
    if kinds & {int, float}:
        never = NEVER_NUMBERS[:3] if str in kinds else NEVER_NUMBERS
        never = tuple(v for v in never if not (isinstance(v, list) and list in kinds))
        yield from ((value, float not in kinds or value != 2**70) for value in never)
        yield from ((value, False) for value in RARELY_NUMBERS)
        if int in kinds and float not in kinds:
            yield 0.5, True
    elif str in kinds and list not in kinds:
        yield from ((value, True) for value in NEVER_TEXTS)
        if default != "":
            yield "", False
    if kinds & {int, float, str} and NoneType not in kinds:
        yield None, str not in kinds


def _of_classes() -> Iterator[BadSetting]:
    for component in registered_classes():
        for name, (hint, default) in arguments(component).items():
            for value, certain in wrong_values(hint, default):
                yield BadSetting(component, name, value, certain)


def _of_commands() -> Iterator[BadSetting]:
    for command, (function, line) in command_lines().items():
        hints = get_type_hints(function)
        for parameter in inspect.signature(function).parameters.values():
            option = parameter.kind is not parameter.VAR_POSITIONAL and not (
                parameter.default is parameter.empty and parameter.name in line.positional
            )
            if option:
                given = tuple(w for w in line.words if not w.startswith(f"--{parameter.name}="))
                for value, certain in wrong_values(hints[parameter.name], parameter.default):
                    yield BadSetting((*command.split(), *given), parameter.name, value, certain)


class CommandLine(NamedTuple):
    """Words of a command line with all required arguments, and names of positional ones."""

    words: tuple[str, ...]
    positional: tuple[str, ...]


def command_lines() -> dict[str, tuple[Callable[..., Any], CommandLine]]:
    """Return function and shortest command line of each command with options.

    Files and folders have names that do not exist.
    """
    found = {}
    for name, command in COMMANDS.items():
        module, _, function = command.target.partition(":")
        target = getattr(import_module(module), function)
        words, positional = [], []
        for number, parameter in enumerate(inspect.signature(target).parameters.values()):
            if (
                parameter.default is not parameter.empty
                or parameter.kind is parameter.VAR_POSITIONAL
            ):
                continue
            value = get_args(parameter.annotation)[0] if _is_literal(parameter) else "missing"
            if number == 0 and parameter.kind is not parameter.KEYWORD_ONLY:
                positional.append(parameter.name)
                words.append("gtzan" if command.target.startswith("mgc.commands.data_") else value)
            else:
                words.append(f"--{parameter.name}={value}")
        found[name] = (target, CommandLine(tuple(words), tuple(positional)))
    return found


def _kinds(hint: Any) -> set[Any]:
    """Return the plain types of a type hint."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return set().union(*map(_kinds, args))
    if origin is Annotated:
        return _kinds(args[0])
    return {origin or hint}


def _is_literal(parameter: inspect.Parameter) -> bool:
    return all(isinstance(arg, str) for arg in get_args(parameter.annotation) or (0,))
