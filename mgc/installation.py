"""Describes how mgc is installed."""

import functools
import json
import sys
from importlib.metadata import (
    Distribution,
    EntryPoints,
    PackageNotFoundError,
    distribution,
    distributions,
)
from pathlib import Path
from shlex import quote
from urllib.parse import unquote

import mgc


def pip_install(extra: str = "") -> str:
    """Return the command that installs mgc, such as ``pip install 'mgc-lightning[export]'``."""
    return f"pip install {quote(mgc.DISTRIBUTION + (f'[{extra}]' if extra else ''))}"


def installed(name: str) -> Distribution | None:
    """Return an installed package without importing it, or None, also if it has no metadata."""
    try:
        dist = distribution(name)
    except PackageNotFoundError:
        return None
    return dist if "Version" in dist.metadata else None


@functools.cache  # once per process
def skip_broken_packages() -> None:
    """Let an installed package whose ``entry_points.txt`` is malformed register nothing.

    Python's ``entry_points()`` fails for all packages if one is broken. PyTorch, Lightning and mgc
    call it.
    """
    read = Distribution.entry_points.fget  # type: ignore[attr-defined] # a property

    def entry_points(self: Distribution) -> EntryPoints:
        try:
            found: EntryPoints = read(self)
        except Exception:  # its type depends on the version of Python
            return EntryPoints()
        return found

    entry_points.__wrapped__ = read  # type: ignore[attr-defined]
    Distribution.entry_points = property(entry_points)  # type: ignore[assignment]


def broken_packages() -> list[str]:
    """Describe the installed packages whose entry points cannot be read."""
    skip_broken_packages()
    read = Distribution.entry_points.fget.__wrapped__  # type: ignore[attr-defined] # see above
    found = {}
    for dist in distributions():
        try:
            read(dist)
        except Exception as error:
            found[name_and_version(dist)] = (
                f"{name_and_version(dist)} in {dist.locate_file('')}: its entry_points.txt is "
                f"malformed ({type(error).__name__}: {error}), so its models and data sets are "
                "not available. Install the package again."
            )
    return list(found.values())


def name_and_version(dist: Distribution) -> str:
    """Return name and version of a package; the name of its metadata folder if it has none."""
    # dist.name fails if there is no file METADATA.
    try:
        known = dist.metadata
        if known and "Name" in known and "Version" in known:
            return f"{known['Name']} {known['Version']}"
    except PackageNotFoundError:
        pass
    folder = getattr(dist, "_path", None)
    return " ".join(folder.stem.split("-")[:2]) if folder else "an unknown package"


def location(dist: Distribution) -> str:
    """Return the folder of a package's modules; its source folder if installed as editable."""
    origin = json.loads(dist.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return unquote(origin["url"].removeprefix("file://"))
    return str(dist.locate_file(""))


def find_clone() -> Path | None:
    """Return the source folder if ``make install`` created this environment in it."""
    root = Path(location(distribution(mgc.DISTRIBUTION)))
    made = (root / "Makefile").is_file() and Path(sys.prefix).resolve() == root.resolve() / ".venv"
    return root if made else None
