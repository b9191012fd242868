"""``mgc data prepare``: get a data set."""

import inspect
from pathlib import Path

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
    present, listed = _count_tracks(module)
    # An archive that is still there was not unpacked to its end.
    unfinished = any((folder / source.name).exists() for source in component.sources)
    if present and not unfinished and (present == listed or not component.sources):
        print(f"{present} of {listed} tracks are there already: {folder}")
        print(f"Check them: mgc data verify {name} --root {root}")
        return
    if not component.sources:
        print(inspect.getdoc(component))
        raise MgcError(
            f"{name} is not downloaded by mgc: put it into {folder}, as described above."
        )
    for source in component.sources:
        fetch(source, folder)
    present, listed = _count_tracks(module)
    print(f"{present} of {listed} tracks: {folder}")


def _count_tracks(module: MusicDataModule) -> tuple[int, int]:
    """Number of tracks whose files are there, and of all that the lists name."""
    try:
        catalogue = module.read_catalogue()
    except MgcError:
        return 0, 0
    # Beat-aligned features are in one store, which the catalogue comes from.
    files = catalogue["path"] if "path" in catalogue else [module.root] * len(catalogue)
    return sum(Path(path).exists() for path in files), len(catalogue)
