"""``mgc data prepare``: download a data set."""

import inspect
from pathlib import Path

from mgc import registry
from mgc.core.terminal import print_line, print_text
from mgc.data.base import MusicDataModule
from mgc.data.download import fetch
from mgc.errors import ContractError, MgcError


def prepare(name: str, root: str) -> None:
    """Download a data set, or print how to get it.

    If the data set can be downloaded, its files are downloaded, verified and unpacked; to resume an
    interrupted download, run the command again. Otherwise, the command prints where to get the data
    set and the expected folder layout.

    Example: mgc data prepare urbansound8k --root data/urbansound8k

    Args:
        name: Name of the data set, as in mgc list.
        root: Folder for the data set.
    """
    folder = Path(root)
    module = registry.make_data_module(name, root, None)
    present, listed = _count_tracks(module)
    # Archives are deleted after unpacking.
    unfinished = any((folder / source.name).exists() for source in module.sources)
    if present and not unfinished and (present == listed or not module.sources):
        print_line(f"{folder} already has {present} of {listed} tracks.")
        print_line(f"Check them: mgc data verify {name} --root {root}")
        return
    if not module.sources:
        print_text(inspect.getdoc(type(module)))
        raise MgcError(f"mgc cannot download {name}. Put it into {folder} as described above.")
    for source in module.sources:
        fetch(source, folder)
    present, listed = _count_tracks(module)
    print_line(f"{folder} has {present} of {listed} tracks.")


def _count_tracks(module: MusicDataModule) -> tuple[int, int]:
    """Count the tracks whose files exist, and all listed tracks."""
    try:
        catalogue = module.load_catalogue()
    except ContractError:
        raise
    except MgcError:
        return 0, 0
    # The catalogue of beat-aligned features is read from a store that contains all tracks.
    files = catalogue["path"] if "path" in catalogue else [module.root] * len(catalogue)
    return sum(Path(path).exists() for path in files), len(catalogue)
