"""Finds models and data sets by short name, from the entry points of installed packages.

Names are listed without imports, so a broken package cannot break another, and commands start fast.
"""

import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import reduce
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint
from typing import TYPE_CHECKING, Any

import mgc
from mgc.core.plugins import GROUPS as GROUPS
from mgc.core.plugins import describe_error
from mgc.core.plugins import find as find
from mgc.core.plugins import owner as owner
from mgc.core.ranges import check_arguments
from mgc.errors import MgcError
from mgc.installation import location as location  # old path, removed in 0.2

if TYPE_CHECKING:
    from mgc.data.base import MusicDataModule

#: Former class paths in configurations and checkpoints, and their new ones.
MOVED = {"mgc.data.msd_tagging.MSDTagging": "mgc.data.msd.MSDTagging"}

#: Distribution name that early plugins required. It is another project on the package index.
FORMER_NAME = "mgc"

#: Distribution names of mgc in the requirements of plugins.
NAMES = (mgc.DISTRIBUTION, FORMER_NAME)


class RegistryError(MgcError):
    """Raised if a short name cannot be resolved to a class."""


def is_name(kind: str, text: str) -> bool:
    """Return whether a text is a short name, known or not, rather than a class path.

    Every name that an entry point may have is one, and any other text without a dot, brace or
    slash. A text with one of these is a class path, a file, or a section in JSON.
    """
    return not any(mark in text for mark in "./{") or text in find(kind)


def load(kind: str, name: str) -> type:
    """Import the class of a short name such as ``vgg_tagger``, or of a class path.

    Raises:
        RegistryError: If the name is unknown or registered twice, or its class cannot be loaded
            (see :func:`load_claim`).
    """
    if not is_name(kind, name):
        return _import(kind, f"The {kind} {name}", "", lambda: import_class(name))
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
    check_arguments(component, given, "--data_args.{}".format)
    try:
        data: MusicDataModule = component(root=root, **settings, **given)
    except TypeError as error:
        if describe_error(error):  # raised inside a plugin's constructor
            raise
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
    if not _target(entry_point):
        raise RegistryError(
            f"{where} has an invalid value {entry_point.value!r}: expected package.module:Class."
        )
    return _import(kind, where, f" ({entry_point.value})", entry_point.load)


def _import(kind: str, where: str, detail: str, component: Callable[[], Any]) -> type:
    """Import a class and check it; raise a RegistryError that begins with ``where``."""
    try:
        found: type = component()
    # A plugin may call sys.exit when imported.
    except (Exception, SystemExit) as error:
        raise RegistryError(
            f"{where} could not be imported{detail}: {type(error).__name__}: {error}"
        ) from error
    check(kind, found, where)
    return found


def import_class(path: str) -> Any:
    """Import a class by its path, such as ``package.module.Outer.Inner``.

    Raises:
        ImportError: If no prefix of the path is a module.
        AttributeError: If the module has no such class.
    """
    names = path.split(".")
    for length in range(len(names) - 1, 0, -1):
        module = ".".join(names[:length])
        try:
            found = import_module(module)
        except ModuleNotFoundError as error:
            # The rest of the path may be a class in a module above.
            if length == 1 or not f"{module}.".startswith(f"{error.name}."):
                raise
            continue
        return reduce(getattr, names[length:], found)
    raise ImportError(f"{path!r} is not the path of a class, such as package.module.Class")


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
    return _target(find(kind)[name][0])


def path_of(component: type) -> str:
    """Return the path of a class: where it is defined, not where it is exported again."""
    return f"{component.__module__}.{component.__qualname__}"


def is_class(component: type, path: str) -> bool:
    """Return whether ``path`` names a class, in the module that defines or exports it."""
    path = MOVED.get(path, path)
    return path == path_of(component) or find_imported(path) is component


def entry_point_of(class_path: str) -> EntryPoint | None:
    """Return the entry point of a class, or None.

    A package may register a class under another path than the one that defines it. If no entry
    point has this path, the registered classes are imported and compared, the likely ones first.
    """
    class_path = MOVED.get(class_path, class_path)
    claims = [(kind, claim) for kind in GROUPS for same in find(kind).values() for claim in same]
    for _, claim in claims:
        if _target(claim) == class_path:
            return claim
    root, _, name = class_path.partition(".")
    root, name = f"{root}.", name.rpartition(".")[2]
    claims.sort(
        key=lambda item: (
            not _target(item[1]).startswith(root),
            not _target(item[1]).endswith(f".{name}"),
        )
    )
    for kind, claim in claims:
        if _target(claim).startswith("mgc.") and root != "mgc.":
            continue
        try:
            component = load_claim(kind, claim)
        except RegistryError:
            continue
        if is_class(component, class_path):
            return claim
    return None


def _target(claim: EntryPoint) -> str:
    """Return the class path of an entry point; ``""`` if it is malformed."""
    try:
        return f"{claim.module}.{claim.attr}"
    except (AttributeError, AssertionError):  # the second since Python 3.13
        return ""


def find_imported(path: str) -> Any:
    """Return what a path names in the modules imported so far, or None."""
    names = path.split(".")
    for length in range(len(names) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(names[:length]))
        if found is not None:
            for name in names[length:]:
                found = getattr(found, name, None)
            return found
    return None


def name_of(class_path: str) -> str:
    """Return the short name of a model or data module; its class path if it is not registered."""
    claim = entry_point_of(class_path)
    return claim.name if claim else class_path


def packages() -> dict[str, Distribution]:
    """Return mgc and its plugins by name and version, without importing them."""
    claims = [claim for kind in GROUPS for same in find(kind).values() for claim in same]
    return {owner(claim): claim.dist for claim in claims if claim.dist}
