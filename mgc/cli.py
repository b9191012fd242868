"""The ``mgc`` command: finds the command that is asked for and runs it.

Starting is fast: neither torch nor a plugin is imported before a command needs it.
"""

import errno
import inspect
import io
import logging
import os
import sys
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any, get_args, get_origin

import mgc
from mgc.errors import MgcError
from mgc.stopping import Stopped, signals


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        target: Function that runs it, as ``module:name``. Its signature and docstring are the
            command's arguments and help.
        help: What it does, in a line.
        resumes: Whether, given again, it goes on where it was stopped.
    """

    target: str
    help: str
    resumes: bool = False


#: Lightning's own commands, all run by :mod:`mgc.training.cli`.
TRAINING = {
    "fit": "Train a model: mgc fit --config configs/vgg_gtzan.yaml --data.root PATH",
    "validate": "Measure a checkpoint on the validation split",
    "test": "Measure a checkpoint on the test split: mgc test --ckpt_path PATH",
    "predict": "Write probabilities for all tracks: mgc predict --ckpt_path PATH",
}

COMMANDS = {
    "list": Command(
        "mgc.commands.list:list_components", "Models and data sets, and their packages"
    ),
    "doctor": Command("mgc.commands.doctor:doctor", "What is installed, and what is wrong with it"),
    "new-plugin": Command(
        "mgc.commands.new_plugin:new_plugin", "Start a package with a model or data set of your own"
    ),
    "classify": Command("mgc.commands.classify:classify", "Genres of songs, from a checkpoint"),
    "export": Command(
        "mgc.commands.export:export", "A trained model as a graph: ONNX, or torch.export"
    ),
    "card": Command("mgc.commands.card:card", "Model card of a checkpoint"),
    "extract": Command(
        "mgc.commands.extract:extract", "Features of every layer of a model", resumes=True
    ),
    "transfer": Command(
        "mgc.commands.transfer:transfer", "What features are worth for another task", resumes=True
    ),
    "crossval": Command("mgc.commands.crossval:crossval", "Cross-validate a model", resumes=True),
    "sweep": Command("mgc.commands.sweep:sweep", "Train with many settings", resumes=True),
    "compare": Command(
        "mgc.commands.compare:compare", "Runs side by side: settings, scores, paired tests"
    ),
    "fuse": Command("mgc.commands.fuse:fuse", "Combine what several models said"),
    "separate": Command(
        "mgc.commands.separate:separate",
        "Harmonic and percussive waveforms of songs",
        resumes=True,
    ),
    "plot components": Command(
        "mgc.commands.plot_components:plot_components",
        "Spectrograms of a song's harmonic and percussive components",
    ),
    "report experiment": Command(
        "mgc.commands.report_experiment:report_experiment",
        "Confusion matrices and accuracies, beside published ones",
    ),
    "report transfer": Command(
        "mgc.commands.report_transfer:report_transfer", "Tables and plots of transfer experiments"
    ),
    "reproduce gwardys2014": Command(
        "mgc.commands.reproduce_gwardys2014:reproduce_gwardys2014",
        "Networks and SVMs on three components of GTZAN, beside the paper's tables",
        resumes=True,
    ),
    "reproduce zhang2015": Command(
        "mgc.commands.reproduce_zhang2015:reproduce_zhang2015",
        "KCNN and its competitors on audio words, beside the paper's tables",
        resumes=True,
    ),
    "report projection": Command(
        "mgc.commands.report_projection:report_projection", "Features in the plane, by genre"
    ),
    "import choi2017": Command(
        "mgc.commands.import_choi2017:import_choi2017", "The published weights of the VGG tagger"
    ),
    "data prepare": Command(
        "mgc.commands.data_prepare:prepare", "Download a data set, or tell where to get it"
    ),
    "data verify": Command("mgc.commands.data_verify:verify", "Find what is wrong with a data set"),
    "data pack": Command(
        "mgc.commands.data_pack:pack", "Decode and resample a data set once", resumes=True
    ),
    "data synth": Command("mgc.commands.data_synth:synth", "Synthesise a small music data set"),
}

#: Why a place that the user names cannot be written to: the disk is full or read-only, the user has
#: no right to, or a file is where a folder should be. Other errors of the system may be ours.
REFUSALS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM,
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
)  # fmt: skip

#: Set to anything, an error shows where it came from.
TRACEBACK = "MGC_TRACEBACK"


def main(args: Sequence[str] | None = None) -> None:
    """Run the ``mgc`` command.

    Args:
        args: Words of the command line; by default those of the process.

    Raises:
        SystemExit: With code 2 after an error that the user can mend, told in one line; with 128 +
            signal after a signal that asks to stop.
    """
    argv = list(sys.argv[1:] if args is None else args)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Song and file names may have characters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    _show_log()
    with told_in_one_line(argv), signals.handled():
        run(argv)


@contextmanager
def told_in_one_line(argv: list[str]) -> Iterator[None]:
    """Turn errors and signals into a line and an exit code.

    Args:
        argv: Words of the command line.

    Raises:
        SystemExit: As :func:`main` tells.
    """
    try:
        yield
    except Stopped as stopped:
        if not stopped.told:
            command = COMMANDS.get(" ".join(argv[:2])) or COMMANDS.get(" ".join(argv[:1]))
            hint = " Give the same command again to go on." if command and command.resumes else ""
            print(f"mgc: stopped by {stopped.name}.{hint}", file=sys.stderr)
        raise
    except Exception as error:
        line = None if os.environ.get(TRACEBACK) else _line_for_user(error)
        if line is None:
            raise
        print(f"mgc: error: {line}", file=sys.stderr)
        raise SystemExit(2) from None


def run(argv: list[str]) -> None:
    """Find a command and run it.

    Args:
        argv: Words of the command line.

    Raises:
        MgcError: If there is no such command, or it fails.
        ArgumentError: If the command's arguments are wrong.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
    elif argv[0] in ("-V", "--version"):
        print(f"mgc {mgc.__version__}")
    elif argv[0] in TRAINING:
        import_module("mgc.training.cli").main(argv)
    elif argv[1:] in (["-h"], ["--help"]) and _inner(argv[0]):
        print("\n".join(f"mgc {name}: {COMMANDS[name].help}" for name in _inner(argv[0])))
    else:
        name, rest = _split_name(argv)
        module, _, function = COMMANDS[name].target.partition(":")
        run_function(getattr(import_module(module), function), name, rest)


