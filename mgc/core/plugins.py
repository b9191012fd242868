"""Names the packages of plugins, and describes errors that their code raises.

Nothing is imported: names come from the metadata of installed packages.
"""

import re
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from types import FrameType
from typing import Any

import mgc
from mgc.core.checks import shorten
from mgc.installation import name_and_version, skip_broken_packages

#: Entry point group of each kind of component.
GROUPS = {"model": "mgc.models", "data": "mgc.data"}

#: Environment variable; if set, errors are printed with their traceback.
TRACEBACK = "MGC_TRACEBACK"

#: Maximum length of an error message of a plugin.
MAX_MESSAGE_CHARS = 300

#: A line of a traceback in a message, as from a data loader worker or a launched process.
_TRACEBACK_LINE = re.compile(r'File "(.+)", line (\d+), in (\S+)')


def find(kind: str) -> dict[str, list[EntryPoint]]:
    """List the registered names of one kind (``model`` or ``data``) without importing anything.

    Returns:
        The entry points of each name. Several entry points are a conflict.
    """
    skip_broken_packages()
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry_point in entry_points(group=GROUPS[kind]):
        # The same distribution can be on sys.path twice.
        if entry_point not in found[entry_point.name]:
            found[entry_point.name].append(entry_point)
    return dict(sorted(found.items()))


def owner(entry_point: EntryPoint) -> str:
    """Return name and version of the package of an entry point."""
    return name_and_version(entry_point.dist) if entry_point.dist else "an unknown package"


def name_class(component: object) -> str:
    """Name a class, or the class of an instance, with its package if it is a plugin's."""
    kind = component if isinstance(component, type) else type(component)
    package = kind.__module__.partition(".")[0]
    if package == mgc.__name__:
        return kind.__qualname__
    return f"{kind.__qualname__} of {_owners().get(package, kind.__module__)}"


def describe_error(error: BaseException) -> str | None:
    """Describe an error raised in a plugin's code in one line; None for other errors.

    Code of a plugin is that of a package that registers a model or a data set, or of the package of
    a model or data module whose methods are running.
    """
    for link in _chain(error):
        if isinstance(link, AttributeError) and (missing := _describe_missing(link)):
            return missing
        frames = [frame for frame, _ in traceback.walk_tb(link.__traceback__)]
        owners = _running(frames) | _owners()
        calls = [
            (owners[package], call)
            for package, call in (*_calls(link), *_calls_in_message(link, owners))
            if package in owners
        ]
        if calls:
            (package, (method, _)), (_, (_, place)) = calls[0], calls[-1]
            return (
                f"{method} of {package} failed: {_message(link)} ({place}). "
                f"Set {TRACEBACK}=1 for the traceback."
            )
    return None


def _describe_missing(error: AttributeError) -> str | None:
    """Describe an attribute that a plugin's instance lacks where mgc or Lightning needs it."""
    kind, owners = type(error.obj), _owners()
    if kind.__module__.partition(".")[0] not in owners:
        return None
    if any(package in owners for package, _ in _calls(error)):
        return None
    return (
        f"{name_class(kind)} has no attribute {error.name!r}. Does its constructor call "
        "super().__init__()?"
    )


def _owners() -> dict[str, str]:
    """Return name and version of each plugin by its top-level package."""
    claims = (claim for kind in GROUPS for same in find(kind).values() for claim in same)
    packages = {re.split(r"[.:]", claim.value)[0].strip(): owner(claim) for claim in claims}
    packages.pop(mgc.__name__, None)
    return packages


def _running(frames: list[FrameType]) -> dict[str, str]:
    """Return the packages of models and data modules that no installed package registers."""
    if "lightning.pytorch" not in sys.modules:
        return {}
    from lightning.pytorch import LightningDataModule, LightningModule

    packages = {}
    for frame in frames:
        names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
        first = frame.f_locals.get(names[0]) if names else None
        kind: Any = first if isinstance(first, type) else type(first)
        if issubclass(kind, LightningModule | LightningDataModule):
            packages[kind.__module__.partition(".")[0]] = kind.__module__
    return {name: text for name, text in packages.items() if name not in ("mgc", "lightning")}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that caused it."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _calls(error: BaseException) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield package, function and place of each call in an error's traceback."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        yield module.partition(".")[0], (frame.f_code.co_qualname, f"{module}, line {line}")


def _calls_in_message(
    error: BaseException, owners: dict[str, str]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the calls of plugins in a traceback that is part of an error's message."""
    lines = _TRACEBACK_LINE.findall(str(error))
    if not lines:
        return
    files = {
        getattr(module, "__file__", None): name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in owners
    }
    for file, line, function in lines:
        if file in files:
            yield files[file].partition(".")[0], (function, f"{files[file]}, line {line}")


def _message(error: BaseException) -> str:
    """Return class and message of an error in one line."""
    text = str(error)
    if _TRACEBACK_LINE.search(text):  # the original error is in the last line
        line = text.strip().splitlines()[-1]
    else:
        line = f"{type(error).__name__}: {' '.join(text.split())}".removesuffix(": ")
    return shorten(line.removesuffix("."), MAX_MESSAGE_CHARS)
