"""``mgc data prepare``: get a data set."""

import inspect
from pathlib import Path

import pandas as pd

from mgc import registry
from mgc.data.base import MusicDataModule
from mgc.data.download import fetch
from mgc.errors import MgcError


def prepare(name: str, root: str) -> None:
    """Download a data set, or tell where to get it.

    Where the source still serves the data, its files are downloaded, checked and unpacked. An
    interrupted download goes on where it stopped when the command is run again. Otherwise, this
    tells where people get the data set and what its folder must look like.

    Example: mgc data prepare urbansound8k --root data/urbansound8k

    Args:
        name: Name of the data set, as in mgc list.
        root: Folder for the data set.
    """
    component = registry.load("data", name)
    if not issubclass(component, MusicDataModule):
        raise MgcError(f"The data '{name}' cannot be prepared: it is no MusicDataModule.")
    folder = Path(root)
    module = component(root=root)
    # An archive that is still there was not unpacked to its end.
    unfinished = any((folder / source.name).exists() for source in component.sources)
    if not unfinished and (tracks := _count_tracks(module)):
        print(f"{tracks} tracks are there already: {folder}\nCheck them: mgc data verify {name}")
        return
    if not component.sources:
        print(inspect.getdoc(component))
        raise MgcError(
            f"{name} is not served for download: put it into {folder}, as described above."
        )
    for source in component.sources:
        fetch(source, folder)
    print(f"{_count_tracks(module)} tracks: {folder}")


def _count_tracks(module: MusicDataModule) -> int:
    """Number of tracks whose files are there."""
    try:
        catalogue: pd.DataFrame = module.read_catalogue()
    except MgcError:
        return 0
    return sum(Path(path).is_file() for path in catalogue["path"])
