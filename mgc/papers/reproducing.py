"""What the commands that reproduce a paper have in common."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgc.data.base import AudioDataModule


def say(command: str, *words: str, rest: Sequence[str] = (), **options: Any) -> None:
    """Show a command as one would type it.

    Args:
        command: Name of the command.
        words: Its words that are no options.
        rest: Words after ``--``.
        **options: Its options; None is not shown, and a dictionary as ``--name.key=value``.
    """
    typed = ["mgc", command, *words]
    for name, value in options.items():
        nested = value.items() if isinstance(value, dict) else None
        for key, inner in [(f"{name}.{k}", v) for k, v in nested] if nested else [(name, value)]:
            if inner is not None:
                typed.append(f"--{key}" if inner is True else f"--{key}={inner}")
    print("$", shlex.join(typed + (["--", *rest] if rest else [])), flush=True)


def describe_music(root: str, data: str = "gtzan") -> str:
    """Tell whether figures stand beside the paper's that are of other music.

    Tracks count as GTZAN's that have the name and the length of one of its files, and as those of
    ISMIR 2004 that its training and development lists name and whose file can be read. Copies of
    GTZAN lack a track or two.

    Args:
        root: Folder with the tracks.
        data: ``gtzan`` or ``ismir2004``.

    Returns:
        A paragraph.

    Raises:
        MgcError: If there is no folder of a genre, or no list.
    """
    title, module, whole, tracks, why = {"gtzan": _gtzan, "ismir2004": _ismir2004}[data](root)
    if tracks >= (1 - module.max_broken) * whole:
        return f"Ours are of {root}: {tracks} of the {whole} tracks of {title}, {why}."
    return (
        f"**Ours do not compare with the paper's**, which are of {title}: of its {whole} tracks, "
        f"{root} has {tracks} ({why}) among {len(module.read_catalogue())}."
    )


def _gtzan(root: str) -> "tuple[str, AudioDataModule, int, int, str]":
    from mgc.data import audio
    from mgc.data.gtzan import GENRES, GTZAN, TRACKS_PER_GENRE

    data = GTZAN(root)
    catalogue = data.read_catalogue()
    expected, (shortest, longest) = data.expected_tracks(), data.expected_seconds
    count = sum(
        not isinstance(info, audio.AudioError)
        and track in expected
        and shortest <= info.seconds <= longest
        for track, info in zip(
            catalogue["track"], audio.probe_all(catalogue["path"].to_numpy()), strict=True
        )
    )
    return "GTZAN", data, len(GENRES) * TRACKS_PER_GENRE, count, "by name and length"


def _ismir2004(root: str) -> "tuple[str, AudioDataModule, int, int, str]":
    from mgc.data import audio
    from mgc.data.ismir2004 import ISMIR2004

    data = ISMIR2004(root)
    catalogue = data.read_catalogue()
    used = ("training", "development")
    paths = catalogue["path"][catalogue["list"].isin(used)].to_numpy()
    count = sum(not isinstance(info, audio.AudioError) for info in audio.probe_all(paths))
    whole = sum(data.expected_files["list"][name] for name in used)
    return "ISMIR 2004", data, whole, count, "in its training and development lists"
