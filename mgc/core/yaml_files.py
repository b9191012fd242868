"""Reads YAML safely: plain values, without duplicate keys, in bounded time and memory."""

import functools
import re
from os import PathLike
from typing import Any

import yaml

from mgc.core.text_files import read_text
from mgc.errors import MgcError

#: Longest text, and its most values and levels with aliases expanded. Settings have far fewer.
MAX_CHARS, MAX_VALUES, MAX_DEPTH = 2**20, 50_000, 100

#: Numbers that YAML writes with a dot. On a command line, they are numbers without it too.
NOT_FINITE = ("inf", "+inf", "-inf", "nan")


class QuotedText(str):
    """Text such as ``"null"`` that jsonargparse takes as it is. It parses a plain ``str`` again."""

    __slots__ = ()


class BoundedLoading:
    """Mixin for loaders of PyYAML that refuses duplicate keys and documents that are too large."""

    def __init__(self, stream: Any) -> None:
        """Initialize; raise a ``YAMLError`` if the text is too long."""
        if isinstance(stream, str | bytes) and len(stream) > MAX_CHARS:
            raise yaml.YAMLError(f"longer than {MAX_CHARS} characters.")
        super().__init__(stream)  # type: ignore[call-arg] # a loader

    def get_single_node(self) -> yaml.Node | None:
        """Parse the document."""
        try:
            node: yaml.Node | None = super().get_single_node()  # type: ignore[misc]
        except RecursionError:
            raise yaml.YAMLError(f"more than {MAX_DEPTH} levels.") from None
        return node

    def construct_document(self, node: yaml.Node) -> Any:
        """Build the document after checking it."""
        check_nodes(node)
        if isinstance(node, yaml.ScalarNode) and node.value.lower() in NOT_FINITE:
            return float(node.value)
        return super().construct_document(node)  # type: ignore[misc]


class _Loader(BoundedLoading, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1, as in ``yaml.safe_load``."""


def load_yaml(text: str, source: str | PathLike[str]) -> Any:
    """Load YAML.

    Args:
        text: A document.
        source: Name of the file or option, for messages.

    Raises:
        MgcError: If it is not valid, has duplicate keys, or is too large.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 # a subclass of the safe loader
    except (yaml.YAMLError, ValueError) as error:
        raise MgcError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error


def read_yaml(path: str | PathLike[str]) -> Any:
    """Load a YAML file.

    Raises:
        MgcError: If it cannot be read, is not valid, has duplicate keys, or is too large.
    """
    return load_yaml(read_text(path, MAX_CHARS + 1), path)


def dump_yaml(values: Any) -> str:
    """Return values as YAML. Text that a loader could take for something else is quoted.

    PyYAML leaves ``1e3`` unquoted, which jsonargparse, as YAML 1.2, reads as a number.
    """
    dumper = _quoting_dumper()
    text: str = yaml.dump(
        values, Dumper=dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    return text


@functools.cache
def _quoting_dumper() -> Any:
    """Return a dumper that resolves text as PyYAML and jsonargparse do, and as a bare number."""
    from jsonargparse import _loaders_dumpers as loading

    class Dumper(yaml.SafeDumper):
        """Quotes text that either loader resolves to another type."""

    resolvers = {key: list(found) for key, found in Dumper.yaml_implicit_resolvers.items()}
    for key, found in loading.get_yaml_default_loader().yaml_implicit_resolvers.items():
        resolvers[key] = [*resolvers.get(key, []), *found]
    Dumper.yaml_implicit_resolvers = resolvers
    number = re.compile(r"([-+.]?[0-9][0-9._eExXoO+-]*|[-+]?\.?(inf|nan|infinity))$", re.I)
    Dumper.add_implicit_resolver("tag:yaml.org,2002:float", number, None)
    Dumper.add_representer(str, _represent_text)
    Dumper.add_representer(QuotedText, _represent_text)
    return Dumper


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Escape line breaks of YAML that PyYAML otherwise folds into spaces."""
    style = '"' if any(character in text for character in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def bound_parsers() -> None:
    """Make the parsers of jsonargparse read with :class:`BoundedLoading` and quote text."""
    from jsonargparse import _loaders_dumpers as loading
    from jsonargparse import set_dumper

    set_dumper("yaml", dump_yaml)

    # set_loader replaces only the loader of files. Values of options use the default one.
    loader = loading.get_yaml_default_loader()
    if not issubclass(loader, BoundedLoading):
        bounded: Any = type("BoundedLoader", (BoundedLoading, loader), {})
        bounded.add_constructor("tag:yaml.org,2002:str", _construct_text)
        loading.yaml_default_loader = bounded


def to_plain_text(values: Any) -> Any:
    """Return parsed settings with each :class:`QuotedText` as a ``str``, which checkpoints hold."""
    from jsonargparse import Namespace

    if isinstance(values, Namespace | dict):
        entries = values if isinstance(values, dict) else vars(values)
        entries.update({key: to_plain_text(value) for key, value in entries.items()})
        return values
    if isinstance(values, list):
        return [to_plain_text(value) for value in values]
    return str(values) if isinstance(values, QuotedText) else values


def _construct_text(loader: Any, node: yaml.ScalarNode) -> str:
    """Mark quoted text that a plain scalar would not keep: a ``str | None`` then keeps it."""
    text: str = loader.construct_scalar(node)
    if node.style in ("'", '"') and _reads_as_null(text):
        return QuotedText(text)
    return text


def _reads_as_null(text: str) -> bool:
    try:
        return yaml.load(text, _Loader) is None  # noqa: S506 # a subclass of the safe loader
    except (yaml.YAMLError, ValueError):
        return False


def check_nodes(root: yaml.Node) -> None:
    """Raise a ``YAMLError`` for duplicate keys, and if the expanded document is too large."""
    sizes: dict[int, int] = {}  # number of values in each node, with aliases expanded
    open_nodes: set[int] = set()
    stack = [root]
    while stack:
        node = stack[-1]
        children = _children(node)
        if id(node) in sizes:
            stack.pop()
        elif id(node) in open_nodes:
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
            open_nodes.remove(id(node))
            if sizes[id(node)] > MAX_VALUES:
                raise yaml.YAMLError(f"more than {MAX_VALUES} values, with aliases expanded.")
        else:
            open_nodes.add(id(node))
            if len(open_nodes) > MAX_DEPTH:
                raise yaml.YAMLError(f"more than {MAX_DEPTH} levels.")
            if isinstance(node, yaml.MappingNode):
                _check_keys(node)
            for child in children:
                if id(child) in open_nodes:
                    raise yaml.YAMLError(f"line {_line(child)}: the value contains itself.")
                stack.append(child)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            name = key.tag, key.value
            if name in lines:
                raise yaml.YAMLError(
                    f"'{key.value}' is set twice, in lines {lines[name]} and {_line(key)}."
                )
            lines[name] = _line(key)


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1
