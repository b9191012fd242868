"""Ranges of arguments, declared in their types: ``channels: Annotated[int, Range(1, 4096)]``.

Classes and commands check their arguments against their types, and ``--help`` shows the ranges.
NaN is outside every range. Types of other packages are not checked.
"""

import functools
import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from os import PathLike
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from mgc.core.checks import shorten
from mgc.errors import MgcError

P = ParamSpec("P")
T = TypeVar("T")

#: Types and how messages describe them.
DESCRIPTIONS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "settings (NAME: VALUE)",
    list: "a list",
}

#: Integers that tensors and NumPy can hold.
INT64 = range(-(2**63), 2**63)

#: Longest value in a message.
MAX_VALUE_CHARS = 60


@dataclass(frozen=True)
class Range:
    """Range of a number in a type hint.

    Attributes:
        minimum: Smallest value.
        maximum: Largest value; infinite by default.
        closed: Which of the two ends are in the range.
        odd: Whether only odd numbers are in the range.
    """

    minimum: float
    maximum: float = math.inf
    closed: Literal["both", "left", "right", "neither"] = "both"
    odd: bool = False

    def __contains__(self, value: Any) -> bool:
        above = value >= self.minimum if self.closed in ("both", "left") else value > self.minimum
        below = value <= self.maximum if self.closed in ("both", "right") else value < self.maximum
        return bool(above and below and (not self.odd or value % 2 == 1))

    def __repr__(self) -> str:
        low, high = f"{self.minimum:.10g}", f"{self.maximum:.10g}"
        at_least = "at least" if self.closed in ("both", "left") else "greater than"
        at_most = "at most" if self.closed in ("both", "right") else "less than"
        if self.closed == "both" and self.maximum < math.inf:
            text = f"from {low} to {high}"
        elif self.maximum < math.inf:
            text = f"{at_least} {low} and {at_most} {high}"
        else:
            text = f"{at_least} {low}"
        return f"{text}, odd" if self.odd else text


#: Marks text that may be empty. Other text may only be empty by default.
MAY_BE_EMPTY = "may be empty"

#: Most processes that a machine can be asked for.
MAX_PROCESSES = max(64, 4 * (os.cpu_count() or 1))

BatchSize = Annotated[int, Range(1, 2**20)]
Beats = Annotated[int, Range(1, 4096)]
Count = Annotated[int, Range(1, 10**9)]
Decibels = Annotated[float, Range(0, 1000, closed="right")]
Dropout = Annotated[float, Range(0, 1, closed="left")]
Epochs = Annotated[int, Range(1, 10**6)]
Folds = Annotated[int, Range(2, 1000)]
FrameLength = Annotated[int, Range(16, 2**16)]
Hertz = Annotated[float, Range(0, 192_000, closed="right")]
HopLength = Annotated[int, Range(1, 2**16)]
LearningRate = Annotated[float, Range(0, 1000)]
Margin = Annotated[float, Range(1, 1000)]
MaskPower = Annotated[float, Range(0, closed="right")]
MedianLength = Annotated[int, Range(1, 2**12, odd=True)]
MelBands = Annotated[int, Range(1, 2048)]
Processes = Annotated[int, Range(1, MAX_PROCESSES)]
Probability = Annotated[float, Range(0, 1)]
SampleRate = Annotated[int, Range(1000, 384_000)]
Seconds = Annotated[float, Range(0, 86_400, closed="right")]
Seed = Annotated[int, Range(0, 2**32 - 1)]
Share = Annotated[float, Range(0, 1, closed="neither")]
WeightDecay = Annotated[float, Range(0, 1000)]
Width = Annotated[int, Range(1, 2**16)]
Workers = Annotated[int, Range(0, MAX_PROCESSES)]


class CheckedArguments:
    """Mixin that checks the arguments of the constructor against their types."""

    # Not in __init__: subclasses have their own. Lightning reads arguments from its frames.
    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Check the arguments.

        Raises:
            MgcError: If an argument is not of its type, or out of range.
        """
        _check_call(cls, args, kwargs)
        return super().__new__(cls)


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function to check its arguments against their types."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        _check_call(function, args, kwargs)
        return function(*args, **kwargs)

    return call


def check_arguments(
    component: Callable[..., Any],
    arguments: Mapping[str, Any],
    name: Callable[[str], str] = str,
) -> None:
    """Check arguments against the types of a function's or constructor's parameters.

    Args:
        component: Function or class. Arguments in ``**kwargs`` have the types of its base classes.
        arguments: Arguments by name. Those without a parameter are ignored.
        name: Returns the name of an argument in messages.

    Raises:
        MgcError: If an argument is not of its type, or out of range.
    """
    known = _argument_types(component)
    for key, value in arguments.items():
        if key in known:
            hint, default = known[key]
            if type(value) is not type(default) or value != default:
                check_value(name(key), hint, value)


def number_arguments(component: Callable[..., Any]) -> list[str]:
    """Return the names of a function's or constructor's arguments that are numbers."""
    return [
        name
        for name, (hint, _) in _argument_types(component).items()
        if {int, float} & {_plain(option) for option in (hint, *get_args(hint))}
    ]


def argument_defaults(component: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults of a function's or constructor's arguments, with those of its bases."""
    return {
        name: default
        for name, (_, default) in _argument_types(component).items()
        if default is not inspect.Parameter.empty
    }


