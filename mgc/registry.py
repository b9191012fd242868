"""Short names for models and data sets, from the entry points of installed packages.

Finding is apart from loading: names are listed without importing anything, so one broken package
cannot break another, and the command starts fast.
"""

from collections import defaultdict
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from mgc.errors import MgcError

#: Entry point group of each kind of component.
GROUPS = {"model": "mgc.models", "data": "mgc.data"}


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
        RegistryError: If the name is unknown, claimed twice, fails to import, or is no class of
            the right kind.
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
    entry_point = claims[0]
    where = f"The {kind} '{name}' from {owner(entry_point)}"
    try:
        component = entry_point.load()
    except Exception as error:
        raise RegistryError(
            f"{where} could not be imported ({entry_point.value}): {type(error).__name__}: {error}"
        ) from error
    check(kind, component, where)
    return component


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


def owner(entry_point: EntryPoint) -> str:
    """Name the package behind an entry point.

    Args:
        entry_point: A registered component.

    Returns:
        Name and version of its package.
    """
    dist = entry_point.dist
    return f"{dist.name} {dist.version}" if dist else "an unknown package"
