"""Find files that are the same one, or have the same content."""

import logging
import os
from collections import defaultdict

import pandas as pd

from mgc.data.verification import sample_hash, whole_hash

log = logging.getLogger(__name__)

#: How many pairs to name in a message.
SHOWN_PAIRS = 3


def file_identity(path: str) -> str:
    """Return the same text for every spelling of a path, and for links to the file."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.normcase(os.path.abspath(path))
    # Some systems have no inodes.
    return f"{status.st_dev}:{status.st_ino}" if status.st_ino else os.path.realpath(path)


def group_identical_files(catalogue: pd.DataFrame) -> pd.DataFrame:
    """Give tracks of files with the same content the same group, so that no split separates them.

    Logs how many there are. Groups that share a file become one.

    Args:
        catalogue: ``path``, ``track`` and ``group`` of each track.

    Returns:
        The catalogue, with its ``group`` changed where needed.
    """
    files = catalogue.drop_duplicates("path")
    copies = [rows for rows in _identical(files["path"].tolist()) if len(rows) > 1]
    if not copies:
        return catalogue
    names = files["track"].tolist()
    pairs = [f"{names[rows[0]]} and {names[row]}" for rows in copies for row in rows[1:]]
    log.warning(
        "%d files have the same content as another: %s%s. They stay in one split.",
        len(pairs),
        ", ".join(pairs[:SHOWN_PAIRS]),
        " ..." if len(pairs) > SHOWN_PAIRS else "",
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


def _identical(paths: list[str]) -> list[list[int]]:
    """Return the indices of files with the same content: compare sizes, samples, then all bytes."""
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
