"""Functions shared by the ``mgc reproduce`` commands."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mgc.core.terminal import print_line

if TYPE_CHECKING:
    from mgc.data.base import AudioDataModule


def print_command(command: str, *words: str, rest: Sequence[str] = (), **options: Any) -> None:
    """Print an mgc command as it is typed in a shell.

    Args:
        command: Name of the command.
        words: Positional arguments.
        rest: Arguments after ``--``.
        **options: Options. None is omitted; a dictionary is printed as ``--name.key=value``.
    """
    typed = ["mgc", command, *words]
    for name, value in options.items():
        nested = value.items() if isinstance(value, dict) else None
        for key, inner in [(f"{name}.{k}", v) for k, v in nested] if nested else [(name, value)]:
            if inner is not None:
                typed.append(f"--{key}" if inner is True else f"--{key}={inner}")
    command = shlex.join(typed + (["--", *rest] if rest else []))
    print_line(f"$ {command}")


def describe_data(root: str, data: str = "gtzan") -> str:
    """Describe in Markdown which tracks of the paper's data set a folder contains.

    Tracks of GTZAN are identified by name and length. Tracks of ISMIR 2004 must be readable and in
    the training or development list. The text contains a warning if too many tracks are missing.

    Args:
        root: Folder with the tracks.
        data: ``gtzan`` or ``ismir2004``.

    Raises:
        MgcError: If the folder has no genre folders or track lists.
    """
    from mgc.core.markdown import escape

    title, module, whole, tracks, criterion = {
        "gtzan": _count_gtzan,
        "ismir2004": _count_ismir2004,
    }[data](root)
    if tracks >= (1 - module.max_broken) * whole:
        return f"Our data: {escape(root)}, {tracks} of the {whole} tracks of {title}, {criterion}."
    return (
        f"**Our scores are not comparable with the paper's**, which used {title}: of its {whole} "
        f"tracks, {escape(root)} has {tracks} ({criterion}) among {len(module.load_catalogue())}."
    )


def _count_gtzan(root: str) -> "tuple[str, AudioDataModule, int, int, str]":
    from mgc.data import audio
    from mgc.data.gtzan import GENRES, GTZAN, TRACKS_PER_GENRE

    data = GTZAN(root)
    catalogue = data.load_catalogue()
    expected, (shortest, longest) = data.expected_tracks(), data.expected_seconds
    count = sum(
        not isinstance(info, audio.AudioError)
        and track in expected
        and shortest <= info.seconds <= longest
        for track, info in zip(
            catalogue["track"], audio.probe_all(catalogue["path"].to_numpy()), strict=True
        )
    )
    return "GTZAN", data, len(GENRES) * TRACKS_PER_GENRE, count, "identified by name and length"


def _count_ismir2004(root: str) -> "tuple[str, AudioDataModule, int, int, str]":
    from mgc.data import audio
    from mgc.data.ismir2004 import ISMIR2004

    data = ISMIR2004(root)
    catalogue = data.load_catalogue()
    used = ("training", "development")
    paths = catalogue["path"][catalogue["list"].isin(used)].to_numpy()
    count = sum(not isinstance(info, audio.AudioError) for info in audio.probe_all(paths))
    whole = sum(data.expected_files["list"][name] for name in used)
    return "ISMIR 2004", data, whole, count, "in its training and development lists"
