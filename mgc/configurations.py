"""Finds the configurations shipped with mgc and its plugins.

Configurations are the YAML files in a package's folder ``configs``; sweeps are in
``configs/sweeps``. In a source tree, the folder is next to the package.
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
    """Path of a shipped YAML file, and name and version of its package."""

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
        name: Path of a file, name of a shipped configuration (``vgg_gtzan``), or its path in the
            source tree (``configs/vgg_gtzan.yaml``). An existing file takes precedence.
        sweep: Whether to search sweeps instead of other configurations. Their prefix ``sweeps/`` is
            optional.

    Raises:
        MgcError: If the name is unknown, or several packages ship it.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = {
        other: same for other, same in find_shipped().items() if other.startswith(SWEEPS) is sweep
    }
    path = choose_configuration(name, shipped, SWEEPS if sweep else "").path
    local = Path(f"{name}.yaml")
    if local.is_file() and not local.samefile(path):
        log.warning("Using the shipped configuration %s. To use your file, set %s.", name, local)
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


def choose_configuration(
    name: str, shipped: dict[str, list[Configuration]], group: str = ""
) -> Configuration:
    """Return the shipped configuration with a name, or with a path in the source tree.

    ``group`` is a prefix that may be omitted in ``name``.

    Raises:
        MgcError: If the name is unknown, or several packages ship it.
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
        raise MgcError(f"{name}: shipped by several packages. Set one of the paths: {places}.")
    return shipped[key][0]


def _folders(package: str) -> list[Path]:
    """List the configuration folders of a package: inside it, or next to it in a source tree."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    inside = [Path(location) for location in spec.submodule_search_locations or []]
    modules = inside or [Path(spec.origin or "")]
    parents = [path.parent for path in modules if (path.parent / "pyproject.toml").is_file()]
    folders = [location / FOLDER for location in (*inside, *parents)]
    return [folder for folder in folders if folder.is_dir()]