def run_function(function: Callable[..., Any], name: str, argv: list[str]) -> None:
    """Parse a function's arguments from words and call it.

    A first parameter without default is positional, and takes one word or more if it is a list.
    All others are options, with dashes or underscores in their names; ``--flag`` alone means true.
    Words after ``--`` are passed on as they are to a function that takes ``*words``.

    Args:
        function: A typed, documented function.
        name: Name of its command.
        argv: Words after the name.

    Raises:
        ArgumentError: If the words do not fit the function's signature.
    """
    parameters = list(inspect.signature(function).parameters.values())
    passed_on: list[str] = []
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        parameters = [p for p in parameters if p.kind is not p.VAR_POSITIONAL]
        if "--" in argv:
            argv, passed_on = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
    positional = [
        p for p in parameters[:1] if p.default is p.empty and p.kind is not p.KEYWORD_ONLY
    ]
    if not argv and all(p.default is not p.empty for p in parameters):
        # Nothing to parse, and jsonargparse takes longer to import than mgc list may take.
        function()
        return
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog=f"mgc {name}", description=_description(function), exit_on_error=False
    )
    for parameter in positional:
        kind, several = parameter.annotation, get_origin(parameter.annotation) is list
        parser.add_argument(
            parameter.name,
            type=get_args(kind)[0] if several else kind,
            nargs="+" if several else None,
            help=_help(function, parameter),
        )
    parser.add_function_arguments(function, skip={p.name for p in positional}, as_positional=False)
    flags = {p.name for p in parameters if p.annotation is bool}
    parsed = parser.parse_args(_normalise(argv, flags))
    settings = parser.instantiate_classes(parsed).as_dict()
    function(*(settings.pop(p.name) for p in positional), *passed_on, **settings)


def overview() -> str:
    """Describe all commands.

    Returns:
        Text for ``mgc --help``.
    """
    lines = [f"mgc {mgc.__version__}: train, compare and reuse music genre and tag classifiers", ""]
    lines.append("Usage: mgc COMMAND [ARGUMENTS]; mgc COMMAND --help tells its arguments.")
    lines.append("")
    commands = TRAINING | {name: command.help for name, command in COMMANDS.items()}
    width = max(map(len, commands)) + 2
    lines += [f"  {name:{width}}{text}" for name, text in commands.items()]
    lines += ["", f"Set {TRACEBACK}=1 to see where an error comes from."]
    return "\n".join(lines)


def one_line(error: Exception) -> str:
    """Put an error into one line.

    Args:
        error: An error.

    Returns:
        Its message without line breaks; of an error of the system, the file and the reason.
    """
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    return " ".join(str(error).split())


def _line_for_user(error: Exception) -> str | None:
    """Describe an error that the user can fix; None for an error of the program."""
    from mgc.libraries import diagnose

    failed_import = diagnose(error)
    if failed_import:
        return str(failed_import)
    fixable = isinstance(error, MgcError | ArgumentError) or (
        isinstance(error, OSError) and error.errno in REFUSALS
    )
    return one_line(error) if fixable else None


class _Terminal(logging.Handler):
    """Prints what is logged, on lines of its own where a progress bar is."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stdout)


def _show_log() -> None:
    """Print what mgc logs. Lightning prints its own log itself."""
    logger = logging.getLogger("mgc")
    logger.handlers[:] = [_Terminal()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _inner(group: str) -> list[str]:
    """Commands of two words that begin with one."""
    return [name for name in COMMANDS if name.startswith(f"{group} ")]


def _split_name(argv: list[str]) -> tuple[str, list[str]]:
    """Split words into the name of a command, of one word or two, and its arguments."""
    for length in (2, 1):
        name = " ".join(argv[:length])
        if name in COMMANDS:
            return name, argv[length:]
    if _inner(argv[0]):
        raise MgcError(f"'mgc {argv[0]}' needs one of: {', '.join(_inner(argv[0]))}.")
    known = [*TRAINING, *COMMANDS]
    close = get_close_matches(argv[0], known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else " See mgc --help."
    raise MgcError(f"There is no command '{argv[0]}'.{hint}")


def _normalise(argv: list[str], flags: set[str]) -> list[str]:
    """Spell options as parameters are spelled, and flags with their value."""
    words = []
    for word, following in zip(argv, [*argv[1:], "--"], strict=False):
        if word.startswith("--"):
            option, equals, value = word[2:].partition("=")
            option = option.replace("-", "_")
            if option in flags and not equals and following.startswith("-"):
                equals, value = "=", "true"
            word = f"--{option}{equals}{value}"
        words.append(word)
    return words


def _description(function: Callable[..., Any]) -> str:
    """What a function does, up to its list of arguments."""
    return inspect.getdoc(function).partition("\n\nArgs:")[0]  # type: ignore[union-attr] # all have one


def _help(function: Callable[..., Any], parameter: inspect.Parameter) -> str:
    """What a docstring says of a parameter."""
    from docstring_parser import parse

    documented = {p.arg_name: p.description for p in parse(inspect.getdoc(function) or "").params}
    return documented.get(parameter.name) or ""
