"""Checks installed libraries: tested versions, requirements, failed imports.

Imports only the standard library and ``packaging``, so it works if another library is broken.
"""

import shlex
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path
from traceback import walk_tb

import mgc
from mgc import locks
from mgc.installation import find_clone, installed, pip_install

#: Packages whose compiled code requires matching versions of each other.
BUILT_TOGETHER = ("torch", "torchvision", "torchaudio")

#: Maximum number of characters quoted from a library's error message.
MAX_MESSAGE_CHARS = 200


@dataclass(frozen=True)
class FailedImport:
    """A required library that is missing or cannot be imported.

    Attributes:
        library: Name of its package.
        reason: Problem in one line.
        fix: Command that fixes it.
    """

    library: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.reason} Fix it with: {self.fix}"


def diagnose(error: BaseException) -> FailedImport | None:
    """Find the required library whose import raised an error, or one of the error's causes.

    Returns:
        The library, or None if the error has another origin, such as the import of a package that
        mgc does not require.
    """
    for link in _chain(error):
        found = _failed_import(link)
        if found:
            return found
    return None


def required_packages(*roots: str) -> dict[str, Distribution | None]:
    """Return packages (by default mgc) and their direct and indirect requirements.

    Returns:
        The packages by canonical name; None for a package that is not installed.
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


def untested() -> Iterator[tuple[str, str, str]]:
    """Find untested versions of mgc's direct requirements, torchvision and torchaudio.

    Yields:
        Name, installed version and tested version.
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
    """Find packages with several metadata folders, such as after an interrupted upgrade.

    Args:
        names: Canonical names of packages.

    Yields:
        Name of a package, and its metadata folders.
    """
    from packaging.utils import canonicalize_name

    wanted = set(names)
    for folder in dict.fromkeys(sys.path):
        records = defaultdict(list)
        for record in sorted(Path(folder).glob("*.dist-info")):
            # Metadata may lack fields, which indexing deprecates.
            name = str(Distribution.at(record).metadata.json.get("name", ""))
            if name and canonicalize_name(name) in wanted:
                records[canonicalize_name(name)].append(record)
        yield from ((name, same) for name, same in records.items() if len(same) > 1)


def install_command(*names: str) -> str:
    """Return the command that installs the tested versions of packages.

    Packages that require PyTorch are installed with matching versions of PyTorch, torchvision and
    torchaudio. In the environment of ``make install`` the command uses make, elsewhere pip.
    """
    from packaging.specifiers import SpecifierSet

    wanted = list(dict.fromkeys(names))
    if any(name in BUILT_TOGETHER or "torch" in required_packages(name) for name in wanted):
        if locks.is_for_serving():
            return pip_install()
        wanted = [*BUILT_TOGETHER, *(name for name in wanted if name not in BUILT_TOGETHER)]
    tested = _tested_versions()
    # Installers skip packages that have the requested version.
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
    """Yield an error and its causes. The chain may be circular."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _failed_import(error: BaseException) -> FailedImport | None:
    """Find the required library whose import raised an error, without its causes."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    raised_by = _top(frames[-1].f_globals.get("__name__")) if frames else ""
    imported = _top(error.name) if isinstance(error, ImportError) else ""
    # Packages whose modules were being imported, innermost first.
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
        # The package and its module may have different names.
        if culprit is None and missing and (raised_by == "mgc" or _package(raised_by, required)):
            return _missing(missing)
    for package in packages:
        culprit = _package(package, required)
        if culprit:
            return _broken(culprit, error)
    culprit = _package(imported, required) if raised_by == "mgc" else None
    return _broken(culprit, error) if culprit else None


def _tested_versions() -> dict[str, str]:
    """Return the locked versions by canonical name."""
    from packaging.utils import canonicalize_name

    return {canonicalize_name(name): version for name, version in locks.locked_versions("full")}


def _missing(names: list[str]) -> FailedImport:
    verb = "is" if len(names) == 1 else "are"
    return FailedImport(
        names[0], f"{', '.join(names)} {verb} not installed.", install_command(*names)
    )


def _broken(name: str, error: BaseException) -> FailedImport:
    dist, torch = installed(name), installed("torch")
    depends = name in BUILT_TOGETHER and name != "torch" and torch
    return FailedImport(
        name,
        f"{name}{f' {dist.version}' if dist else ''} cannot be imported"
        f"{f' with torch {torch.version}' if depends and torch else ''}: {_root_message(error)}",
        install_command(name),
    )


def _root_message(error: BaseException) -> str:
    """Return the first sentences of the root cause, without paths of installed packages."""
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
    """Return the top-level package of a module."""
    return (module or "").partition(".")[0]


def _package(module: str, required: dict[str, Distribution | None]) -> str | None:
    """Return the canonical name of the required package that contains a module."""
    from packaging.utils import canonicalize_name

    name = canonicalize_name(module)
    if name in required:
        return name
    # packages_distributions() reads all installed files and is slower.
    for owner, dist in required.items():
        record = f"\n{dist.read_text('RECORD')}" if dist and module else ""
        if f"\n{module}/" in record or f"\n{module}.py," in record:
            return owner
    return None
