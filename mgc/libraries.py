"""Installed libraries: tested versions, requirements, and imports that fail.

Imports only the standard library and ``packaging``, so that it works where a library is broken.
"""

import shlex
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from traceback import walk_tb

import mgc
from mgc import locks
from mgc.installation import find_clone, pip_install

#: Packages with compiled code that loads beside some versions of the others only.
BUILT_TOGETHER = ("torch", "torchvision", "torchaudio")

#: Characters of a library's own message that a line quotes.
MAX_MESSAGE_CHARS = 200


@dataclass(frozen=True)
class FailedImport:
    """A required library that is missing or cannot be imported.

    Attributes:
        library: Name of its package.
        reason: What is wrong, in one line.
        fix: Command that fixes it.
    """

    library: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.reason} Fix it with: {self.fix}"


def diagnose(error: BaseException) -> FailedImport | None:
    """Find the required library whose import an error comes from.

    Errors of any type count if they were raised while a library's modules were executed, and so do
    the errors that they were raised from. Packages that mgc does not require have hints of their
    own.

    Args:
        error: An error.

    Returns:
        The library, or None if the error has another origin.
    """
    for link in _chain(error):
        found = _failed_import(link)
        if found:
            return found
    return None


def required_packages(*roots: str) -> dict[str, Distribution | None]:
    """List packages with everything that they require, directly or not.

    Args:
        *roots: Names of installed packages; mgc by default.

    Returns:
        The packages by canonical name; None for one that is not installed.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, Distribution | None] = {}
    pending = [(root, "") for root in roots or (mgc.DISTRIBUTION,)]
    seen = set(pending)
    while pending:
        name, extra = pending.pop()
        dist = found[canonicalize_name(name)] = installed(name)
        for text in (dist.requires if dist else None) or []:
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = {(requirement.name, extra) for extra in ("", *requirement.extras)}
                pending += needed - seen
                seen |= needed
    return found


def installed(name: str) -> Distribution | None:
    """Return an installed package, or None; one without metadata counts as not installed."""
    try:
        dist = distribution(name)
    except PackageNotFoundError:
        return None
    return dist if "Version" in dist.metadata else None


def untested() -> Iterator[tuple[str, str, str]]:
    """Find the packages whose installed version is not the tested one.

    Yields:
        Name, installed version and tested version of a package that mgc itself requires, or that
        must fit PyTorch.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name
    from packaging.version import Version

    requirements = [Requirement(text) for text in distribution(mgc.DISTRIBUTION).requires or []]
    names = {
        canonicalize_name(requirement.name)
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    tested = _tested_versions()
    for name in sorted(names.union(BUILT_TOGETHER)):
        dist = installed(name)
        if dist and name in tested and Version(dist.version).public != tested[name]:
            yield name, dist.version, tested[name]


def duplicates(names: Iterable[str]) -> Iterator[tuple[str, list[Path]]]:
    """Find packages that are recorded more than once in one folder.

    An upgrade that was interrupted leaves that; which version is in use is a matter of chance.

    Args:
        names: Canonical names of packages.

    Yields:
        Name of a package, and its folders of metadata.
    """
    from packaging.utils import canonicalize_name

    wanted = set(names)
    for folder in dict.fromkeys(sys.path):
        records = defaultdict(list)
        for record in sorted(Path(folder).glob("*.dist-info")):
            name = Distribution.at(record).metadata["Name"]
            if name and canonicalize_name(name) in wanted:
                records[canonicalize_name(name)].append(record)
        yield from ((name, same) for name, same in records.items() if len(same) > 1)


def install_command(*names: str) -> str:
    """Return the command that installs the tested versions of packages.

    Args:
        *names: Canonical names. A package that requires PyTorch is installed with the versions of
            PyTorch, torchvision and torchaudio that fit one another.

    Returns:
        A pip command; in the environment that ``make install`` made, a make command.
    """
    from packaging.specifiers import SpecifierSet

    wanted = list(dict.fromkeys(names))
    if any(name in BUILT_TOGETHER or "torch" in required_packages(name) for name in wanted):
        if locks.is_for_serving():
            return pip_install()
        wanted = [*BUILT_TOGETHER, *(name for name in wanted if name not in BUILT_TOGETHER)]
    tested = _tested_versions()
    # An installer leaves alone what has the version that it is asked for.
    damaged = all(
        (dist := installed(name)) and SpecifierSet(f"=={tested[name]}").contains(dist.version)
        for name in wanted
        if name in tested
    )
    root = find_clone()
    if root:
        folder = shlex.quote(str(root))
        if damaged:
            return f"rm -r {shlex.quote(str(root / '.venv'))} && make -C {folder} install"
        return f"make -B -C {folder} install"
    pins = [f'"{name}=={tested[name]}"' if name in tested else name for name in wanted]
    options = ["--force-reinstall"] if damaged else []
    if damaged and len(wanted) == 1:
        options.append("--no-deps")
    return " ".join(["pip", "install", *options, *pins])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was raised from. A chain may lead back to its start."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _failed_import(error: BaseException) -> FailedImport | None:
    """Find the required library whose import raised an error, its causes left aside."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    raised_by = _top(frames[-1].f_globals.get("__name__")) if frames else ""
    imported = _top(error.name) if isinstance(error, ImportError) else ""
    # Packages whose modules were being executed, the innermost first.
    bodies = [frame for frame in reversed(frames) if frame.f_code.co_name == "<module>"]
    packages = dict.fromkeys(_top(frame.f_globals.get("__name__")) for frame in bodies)
    packages = {name: None for name in packages if name not in ("mgc", "__main__")}
    if not imported and not packages:
        return None
    try:
        required = required_packages()
        del required[mgc.DISTRIBUTION]
    except ModuleNotFoundError as absent:  # packaging itself
        return FailedImport("packaging", f"{absent}.", "pip install packaging")
    missing = sorted(name for name, dist in required.items() if dist is None)
    if imported and isinstance(error, ModuleNotFoundError):
        culprit = _package(imported, required)
        if culprit and culprit in missing:
            return _missing([culprit])
        # A package's modules may have other names.
        if culprit is None and missing and (raised_by == "mgc" or _package(raised_by, required)):
            return _missing(missing)
    for package in packages:
        culprit = _package(package, required)
        if culprit:
            return _broken(culprit, error)
    culprit = _package(imported, required) if raised_by == "mgc" else None
    return _broken(culprit, error) if culprit else None


def _tested_versions() -> dict[str, str]:
    """Versions of the lock by canonical name."""
    from packaging.utils import canonicalize_name

    return {canonicalize_name(name): version for name, version in locks.locked_versions("full")}


def _missing(names: list[str]) -> FailedImport:
    verb = "is" if len(names) == 1 else "are"
    return FailedImport(
        names[0], f"{', '.join(names)} {verb} not installed.", install_command(*names)
    )


def _broken(name: str, error: BaseException) -> FailedImport:
    dist, torch = installed(name), installed("torch")
    beside = name in BUILT_TOGETHER and name != "torch" and torch
    return FailedImport(
        name,
        f"{name}{f' {dist.version}' if dist else ''} cannot be imported"
        f"{f' beside torch {torch.version}' if beside and torch else ''}: {_essence(error)}",
        install_command(name),
    )


def _essence(error: BaseException) -> str:
    """First sentences of the error at the bottom of a chain, without the folder of a library."""
    causes = set()
    while error.__cause__ and id(error) not in causes:
        causes.add(id(error))
        error = error.__cause__
    text = " ".join(str(error).split())
    for folder in filter(None, sys.path):
        text = text.replace(f"{folder}/", "")
    if len(text) > MAX_MESSAGE_CHARS:
        start = text[:MAX_MESSAGE_CHARS]
        sentences, end, _ = start.rpartition(". ")
        text = sentences if end else f"{start}…"
    return f"{type(error).__name__}: {text.rstrip('.')}."


def _top(module: str | None) -> str:
    """Name of the package at the top of a module's dotted name."""
    return (module or "").partition(".")[0]


def _package(module: str, required: dict[str, Distribution | None]) -> str | None:
    """Canonical name of the required package that a module belongs to."""
    from packaging.utils import canonicalize_name

    name = canonicalize_name(module)
    if name in required:
        return name
    # packages_distributions() knows as well, but looks at every installed file.
    for owner, dist in required.items():
        record = f"\n{dist.read_text('RECORD')}" if dist and module else ""
        if f"\n{module}/" in record or f"\n{module}.py," in record:
            return owner
    return None
