"""The data set that a command of ``mgc data`` works on."""

from typing import Any

from mgc import registry
from mgc.data.base import MusicDataModule
from mgc.errors import MgcError


def find_data_module(name: str) -> type[MusicDataModule]:
    """Find the class of a data set.

    Args:
        name: Name of the data set, as in ``mgc list``.

    Returns:
        The class.

    Raises:
        MgcError: If there is no such data set, or its class is no :class:`MusicDataModule`, which
            the commands need.
    """
    component = registry.load("data", name)
    if not issubclass(component, MusicDataModule):
        raise MgcError(f"The data '{name}' is no MusicDataModule, which this command needs.")
    return component


def make_data_module(
    name: str, root: str, data_args: dict[str, Any] | None, **settings: Any
) -> MusicDataModule:
    """Make the data module of a data set.

    Args:
        name: Name of the data set, as in ``mgc list``.
        root: Folder with the data set.
        data_args: Arguments of the data set.
        **settings: Arguments that the command has options for.

    Returns:
        The data module.

    Raises:
        MgcError: If there is no such data set, or an argument is wrong.
    """
    component = find_data_module(name)
    given = data_args or {}
    for key in given.keys() & {"root", *settings}:
        raise MgcError(f"--data_args.{key}: the command has an option for that, --{key}.")
    try:
        return component(root=root, **settings, **given)
    except TypeError as error:
        raise MgcError(f"The data '{name}': {error}. Check --data_args.") from error
