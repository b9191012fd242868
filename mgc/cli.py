"""The ``mgc`` command: finds the command that is asked for and runs it.

Starting is fast: neither torch nor a plugin is imported before a command needs it.
"""

import inspect
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any, get_args, get_origin

import mgc
from mgc.core.stopping import signals
from mgc.core.terminal import RESUME, TRACEBACK, report_user_errors, show_log
from mgc.errors import MgcError
from mgc.runs.tracking import wandb_session


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
    "fit": "Train a model: mgc fit --config vgg_gtzan --data.root PATH",
    "validate": "Measure a checkpoint on the validation split",
    "test": "Measure a checkpoint on the test split: mgc test --ckpt_path PATH",
    "predict": "Write probabilities for all tracks: mgc predict --ckpt_path PATH",
}

COMMANDS = {
    "list": Command(
        "mgc.commands.list:list_components", "Models and data sets, and their packages"
    ),
    "configs": Command(
        "mgc.commands.configs:configs", "Configurations to train with: list them, or print one"
    ),
    "doctor": Command("mgc.commands.doctor:doctor", "What is installed, and what is wrong with it"),
    "locks": Command(
        "mgc.commands.locks:locks", "Path of a lock file for pip: mgc locks full, mgc locks serve"
    ),
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
        "mgc.papers.gwardys2014.reproduce:reproduce_gwardys2014",
        "Networks and SVMs on three components of GTZAN, beside the paper's tables",
        resumes=True,
    ),
    "reproduce zhang2015": Command(
        "mgc.papers.zhang2015.reproduce:reproduce_zhang2015",
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
    show_log()
    with report_user_errors(_hint(argv)), signals.handled(), wandb_session():
        run(argv)


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

    A first parameter without default is positional, and takes one word or more if it is a list. A
    positional-only one with a default may be left out.
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
        p
        for p in parameters[:1]
        if p.kind is p.POSITIONAL_ONLY or (p.default is p.empty and p.kind is not p.KEYWORD_ONLY)
    ]
    required = [p for p in parameters if p.default is p.empty]
    words = [word for word in argv if not word.startswith("-")]
    # Without anything to parse: jsonargparse takes longer to import than mgc list may take, and
    # mgc locks runs before it is installed.
    plain = [p.annotation for p in positional] == [str] * len(words)
    if required == positional and words == argv and plain:
        function(*argv, *passed_on)
        return
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog=f"mgc {name}", description=_description(function), exit_on_error=False
    )
    for parameter in positional:
        kind, several = parameter.annotation, get_origin(parameter.annotation) is list
        optional = parameter.default is not parameter.empty
        parser.add_argument(
            parameter.name,
            type=get_args(kind)[0] if several else kind,
            nargs="+" if several else "?" if optional else None,
            help=_help(function, parameter),
            **({"default": parameter.default} if optional else {}),
        )
    parser.add_function_arguments(function, skip={p.name for p in positional}, as_positional=False)
    flags = {p.name for p in parameters if p.annotation is bool}
    parsed = parser.parse_args(_normalise(argv, flags))
    settings = parser.instantiate(parsed).as_dict()
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


def _hint(argv: list[str]) -> str:
    """What can be done after a signal."""
    command = COMMANDS.get(" ".join(argv[:2])) or COMMANDS.get(" ".join(argv[:1]))
    return RESUME if command and command.resumes else ""


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