def check_value(name: str, hint: Any, value: Any) -> None:
    """Check a value against a type hint.

    Raises:
        MgcError: If the value is not of the type, or out of range.
    """
    expected = _mismatch(hint, value)
    if expected:
        raise MgcError(f"{name}={shorten(repr(value), MAX_VALUE_CHARS)}: {expected}.")


def check_choice(choices: Sequence[str], **settings: str) -> None:
    """Raise an ``MgcError`` if a setting is not one of the choices, known only at run time."""
    for name, value in settings.items():
        check_value(name, Literal[tuple(choices)], value)


def describe(hint: Any) -> str:
    """Return what values of a type are, such as ``a whole number from 1 to 5``."""
    if get_origin(hint) is Annotated:
        base, *marks = get_args(hint)
        return " ".join([describe(base), *(str(mark) for mark in marks if isinstance(mark, Range))])
    return DESCRIPTIONS.get(get_origin(hint) or hint, "")


def _check_call(component: Callable[..., Any], args: Any, kwargs: Any) -> None:
    try:
        given = inspect.signature(component).bind_partial(*args, **kwargs)
    except TypeError:
        return  # the call raises a better one
    arguments = dict(given.arguments)
    for parameter in given.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name, {})
    check_arguments(component, arguments)


@functools.cache
def _argument_types(component: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Return type and default of each parameter, including those passed on to base classes."""
    functions = [component]
    if isinstance(component, type):
        functions = [vars(cls)["__init__"] for cls in component.__mro__ if "__init__" in vars(cls)]
    found: dict[str, tuple[Any, Any]] = {}
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except ValueError:
            break  # written in C
        try:
            hints = get_type_hints(function, include_extras=True)
        except Exception:
            # A plugin may import names only for type checkers.
            hints = {p.name: p.annotation for p in parameters}
        for parameter in parameters:
            found.setdefault(parameter.name, (hints.get(parameter.name, Any), parameter.default))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _mismatch(hint: Any, value: Any) -> str:
    """Return what is wrong with a value, or an empty string if it fits the type."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        wrong = [_mismatch(option, value) for option in args]
        if not all(wrong):
            return ""
        # An option of the value's type says more than the others.
        near = [
            reason
            for option, reason in zip(args, wrong, strict=True)
            if option is not NoneType and _is_a(option, value)
        ]
        options = [reason for option, reason in zip(args, wrong, strict=True) if option != NoneType]
        return (near or [" or ".join(dict.fromkeys(options)).replace(" or must be ", " or ")])[0]
    if origin is Literal:
        return "" if value in args else f"choose one of {', '.join(map(str, args))}"
    if origin is Annotated:
        base, *marks = args
        inside = _is_a(base, value) and all(
            value in mark for mark in marks if isinstance(mark, Range)
        )
        if inside and (value != "" or MAY_BE_EMPTY in marks):
            return "" if base in (int, float, str) else _mismatch(base, value)
    elif hint is str and value == "":
        return "must not be empty"
    elif _is_a(hint, value):
        items = value if origin is list and args else ()
        return next(filter(None, (_mismatch(args[0], item) for item in items)), "")
    return f"must be {describe(hint)}"


def _is_a(hint: Any, value: Any) -> bool:
    """Return whether a value is of a type, regardless of its range."""
    kind = _plain(hint)
    if kind is int:
        return isinstance(value, Integral) and type(value) is not bool and value in INT64
    if kind is float:
        return isinstance(value, Real) and type(value) is not bool and not math.isnan(value)
    if kind is str:
        return isinstance(value, str | PathLike)
    if kind is list:
        return isinstance(value, list | tuple)
    if kind in (bool, dict, NoneType):
        return isinstance(value, kind)
    return True


def _plain(hint: Any) -> Any:
    """Return a type without its range and the types of its items."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else get_origin(hint) or hint
