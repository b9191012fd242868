"""Test the ranges of arguments."""

import inspect
import math
from typing import Annotated, Any, Literal

import pytest
from bad_settings import arguments, bad_settings, registered_classes

from mgc.core.parser_errors import Parser
from mgc.core.ranges import (
    MAY_BE_EMPTY,
    CheckedArguments,
    Dropout,
    Range,
    Width,
    check_arguments,
    check_value,
    checked,
)
from mgc.errors import MgcError


class Base(CheckedArguments):
    def __init__(self, root: str, lr: Annotated[float, Range(0, 1)] = 0.1) -> None:
        self.lr = lr


class Example(Base):
    """Example.

    Args:
        width: Number of units.
    """

    def __init__(
        self,
        width: Width = 4,
        dropout: Dropout = 0.0,
        size: Annotated[int, Range(1, 9, odd=True)] | list[Annotated[int, Range(1, 9)]] | None = 3,
        norm: Literal["batch", "clip"] = "batch",
        note: Annotated[str, MAY_BE_EMPTY] = "none",
        power: Annotated[float, Range(0, closed="right")] = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width=0: must be a whole number from 1 to 65536."),
        ({"width": 2**70}, "must be a whole number from 1 to 65536."),
        ({"width": True}, "width=True: must be a whole number from 1 to 65536."),
        ({"width": None}, "width=None: must be a whole number from 1 to 65536."),
        ({"dropout": 1}, "dropout=1: must be a number at least 0 and less than 1."),
        ({"dropout": math.nan}, "dropout=nan: must be a number at least 0 and less than 1."),
        ({"size": 4}, "size=4: must be a whole number from 1 to 9, odd."),
        ({"size": [1, 10]}, "size=[1, 10]: must be a whole number from 1 to 9."),
        ({"size": "3"}, "size='3': must be a whole number from 1 to 9, odd or a list."),
        ({"norm": "none"}, "norm='none': choose one of batch, clip."),
        ({"power": 0.0}, "power=0.0: must be a number greater than 0."),
        ({"lr": -1}, "lr=-1: must be a number from 0 to 1."),
        ({"root": ""}, "root='': must not be empty."),
        ({"root": None}, "root=None: must be text."),
    ],
)
def test_wrong_arguments_raise_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MgcError) as error:
        Example(**({"root": "data"} | settings))
    assert str(error.value).endswith(message)
    assert len(str(error.value)) < 150


def test_arguments_in_range_are_accepted() -> None:
    Example(root="data", width=65536, dropout=0, size=[2, 9], note="", power=math.inf, lr=1.0)
    Example(1, 0.5, None, root="data")


def test_a_wrong_call_raises_pythons_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        Example(root="data", depth=3)


def test_the_signature_stays_visible() -> None:
    assert list(inspect.signature(Example).parameters)[:2] == ["width", "dropout"]


def test_help_shows_the_range(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser("example", "", [])
    parser.add_class_arguments(Example)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(type: int from 1 to 65536, default: 4)" in text
    assert "(type: float at least 0 and less than 1, default: 0.0)" in text


def test_functions_can_be_checked() -> None:
    @checked
    def double(width: Width) -> int:
        return 2 * width

    assert double(2) == 4
    with pytest.raises(MgcError, match="width=0: must be"):
        double(0)


def test_unresolved_types_of_plugins_are_ignored() -> None:
    def plugin(table: "Unknown", width: int = 1) -> None:  # type: ignore[name-defined] # noqa: F821
        """Do nothing."""

    check_arguments(plugin, {"table": 1, "width": -1})


def test_long_values_are_shortened() -> None:
    with pytest.raises(MgcError) as error:
        check_value("lr", float, "9" * 10_000)
    assert len(str(error.value)) < 100


@pytest.mark.parametrize("component", registered_classes(), ids=lambda cls: cls.__name__)
def test_wrong_values_never_build_a_class(component: type) -> None:
    for setting in bad_settings(commands=False, certain=True):
        if setting.target is component:
            required = {"root": "nowhere", "num_classes": 3}
            given = {name: required[name] for name in required.keys() & arguments(component).keys()}
            with pytest.raises(MgcError, match=f"^{setting.argument}="):
                component(**(given | {setting.argument: setting.value}))
