"""What the ``mgc reproduce`` commands share: they run mgc commands and write their tables."""

import inspect
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgc.core import markdown
from mgc.core.terminal import print_line
from mgc.errors import MgcError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mgc.data.base import AudioDataModule
    from mgc.evaluation.results import Results
    from mgc.evaluation.tested_runs import Run
    from mgc.papers.claims import Claim
    from mgc.papers.tables import Cell, ScoreTable

#: Files of :meth:`Reproduction.save`.
TABLES, SCORES, CLAIMS, NOTES = "tables.md", "scores.csv", "claims.csv", "notes.md"


@dataclass
class Reproduction:
    """A paper's tables with our scores, and its claims tested on our results.

    Attributes:
        tables: Tables of the paper.
        claims: Claims of the paper.
        cells: Our results by row and column of the tables.
        notes: Paragraphs in Markdown: the data, and each difference from the paper.
        frames: Other tables, by file name without suffix.
        plots: Figures, by file name without suffix.
    """

    tables: "Sequence[ScoreTable]"
    claims: "Sequence[Claim]"
    cells: "Mapping[Cell, Results]"
    notes: Sequence[str]
    frames: "Mapping[str, pd.DataFrame]" = field(default_factory=dict)
    plots: "Mapping[str, Figure]" = field(default_factory=dict)

    def save(self, folder: str | PathLike[str]) -> str:
        """Write tables.md, scores.csv, claims.csv and notes.md to ``folder``; return tables.md.

        Other tables are written as CSV, figures as PNG.
        """
        from mgc.core.csv import write_csv
        from mgc.core.writing import all_or_nothing
        from mgc.papers.claims import claims_frame, claims_table, evaluate_claim
        from mgc.papers.tables import scores_frame

        published = dict(item for table in self.tables for item in table.published.items())
        evaluated = [evaluate_claim(claim, self.cells) for claim in self.claims]
        claims = claims_frame(evaluated, published)
        notes = "\n\n".join(self.notes)
        parts = [table.markdown() for table in self.tables]
        parts += [notes, markdown.heading("Claims", 2), claims_table(claims)]
        text = "\n\n".join(parts) + "\n"
        with all_or_nothing(folder) as out:
            (out / TABLES).write_text(text, encoding="utf-8")
            (out / NOTES).write_text(f"{notes}\n", encoding="utf-8")
            write_csv(scores_frame(self.tables), out / SCORES, index=False)
            write_csv(claims, out / CLAIMS, index=False)
            for name, frame in self.frames.items():
                write_csv(frame, out / f"{name}.csv")
            for name, figure in self.plots.items():
                figure.savefig(out / f"{name}.png", dpi=150)
        return text


def parse_names(option: str, text: str, known: Sequence[str]) -> list[str]:
    """Parse names separated by commas, or ``all``, and return them in the order of ``known``.

    Raises:
        MgcError: If a name is unknown. ``option`` is the name of the option in the message.
    """
    given = set(known) if text == "all" else {word.strip() for word in text.split(",")}
    for word in sorted(given - set(known)):
        raise MgcError(f"--{option} {text}: unknown {word!r}. Choose from {', '.join(known)}.")
    return [name for name in known if name in given]


def load_finished(folder: Path, systems: Sequence[str]) -> "list[Run]":
    """Load the results of the systems that have any.

    Args:
        folder: Output folder of the reproduction.
        systems: Folders of the systems in it.

    Raises:
        MgcError: If no system has results.
    """
    from mgc.evaluation.tested_runs import NoResultsError, load_run

    runs = []
    for name in systems:
        with suppress(NoResultsError):
            runs.append(load_run(folder / name, name))
    if not runs:
        raise MgcError(
            f"{folder} has no results of {', '.join(systems)}. Run the command without --only."
        )
    return runs


def run_command(name: str, *arguments: str | list[str], **options: Any) -> None:
    """Print an mgc command as it is typed in a shell, and run it.

    Args:
        name: Name of the command, such as ``report projection``: a function of the same name in a
            module of the same name in :mod:`mgc.commands`.
        *arguments: Its positional arguments.
        **options: Its options. None is omitted; a dictionary is printed as ``--name.key=value``.

    Raises:
        MgcError: If the command fails.
    """
    identifier = re.sub("[ -]", "_", name)
    command = getattr(import_module(f"mgc.commands.{identifier}"), identifier)
    words = [
        word
        for argument in arguments
        for word in (argument if isinstance(argument, list) else [argument])
    ]
    typed = ["mgc", *name.split()]
    given = []
    for option, value in options.items():
        pairs = value.items() if isinstance(value, dict) else None
        for key, inner in [(f"{option}.{k}", v) for k, v in pairs] if pairs else [(option, value)]:
            if inner is not None:
                given.append(f"--{key}" if inner is True else f"--{key}={inner}")
    kinds = [parameter.kind for parameter in inspect.signature(command).parameters.values()]
    # Variable positional arguments are options of mgc fit.
    variable = inspect.Parameter.VAR_POSITIONAL
    count = kinds.index(variable) if variable in kinds else len(words)
    typed += [*words[:count], *given, *(["--", *words[count:]] if words[count:] else [])]
    print_line(f"$ {shlex.join(typed)}")
    command(*arguments, **options)


def describe_overrides(overrides: Mapping[str, Sequence[str]]) -> list[str]:
    """Describe the options that changed the configurations, in a paragraph if any did.

    Args:
        overrides: Options of ``mgc fit`` by system. Systems are named if their options differ.
    """
    systems: dict[str, list[str]] = {}
    for system, options in overrides.items():
        systems.setdefault(shlex.join(options), []).append(system)
    named = len(systems) > 1
    changed = [
        f"{markdown.code(options)} ({', '.join(names)})" if named else markdown.code(options)
        for options, names in systems.items()
        if options
    ]
    return [f"Configurations were changed: {'; '.join(changed)}."] if changed else []


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
