"""Finds duplicate files: links to the same file, and files with the same content."""

import logging
import os
from collections import defaultdict

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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
    rows = np.flatnonzero(~catalogue["path"].duplicated())
    first, second = zip(*((same[0], row) for same in copies for row in same[1:]), strict=True)
    return merge_groups(catalogue, rows[list(first)], rows[list(second)])


def merge_groups(catalogue: pd.DataFrame, first: np.ndarray, second: np.ndarray) -> pd.DataFrame:
    """Merge the groups of pairs of tracks.

    Args:
        catalogue: ``group`` of each track.
        first: Positions of the first tracks of the pairs.
        second: Positions of the second tracks.

    Returns:
        The catalogue, in which merged groups have the name of the one that comes first.
    """
    codes, names = pd.factorize(catalogue["group"])
    pairs = coo_array((np.ones(len(first)), (codes[first], codes[second])), shape=[len(names)] * 2)
    _, merged = connected_components(pairs, directed=False)
    _, leader = np.unique(merged, return_index=True)
    return catalogue.assign(group=np.asarray(names)[leader[merged[codes]]])


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
