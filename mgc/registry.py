"""Short names for models and data sets, from the entry points of installed packages.

Finding is apart from loading: names are listed without importing anything, so one broken package
cannot break another, and the command starts fast.
"""

from collections import defaultdict
from difflib import get_close_matches
from importlib.metadata import Distribution, EntryPoint, entry_points

import mgc
from mgc.errors import MgcError
from mgc.installation import location as location  # its place until 0.2

#: Entry point group of each kind of component.
GROUPS = {"model": "mgc.models", "data": "mgc.data"}


#: Class paths of earlier versions, which configurations and checkpoints hold.
MOVED = {"mgc.data.msd_tagging.MSDTagging": "mgc.data.msd.MSDTagging"}

#: Name of another project on the package index, by which plugins required mgc in the past.
FORMER_NAME = "mgc"

#: Names by which plugins require mgc.
NAMES = (mgc.DISTRIBUTION, FORMER_NAME)


class RegistryError(MgcError):
    """A short name cannot be turned into a class."""


def find(kind: str) -> dict[str, list[EntryPoint]]:
    """Find every registered name of one kind, without importing anything.

    Args:
        kind: ``model`` or ``data``.

    Returns:
        The entry points that claim each name. More than one is a clash.
    """
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry_point in entry_points(group=GROUPS[kind]):
        # The same distribution can be on sys.path twice.
        if entry_point not in found[entry_point.name]:
            found[entry_point.name].append(entry_point)
    return dict(sorted(found.items()))


def load(kind: str, name: str) -> type:
    """Import the class behind a short name.

    Args:
        kind: ``model`` or ``data``.
        name: A short name such as ``vgg_tagger``.

    Returns:
        The class.

    Raises:
        RegistryError: If the name is unknown or claimed twice, or its class cannot be had (see
            :func:`load_claim`).
    """
    found = find(kind)
    if name not in found:
        close = get_close_matches(name, found, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise RegistryError(f"No {kind} named '{name}'.{hint} Known: {', '.join(found)}.")
    claims = found[name]
    if len(claims) > 1:
        owners = ", ".join(f"{owner(claim)} ({claim.value})" for claim in claims)
        raise RegistryError(
            f"More than one package registers the {kind} '{name}': {owners}. Use the full class "
            "path instead, or uninstall one."
        )
    return load_claim(kind, claims[0])


def load_claim(kind: str, entry_point: EntryPoint) -> type:
    """Import what an entry point names.

    Args:
        kind: ``model`` or ``data``.
        entry_point: A registered component.

    Returns:
        The class.

    Raises:
        RegistryError: If its package needs another version of mgc, it fails to import, or is no
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
    # A plugin that calls sys.exit while it is imported is broken as well.
    except (Exception, SystemExit) as error:
        raise RegistryError(
            f"{where} could not be imported ({entry_point.value}): {type(error).__name__}: {error}"
        ) from error
    check(kind, component, where)
    return component


def mgc_versions(dist: Distribution | None) -> str:
    """Read which versions of mgc a package says it needs.

    Args:
        dist: An installed package.

    Returns:
        What its requirement of mgc says, such as ``>=0.1,<0.2``; empty if it says nothing, or is
        mgc itself.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    for line in (dist.requires if dist else None) or []:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue  # not what mgc has to complain about
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if canonicalize_name(requirement.name) in NAMES and applies:
            return ",".join(sorted(map(str, requirement.specifier), reverse=True))  # >=0.1,<0.2
    return ""


def fits(needed: str) -> bool:
    """Tell whether this version of mgc is among those that a package needs.

    Args:
        needed: What :func:`mgc_versions` gives.

    Returns:
        Whether it is.
    """
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(needed).contains(mgc.__version__, prereleases=True)


def check(kind: str, component: object, where: str) -> None:
    """Check that a component is what the commands take.

    Args:
        kind: ``model`` or ``data``.
        component: What an entry point names.
        where: Beginning of the error message.

    Raises:
        RegistryError: If it is not a class of the right kind.
    """
    from lightning.pytorch import LightningModule

    from mgc.data.base import MusicDataModule

    base = {"model": LightningModule, "data": MusicDataModule}[kind]
    if isinstance(component, type):
        if issubclass(component, base):
            return
        if any(parent.__module__.startswith("pytorch_lightning") for parent in component.__mro__):
            raise RegistryError(
                f"{where} subclasses pytorch_lightning, whose classes are not those of "
                "lightning.pytorch: import lightning.pytorch instead."
            )
    raise RegistryError(f"{where} is not a {base.__name__} ({base.__module__}).")


def class_path(kind: str, name: str) -> str:
    """Turn a short name into a class path.

    Args:
        kind: ``model`` or ``data``.
        name: A short name such as ``vgg_tagger``.

    Returns:
        The class path, such as ``mgc.models.vgg.VGGTagger``.

    Raises:
        RegistryError: If the name cannot be turned into a class.
    """
    load(kind, name)
    return find(kind)[name][0].value.replace(":", ".")


def entry_point_of(class_path: str) -> EntryPoint | None:
    """Find the entry point that names a class.

    Args:
        class_path: Path of a class, such as ``mgc.models.vgg.VGGTagger``. A class that a package
            registers by its own path may be defined in a module of the package.

    Returns:
        The entry point, which has a short name and a package; nothing if none names the class.
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
    """Short name of a class.

    Args:
        class_path: Path of a class.

    Returns:
        The short name; the class path itself if no entry point names the class.
    """
    claim = entry_point_of(class_path)
    return claim.name if claim else class_path


def packages() -> dict[str, Distribution]:
    """Find the packages that register something, without importing them.

    Returns:
        The packages by name and version, mgc among them.
    """
    claims = [claim for kind in GROUPS for same in find(kind).values() for claim in same]
    return {owner(claim): claim.dist for claim in claims if claim.dist}


def owner(entry_point: EntryPoint) -> str:
    """Name the package behind an entry point.

    Args:
        entry_point: A registered component.

    Returns:
        Name and version of its package.
    """
    dist = entry_point.dist
    return f"{dist.name} {dist.version}" if dist else "an unknown package"
