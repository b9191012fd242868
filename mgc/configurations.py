"""Configurations that mgc and its plugins ship, by name.

They are the YAML files in a package's folder ``configs``, with sweeps in ``configs/sweeps``. In a
source tree, the folder is beside the package.
"""

import logging
from collections import defaultdict
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from mgc import registry
from mgc.errors import MgcError

log = logging.getLogger(__name__)

FOLDER = "configs"

#: Prefix of the names of sweeps.
SWEEPS = "sweeps/"


class Configuration(NamedTuple):
    """A shipped configuration: its YAML file, and name and version of its package."""

    path: Path
    package: str

    @property
    def summary(self) -> str:
        """First line of the file if it is a comment, else ``""``."""
        first = self.path.read_text(encoding="utf-8").partition("\n")[0]
        return first.removeprefix("#").strip() if first.startswith("#") else ""


def find_shipped() -> dict[str, list[Configuration]]:
    """Return the shipped configurations by name, without importing plugins.

    Names are like ``vgg_gtzan`` or ``sweeps/vgg_gtzan``. Several packages may ship the same name.
    """
    owners = {}
    for kind in registry.GROUPS:
        for claims in registry.find(kind).values():
            for claim in claims:
                owners[claim.value.partition(":")[0].partition(".")[0]] = registry.owner(claim)
    found = defaultdict(list)
    for package, owner in owners.items():
        for folder in _folders(package):
            for path in folder.rglob("*.yaml"):
                name = path.relative_to(folder).with_suffix("").as_posix()
                found[name].append(Configuration(path, owner))
    return dict(sorted(found.items()))


def find_configuration(name: str, sweep: bool = False) -> Path:
    """Return the path of a configuration.

    Args:
        name: Path of a file; else the name of a shipped configuration, or its path in a clone,
            ``configs/vgg_gtzan.yaml``.
        sweep: Whether to search the sweeps, whose prefix ``sweeps/`` is optional, or the other
            configurations.

    Raises:
        MgcError: If no file and no shipped configuration, or several of them, have this name.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = {
        other: same for other, same in find_shipped().items() if other.startswith(SWEEPS) is sweep
    }
    path = choose(name, shipped, SWEEPS if sweep else "").path
    beside = Path(f"{name}.yaml")
    if beside.is_file() and not beside.samefile(path):
        log.warning("Using the shipped configuration %s. For your file: %s.", name, beside)
    return path


def read_configuration(name: str, sweep: bool = False) -> str:
    """Return the text of a configuration (see :func:`find_configuration`).

    Raises:
        MgcError: If it does not exist or cannot be read.
    """
    try:
        return find_configuration(name, sweep).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise MgcError(f"{name}: {reason}.") from error


def choose(name: str, shipped: dict[str, list[Configuration]], group: str = "") -> Configuration:
    """Return the shipped configuration with this name, or with this path in a clone.

    ``group`` is an optional prefix of the names.

    Raises:
        MgcError: If none or several have this name.
    """
    key = Path(name).as_posix().removeprefix(f"{FOLDER}/").removesuffix(".yaml")
    key = group + key.removeprefix(group)
    if key not in shipped:
        close = get_close_matches(key, shipped, n=3)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise MgcError(
            f"{name}: no such file or shipped configuration.{hint} 'mgc configs' lists them."
        )
    if len(shipped[key]) > 1:
        places = ", ".join(f"{same.path} ({same.package})" for same in shipped[key])
        raise MgcError(f"{name}: several packages ship this name. Give a path: {places}.")
    return shipped[key][0]


def _folders(package: str) -> list[Path]:
    """List the configuration folders of a package: inside it, or beside it in a source tree."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    inside = [Path(place) for place in spec.submodule_search_locations or []]
    modules = inside or [Path(spec.origin or "")]
    beside = [path.parent for path in modules if (path.parent / "pyproject.toml").is_file()]
    return [place / FOLDER for place in (*inside, *beside) if (place / FOLDER).is_dir()]
