"""``mgc data verify``: what is wrong with a copy of a data set."""

import json
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from mgc import registry
from mgc.data.base import MusicDataModule
from mgc.data.verification import verify_checksums
from mgc.errors import MgcError

#: Found in good copies as well.
HARMLESS = {"unexpected", "duplicate"}


def verify(name: str, root: str, checksums: str | None = None) -> None:
    """Find missing, broken, silent, duplicate and unexpected files of a data set.

    Every file is decoded to its end. Exit code 0: nothing harmful was found; 1: something was.

    Example: mgc data verify gtzan --root data/gtzan

    Args:
        name: Name of the data set, as in mgc list.
        root: Folder with the data set.
        checksums: File with the MD5 of the original files: lines of md5sum, or an index of mirdata
            (JSON). Files with other contents are reported.
    """
    component = registry.load("data", name)
    if not issubclass(component, MusicDataModule):
        raise MgcError(f"The data '{name}' cannot be verified: it is no MusicDataModule.")
    module = component(root=root)
    problems = module.verify(lambda files: tqdm(files, unit="file"))
    catalogue = module.read_catalogue()
    compared = ""
    if checksums:
        known = read_checksums(checksums)
        problems += verify_checksums(catalogue, known)
        compared = f", {len(set(known) & set(catalogue['track']))} compared with their checksums"
    for problem in problems:
        print(f"{problem.kind:10}  {problem.name}: {problem.detail}")
    counts = Counter(problem.kind for problem in problems)
    print(f"\n{len(catalogue)} tracks found{compared}.")
    for kind, count in counts.items():
        print(f"{kind:10}  {count:6}")
    if set(counts) - HARMLESS:
        raise SystemExit(1)
    print("Nothing harmful was found.")


def read_checksums(path: str) -> dict[str, str]:
    """Read known checksums.

    Args:
        path: Lines of ``md5sum``, or an index of mirdata (JSON).

    Returns:
        MD5 by track, a track being a file's name without its ending.

    Raises:
        MgcError: If the file is missing or is neither.
    """
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise MgcError(f"{path}: {error.strerror}.") from error
    try:
        if text.lstrip().startswith("{"):
            tracks = json.loads(text)["tracks"]
            return {track: files["audio"][1] for track, files in tracks.items()}
        lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
        return {Path(name.lstrip("*")).stem: md5 for md5, name in lines}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MgcError(f"{path}: neither lines of md5sum nor an index of mirdata.") from error
