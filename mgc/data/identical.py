"""Finds duplicate files: links to the same file, and files with the same content."""

import logging
import os
from collections import defaultdict

import pandas as pd

from mgc.data.verification import sample_hash, whole_hash

log = logging.getLogger(__name__)

#: Maximum number of pairs listed in a message.
MAX_LISTED_PAIRS = 3


def file_identity(path: str) -> str:
    """Return an identifier of a file that is the same for all paths and links to it."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.normcase(os.path.abspath(path))
    # Some file systems have no inode numbers.
    return f"{status.st_dev}:{status.st_ino}" if status.st_ino else os.path.realpath(path)


def group_identical_files(catalogue: pd.DataFrame) -> pd.DataFrame:
    """Merge the groups of tracks whose files have the same content, so that they share a split.

    Logs the number of duplicates.

    Args:
        catalogue: ``path``, ``track`` and ``group`` of each track.

    Returns:
        The catalogue with merged groups.
    """
    files = catalogue.drop_duplicates("path")
    copies = _group_identical(files["path"].tolist())
    if not copies:
        return catalogue
    names = files["track"].tolist()
    pairs = [f"{names[rows[0]]} and {names[row]}" for rows in copies for row in rows[1:]]
    log.warning(
        "%d files are duplicates: %s%s. Each is kept in the same split as its copy.",
        len(pairs),
        ", ".join(pairs[:MAX_LISTED_PAIRS]),
        " ..." if len(pairs) > MAX_LISTED_PAIRS else "",
    )
    groups = files["group"].tolist()
    parent = {group: group for group in groups}

    def find(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    for rows in copies:
        for row in rows[1:]:
            parent[find(groups[row])] = find(groups[rows[0]])
    return catalogue.assign(group=[find(group) for group in catalogue["group"]])


def _group_identical(paths: list[str]) -> list[list[int]]:
    """Return groups of indices of identical files.

    Compares sizes, then hashes of parts of the files, then hashes of the whole files.
    """
    groups = [list(range(len(paths)))]
    for key in (os.path.getsize, sample_hash, whole_hash):
        found = []
        for rows in groups:
            by_key = defaultdict(list)
            for row in rows:
                try:
                    by_key[key(paths[row])].append(row)
                except OSError:
                    continue
            found += [rows for rows in by_key.values() if len(rows) > 1]
        groups = found
    return groups
