"""``mgc data verify``: check a copy of a data set."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mgc.core.terminal import print_line, print_text
from mgc.core.text_files import read_text
from mgc.data.contract import check_problems
from mgc.data.verification import Problem, verify_checksums
from mgc.errors import MgcError
from mgc.registry import make_data_module

#: Kinds of problems that also occur in intact copies.
HARMLESS = {"unexpected", "duplicate", "copy"}

#: Maximum number of problems listed per kind without ``--all``.
MAX_LISTED = 20


def verify(
    name: str,
    root: str,
    checksums: str | None = None,
    all: bool = False,
    near: bool = False,
    data_args: dict[str, Any] | None = None,
) -> None:
    """Check a data set for missing, broken, silent, duplicate and unexpected files.

    Decodes every file completely. Exits with code 1 if there are harmful problems, else 0.

    Example: mgc data verify gtzan --root data/gtzan

    Example: mgc data verify gtzan --root data/gtzan --near --data_args.split fault_filtered

    Args:
        name: Name of the data set, as in mgc list.
        root: Folder with the data set.
        checksums: File with MD5 checksums of the original files: output of md5sum, or an index of
            mirdata (JSON). Files that differ are reported.
        near: Also find tracks with the same recording whose files differ in codec, level, rate,
            channels, start or length, and tell which pairs the split divides. The fingerprints of
            files are cached.
        all: List all problems, not only the first 20 of each kind.
        data_args: Arguments of the data set, as in --data_args.table tracks.csv.
    """
    module = make_data_module(name, root, data_args)
    known = _read_checksums(checksums) if checksums else {}
    problems = module.verify(lambda files: tqdm(files, unit="file"))
    check_problems(module, problems)
    compared = ""
    try:
        catalogue = module.load_catalogue()
        if checksums:
            problems += verify_checksums(catalogue, known)
            both = set(known) & set(catalogue["track"])
            compared = f", {len(both)} compared with their checksums"
        if near:
            problems += module.verify_copies(show_progress=True)
    finally:
        # List the problems even if the catalogue cannot be read.
        counts = _list_problems(problems, None if all else MAX_LISTED)
    print_text(f"\n{len(catalogue)} tracks found{compared}.")
    for kind, count in counts.items():
        print_line(f"{kind:10}  {count:6}")
    if set(counts) - HARMLESS:
        raise SystemExit(1)
    print_line("No harmful problems found.")


def _list_problems(problems: Sequence[Problem], limit: int | None) -> Counter[str]:
    """Print the problems and count them by kind."""
    counts = Counter(problem.kind for problem in problems)
    for kind, count in counts.items():
        for problem in [p for p in problems if p.kind == kind][:limit]:
            print_line(f"{kind:10}  {problem.name}: {problem.detail}")
        if limit is not None and count > limit:
            print_line(f"{kind:10}  … and {count - limit} more (--all lists them)")
    return counts


def _read_checksums(path: str) -> dict[str, str]:
    """Read the MD5 of each track (file name without extension).

    The file is output of ``md5sum`` or an index of mirdata (JSON).

    Raises:
        MgcError: If the file is missing or has another format.
    """
    text = read_text(path)
    try:
        if text.lstrip().startswith("{"):
            tracks = json.loads(text)["tracks"]
            return {track: files["audio"][1] for track, files in tracks.items()}
        lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
        return {Path(name.lstrip("*")).stem: md5 for md5, name in lines}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MgcError(f"{path}: neither output of md5sum nor an index of mirdata.") from error
