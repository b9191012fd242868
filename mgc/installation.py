"""Describes how mgc is installed."""

import json
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
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
