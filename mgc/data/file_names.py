"""Finds files by name in copies of data sets that spell names differently.

Copies differ in upper and lower case and, if they were made on macOS, in the Unicode form.
"""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path


def find_name(root: str | os.PathLike[str], name: str) -> Path:
    """Return the path of a file or folder in ``root``, with the spelling on disk if it exists."""
    return Path(find_names(root, [str(Path(root, name))])[0])


def find_names(root: str | os.PathLike[str], paths: Iterable[str]) -> list[str]:
    """Return paths with the spelling on disk. Paths that do not exist or are not in ``root`` stay.

    Each folder is listed once, which is faster on a network disk than a look at each file.
    """
    top = "" if os.fspath(root) == os.curdir else os.fspath(root)
    folders: dict[str, str | None] = {"": top}
    listings: dict[str, dict[str, str]] = {}

    def spell(relative: str) -> str | None:
        if relative not in folders:
            parent, _, name = relative.rpartition(os.sep)
            folder = spell(parent)
            found = None
            if folder is not None and name not in ("", os.pardir):
                if folder not in listings:
                    listings[folder] = _list(folder)
                names = listings[folder]
                found = names.get(name) or names.get(_fold(name))
            folders[relative] = None if found is None else os.path.join(folder or "", found)
        return folders[relative]

    prefix = os.path.join(top, "") if top else ""
    return [
        (
            (os.path.isabs(path) == os.path.isabs(top) and path.startswith(prefix))
            and spell(path.removeprefix(prefix))
        )
        or path
        for path in paths
    ]


def _list(folder: str) -> dict[str, str]:
    """Map the names in a folder, and their folded forms, to the names."""
    try:
        names = sorted(os.listdir(folder or os.curdir), reverse=True)
    except OSError:
        return {}
    return {_fold(name): name for name in names} | {name: name for name in names}


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
