"""Rewrites errors of argument parsers as one line without Python types."""

import ast
import re
from argparse import Action
from collections.abc import Collection
from typing import NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from mgc.core.ranges import DESCRIPTIONS
from mgc.core.yaml_files import bound_parsers
from mgc.errors import MgcError

#: Python types by name, and how messages describe them.
TYPE_DESCRIPTIONS = {kind.__name__: text for kind, text in DESCRIPTIONS.items()}
TYPE_DESCRIPTIONS["Iterable"] = "a list"


bound_parsers()


class OneLineErrors:
    """Mixin for parsers of jsonargparse that raises :class:`MgcError` instead of printing usage."""

    #: Arguments without dashes.
    positional: Collection[str] = ()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error with a one-line message."""
        raise MgcError(explain(message, self.positional)) from ex


class HelpFormatter(DefaultHelpFormatter):
    """Help formatter that shows ranges, and keeps the paragraphs of a description."""

    def _get_type_str(self, action: Action) -> str | None:
        text = super()._get_type_str(action)
        # Annotated[int, from 1 to 5] -> int from 1 to 5
        return text and re.sub(r"Annotated\[(\w+), ([^\]]*)\]", r"\1 \2", text)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            super(HelpFormatter, self)._fill_text(p, width, indent) for p in paragraphs
        )


class Parser(OneLineErrors, ArgumentParser):
    """Parser of one command."""

    def __init__(self, name: str, description: str, positional: Collection[str]) -> None:
        super().__init__(prog=f"mgc {name}", description=description, formatter_class=HelpFormatter)
        self.positional = positional


def explain(message: str, positional: Collection[str] = ()) -> str:
    """Shorten an error message of jsonargparse to option, accepted values or type, and given value.

    Line breaks are removed from any other message.
    """
    text = " ".join(message.split())
    if found := re.fullmatch(r"the following arguments are required: (.*)", text):
        names = [_option(name, positional) for name in found[1].split(", ")]
        return f"Missing: {', '.join(names)}."
    if found := re.fullmatch(r"unrecognized arguments: (.*)", text):
        return f"Unknown arguments: {found[1]}. --help lists the options."
    if found := re.fullmatch(r"argument (\S+): expected (?:one|at least one) argument", text):
        return f"{found[1]}: value missing."
    text = re.sub(r"- Expected a path but .*? either not accessible or invalid ", "", text)
    text = re.sub(r"Does not validate against any of the Union .*? Errors: ", "", text)
    keys, reason = [], text
    while found := re.match(r'Parser key "([^"]+)":? (?:- )*|--([^\s:]+): ', reason):
        keys.append(found[1] or found[2])
        reason = reason[found.end() :].removeprefix("Problem with given class_path ")
    if unknown := re.match(r"Subcommand '\w+' does not accept option '([^']+)'", text):
        return f"{_option(unknown[1])}: no such option."
    if not keys:
        return text
    reason, _, given = reason.partition(" Given value type: ")
    if unknown := re.match(r"(?:Option|Key) ['\"]([^'\"]+)['\"] (?:is )?not", reason):
        place = " It is in the configuration." if given.startswith("<class 'dict'>") else ""
        return f"{_option('.'.join([*keys, unknown[1]]))}: no such option.{place}"
    option = _option(".".join(keys), positional)
    reason, _, value = reason.partition(". Got value: ")
    value = (value or given.partition("Given value: ")[2]).partition(" - Expected ")[0]
    expected = _expected(reason)
    if expected and value:
        return f"{option}: expected {expected}; got '{value}'."
    return f"{option}: {reason.partition(' - Expected ')[0].removesuffix('.')}."


def _option(key: str, positional: Collection[str] = ()) -> str:
    """Return the command-line option for a parser key, without the name of the subcommand."""
    key = re.sub(r"^(fit|validate|test|predict)\.", "", key).replace(".init_args.", ".")
    return key if key in positional else f"--{key}"


def _expected(reason: str) -> str:
    """List the accepted values or types in a parser's message; empty if it has none."""
    words: list[str] = []
    for literal in re.findall(r"typing\.Literal(\[.*?\])", reason):
        words += map(str, ast.literal_eval(literal))
    words = [f"one of {', '.join(dict.fromkeys(words))}"] if words else []
    for name in re.findall(r"Expected an? <class '(?:\w+\.)*(\w+)'>", reason):
        if name != "NoneType":
            words.append(TYPE_DESCRIPTIONS.get(name, name))
    if "Expected a dot import path string" in reason and "a number" not in words:
        words.insert(0, "a class path")
    return " or ".join(dict.fromkeys(words))
