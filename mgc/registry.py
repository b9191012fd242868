"""Finds models and data sets by short name, from the entry points of installed packages.

Names are listed without imports, so a broken package cannot break another, and commands start fast.
"""

from collections import defaultdict
from difflib import get_close_matches
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import mgc
from mgc.errors import MgcError
from mgc.installation import location as location  # old path, removed in 0.2

if TYPE_CHECKING:
    from mgc.data.base import MusicDataModule

#: Entry point group of each kind of component.
GROUPS = {"model": "mgc.models", "data": "mgc.data"}

#: Former class paths in configurations and checkpoints, and their new ones.
MOVED = {"mgc.data.msd_tagging.MSDTagging": "mgc.data.msd.MSDTagging"}

#: Distribution name that early plugins required. It is another project on the package index.
FORMER_NAME = "mgc"

#: Distribution names of mgc in the requirements of plugins.
NAMES = (mgc.DISTRIBUTION, FORMER_NAME)


class RegistryError(MgcError):
    """Raised if a short name cannot be resolved to a class."""


def find(kind: str) -> dict[str, list[EntryPoint]]:
    """List the registered names of one kind (``model`` or ``data``) without importing anything.

    Returns:
        The entry points of each name. Several entry points are a conflict.
    """
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry_point in entry_points(group=GROUPS[kind]):
        # The same distribution can be on sys.path twice.
        if entry_point not in found[entry_point.name]:
            found[entry_point.name].append(entry_point)
    return dict(sorted(found.items()))


def load(kind: str, name: str) -> type:
    """Import the class of a short name such as ``vgg_tagger``.

    Raises:
        RegistryError: If the name is unknown or registered twice, or its class cannot be loaded
            (see :func:`load_claim`).
    """
    found = find(kind)
    if name not in found:
        close = get_close_matches(name, found, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        new = "" if close else " A new one is found after its package is installed again."
        raise RegistryError(f"No {kind} named '{name}'.{hint} Available: {', '.join(found)}.{new}")
    claims = found[name]
    if len(claims) > 1:
        owners = ", ".join(f"{owner(claim)} ({claim.value})" for claim in claims)
        raise RegistryError(
            f"More than one package registers the {kind} '{name}': {owners}. Use the full class "
            "path instead, or uninstall one."
        )
    return load_claim(kind, claims[0])


def make_data_module(
    name: str, root: str, data_args: dict[str, Any] | None, **settings: Any
) -> "MusicDataModule":
    """Build a data module by its short name.

    Args:
        name: A short name such as ``gtzan``.
        root: Folder of the data set.
        data_args: Other arguments from the command line (``--data_args``).
        **settings: Arguments for which the command has options.

    Raises:
        MgcError: If there is no such data set, or an argument is wrong.
    """
    component = load("data", name)
    given = data_args or {}
    for key in given.keys() & {"root", *settings}:
        raise MgcError(f"--data_args.{key}: use the option --{key} instead.")
    try:
        data: MusicDataModule = component(root=root, **settings, **given)
    except TypeError as error:
        raise MgcError(f"The data '{name}': {error}. Check --data_args.") from error
    return data


def load_claim(kind: str, entry_point: EntryPoint) -> type:
    """Import the class of an entry point.

    Raises:
        RegistryError: If its package needs another version of mgc, the import fails, or it is not a
            class of the right kind.
    """
    where = f"The {kind} '{entry_point.name}' from {owner(entry_point)}"
    needed = mgc_versions(entry_point.dist)
    if not fits(needed):
        raise RegistryError(
            f"{where} needs mgc{needed}, but this is mgc {mgc.__version__}. Install a version of "
            f"{entry_point.dist.name if entry_point.dist else 'it'} made for this mgc, or "
            f"{mgc.DISTRIBUTION}{needed}."
        )
    try:
        component = entry_point.load()
    # A plugin may call sys.exit when imported.
    except (Exception, SystemExit) as error:
        raise RegistryError(
            f"{where} could not be imported ({entry_point.value}): {type(error).__name__}: {error}"
        ) from error
    check(kind, component, where)
    return component


def mgc_versions(dist: Distribution | None) -> str:
    """Return the versions of mgc that a package requires, such as ``>=0.1,<0.2``, or ``""``."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    for line in (dist.requires if dist else None) or []:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if canonicalize_name(requirement.name) in NAMES and applies:
            return ",".join(sorted(map(str, requirement.specifier), reverse=True))  # >=0.1,<0.2
    return ""


def fits(needed: str) -> bool:
    """Check whether this version of mgc meets a requirement from :func:`mgc_versions`."""
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(needed).contains(mgc.__version__, prereleases=True)


def check(kind: str, component: object, where: str) -> None:
    """Check that a component is a LightningModule or MusicDataModule class.

    Raises:
        RegistryError: If it is not. The message begins with ``where``.
    """
    from lightning.pytorch import LightningModule

    from mgc.data.base import MusicDataModule

    base = {"model": LightningModule, "data": MusicDataModule}[kind]
    if isinstance(component, type):
        if issubclass(component, base):
            return
        if any(parent.__module__.startswith("pytorch_lightning") for parent in component.__mro__):
            raise RegistryError(
                f"{where} subclasses pytorch_lightning: import lightning.pytorch instead."
            )
    raise RegistryError(f"{where} is not a {base.__name__} ({base.__module__}).")


def class_path(kind: str, name: str) -> str:
    """Return the class path of a short name, such as ``mgc.models.vgg.VGGTagger``.

    Raises:
        RegistryError: If the name cannot be resolved to a class.
    """
    load(kind, name)
    return find(kind)[name][0].value.replace(":", ".")


def entry_point_of(class_path: str) -> EntryPoint | None:
    """Return the entry point of a class, or None.

    The class may be defined in a module below the one that is registered.
    """
    class_path = MOVED.get(class_path, class_path)
    claims = [claim for kind in GROUPS for same in find(kind).values() for claim in same]
    for claim in claims:
        if claim.value.replace(":", ".") == class_path:
            return claim
    for claim in claims:
        if class_path.startswith(f"{claim.module}.") and class_path.endswith(f".{claim.attr}"):
            return claim
    return None


def name_of(class_path: str) -> str:
    """Return the short name of a class; its class path if it is not registered."""
    claim = entry_point_of(class_path)
    return claim.name if claim else class_path


def packages() -> dict[str, Distribution]:
    """Return mgc and its plugins by name and version, without importing them."""
    claims = [claim for kind in GROUPS for same in find(kind).values() for claim in same]
    return {owner(claim): claim.dist for claim in claims if claim.dist}


def owner(entry_point: EntryPoint) -> str:
    """Return name and version of the package of an entry point."""
    dist = entry_point.dist
    return f"{dist.name} {dist.version}" if dist else "an unknown package"
