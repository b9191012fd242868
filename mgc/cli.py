"""The ``mgc`` command: finds a command by its name and runs it.

It starts fast: torch and plugins are only imported when a command needs them.
"""

import inspect
import io
import os
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any, get_args, get_origin

import mgc
from mgc.core.child_processes import safe_imports
from mgc.core.ranges import check_arguments
from mgc.core.slurm import prepare_slurm
from mgc.core.stopping import signals
from mgc.core.terminal import (
    RESUME_HINT,
    TRACEBACK,
    exit_on_closed_pipe,
    print_line,
    print_text,
    report_user_errors,
    show_log,
)
from mgc.errors import MgcError
from mgc.installation import skip_broken_packages
from mgc.runs.tracking import wandb_session


@dataclass(frozen=True)
class Command:
    """Command of ``mgc``.

    Attributes:
        target: Function as ``module:name``. Its signature and docstring give arguments and help.
        help: Summary in one line.
        resumes: Whether an interrupted run resumes when the command is run again.
    """

    target: str
    help: str
    resumes: bool = False


#: Commands of :mod:`mgc.training.cli`, Lightning's CLI.
TRAINING = {
    "fit": "Train a model: mgc fit --config vgg_gtzan --data.root PATH",
    "validate": "Evaluate a checkpoint on the validation split",
    "test": "Evaluate a checkpoint on the test split: mgc test --ckpt_path PATH",
    "predict": "Write probabilities of all tracks: mgc predict --ckpt_path PATH",
}

COMMANDS = {
    "list": Command("mgc.commands.list:list_components", "List models, data sets and packages"),
    "configs": Command("mgc.commands.configs:configs", "List or print shipped configurations"),
    "doctor": Command("mgc.commands.doctor:doctor", "Check the installation"),
    "locks": Command(
        "mgc.commands.locks:locks", "Print the path of a lock file for pip: full or serve"
    ),
    "new-plugin": Command(
        "mgc.commands.new_plugin:new_plugin", "Create a package for your own model or data set"
    ),
    "classify": Command("mgc.commands.classify:classify", "Classify songs with a trained model"),
    "export": Command(
        "mgc.commands.export:export", "Export a trained model to ONNX or torch.export"
    ),
    "card": Command("mgc.commands.card:card", "Write the model card of a checkpoint"),
    "extract": Command(
        "mgc.commands.extract:extract", "Extract layer features from audio", resumes=True
    ),
    "transfer": Command(
        "mgc.commands.transfer:transfer", "Train classifiers on extracted features", resumes=True
    ),
    "crossval": Command("mgc.commands.crossval:crossval", "Cross-validate a model", resumes=True),
    "sweep": Command("mgc.commands.sweep:sweep", "Search hyperparameters", resumes=True),
    "compare": Command(
        "mgc.commands.compare:compare", "Compare runs: settings, scores, significance tests"
    ),
    "fuse": Command("mgc.commands.fuse:fuse", "Combine predictions of several models"),
    "separate": Command(
        "mgc.commands.separate:separate",
        "Separate songs into harmonic and percussive components",
        resumes=True,
    ),
    "plot components": Command(
        "mgc.commands.plot_components:plot_components",
        "Plot spectrograms of a song's harmonic and percussive components",
    ),
    "report experiment": Command(
        "mgc.commands.report_experiment:report_experiment",
        "Compare accuracies and confusion matrices with published ones",
    ),
    "report transfer": Command(
        "mgc.commands.report_transfer:report_transfer", "Report transfer experiments"
    ),
    "report labels": Command(
        "mgc.commands.report_labels:report_labels", "Find tracks that are probably mislabelled"
    ),
    "reproduce gwardys2014": Command(
        "mgc.papers.gwardys2014.reproduce:reproduce_gwardys2014",
        "Reproduce Gwardys & Grzywczak (2014): harmonic and percussive components",
        resumes=True,
    ),
    "reproduce choi2017": Command(
        "mgc.papers.choi2017.reproduce:reproduce_choi2017",
        "Reproduce Choi et al. (2017): transfer from a tagger to six tasks",
        resumes=True,
    ),
    "reproduce dieleman2011": Command(
        "mgc.papers.dieleman2011.reproduce:reproduce_dieleman2011",
        "Reproduce Dieleman et al. (2011): pretraining on the Million Song Dataset",
        resumes=True,
    ),
    "reproduce senac2017": Command(
        "mgc.papers.senac2017.reproduce:reproduce_senac2017",
        "Reproduce Senac et al. (2017): spectrograms, music features and their fusion",
        resumes=True,
    ),
    "reproduce zhang2015": Command(
        "mgc.papers.zhang2015.reproduce:reproduce_zhang2015",
        "Reproduce Zhang et al. (2015): KCNN and its baselines",
        resumes=True,
    ),
    "report projection": Command(
        "mgc.commands.report_projection:report_projection", "Plot features in two dimensions"
    ),
    "import choi2017": Command(
        "mgc.commands.import_choi2017:import_choi2017",
        "Convert the published weights of the VGG tagger to a checkpoint",
    ),
    "import choi2017-features": Command(
        "mgc.commands.import_choi2017_features:import_choi2017_features",
        "Convert the published features of the VGG tagger to a feature table",
    ),
    "data prepare": Command(
        "mgc.commands.data_prepare:prepare", "Download a data set, or print how to get it"
    ),
    "data verify": Command(
        "mgc.commands.data_verify:verify",
        "Check a data set for missing, broken or duplicate files",
    ),
    "data pack": Command(
        "mgc.commands.data_pack:pack", "Decode and resample a data set once", resumes=True
    ),
    "data synth": Command(
        "mgc.commands.data_synth:synth", "Synthesise a small music data set", resumes=True
    ),
}


def main(args: Sequence[str] | None = None) -> None:
    """Run the ``mgc`` command with ``args``, by default those of the process.

    Classes may be given by import path. Modules in the working folder are found too, after
    installed ones.

    Raises:
        SystemExit: With code 2 after an error that the user can fix, printed in one line; 128 +
            signal after a signal; 141 if the output is closed.
    """
    argv = list(sys.argv[1:] if args is None else args)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Song and file names may have characters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    show_log()
    prepare_slurm()
    skip_broken_packages()
    with (
        exit_on_closed_pipe(),
        report_user_errors(_hint(argv)),
        signals.handled(_hint(argv), exits=args is None),
        wandb_session(),
        safe_imports(),
    ):
        run(argv)


def run(argv: list[str]) -> None:
    """Run the command given by ``argv``.

    Raises:
        MgcError: If there is no such command, or it fails.
    """
    argv = [_expand_path(word) for word in argv]
    if not argv or argv[0] in ("-h", "--help"):
        print_text(overview())
    elif argv[0] in ("-V", "--version"):
        print_line(f"mgc {mgc.__version__}")
    elif argv[0] in TRAINING:
        import_module("mgc.training.cli").main(argv)
    elif argv[1:] in (["-h"], ["--help"]) and _subcommands(argv[0]):
        print_text(
            "\n".join(f"mgc {name}: {COMMANDS[name].help}" for name in _subcommands(argv[0]))
        )
    else:
        name, rest = _split_name(argv)
        module, _, function = COMMANDS[name].target.partition(":")
        run_function(getattr(import_module(module), function), name, rest)


def run_function(function: Callable[..., Any], name: str, argv: list[str]) -> None:
    """Parse the arguments of the command ``name`` from ``argv`` and call its function.

    The first parameter is positional if it has no default, and takes one or more arguments if it is
    a list. If it is positional-only and has a default, it is optional. All others are options, with
    dashes or underscores in their names; ``--flag`` alone means true. A function with variadic
    arguments receives the arguments after ``--`` unchanged.

    Raises:
        MgcError: If the arguments do not fit the function's signature.
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
    # Skip jsonargparse if possible: its import is slow, and mgc locks runs before it is installed.
    plain = [p.annotation for p in positional] == [str] * len(words)
    names = {p.name: p.name if p in positional else f"--{p.name}" for p in parameters}
    if required == positional and words == argv and plain:
        given = dict(zip((p.name for p in positional), argv, strict=True))
        check_arguments(function, given, names.__getitem__)
        function(*argv, *passed_on)
        return
    from mgc.core.parser_errors import Parser

    parser = Parser(name, _description(function), [p.name for p in positional])
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
    check_arguments(function, settings, names.__getitem__)
    function(*(settings.pop(p.name) for p in positional), *passed_on, **settings)


def overview() -> str:
    """Return the text of ``mgc --help``."""
    lines = [f"mgc {mgc.__version__}: train, compare and reuse music genre and tag classifiers", ""]
    lines.append("Usage: mgc COMMAND [ARGUMENTS]. For help on a command: mgc COMMAND --help.")
    lines.append("")
    commands = TRAINING | {name: command.help for name, command in COMMANDS.items()}
    width = max(map(len, commands)) + 2
    lines += [f"  {name:{width}}{text}" for name, text in commands.items()]
    lines += ["", f"Set {TRACEBACK}=1 for the traceback of an error."]
    return "\n".join(lines)


def _expand_path(word: str) -> str:
    """Expand ``~`` in an argument or the value of an option, which shells do in some of them.

    Raises:
        MgcError: If it is a pipe, socket or device. To read one may take forever.
    """
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    value = os.path.expanduser(value)
    with suppress(OSError, ValueError):
        mode = os.stat(value).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise MgcError(f"{value} is not a regular file.")
    return f"{option}{equals}{value}"


def _hint(argv: list[str]) -> str:
    """Return what the user can do after a signal."""
    command = COMMANDS.get(" ".join(argv[:2])) or COMMANDS.get(" ".join(argv[:1]))
    return RESUME_HINT if command and command.resumes else ""


def _subcommands(group: str) -> list[str]:
    """List the two-word commands of a group such as ``data``."""
    return [name for name in COMMANDS if name.startswith(f"{group} ")]


def _split_name(argv: list[str]) -> tuple[str, list[str]]:
    """Split arguments into the command's name, of one or two words, and its arguments."""
    for length in (2, 1):
        name = " ".join(argv[:length])
        if name in COMMANDS:
            return name, argv[length:]
    if _subcommands(argv[0]):
        raise MgcError(f"'mgc {argv[0]}' needs one of: {', '.join(_subcommands(argv[0]))}.")
    known = [*TRAINING, *COMMANDS]
    close = get_close_matches(argv[0], known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else " See mgc --help."
    raise MgcError(f"Unknown command '{argv[0]}'.{hint}")


def _normalise(argv: list[str], flags: set[str]) -> list[str]:
    """Replace dashes in option names by underscores, and give bare flags the value true."""
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
    """Return a function's docstring up to its arguments."""
    return inspect.getdoc(function).partition("\n\nArgs:")[0]  # type: ignore[union-attr] # all have one


def _help(function: Callable[..., Any], parameter: inspect.Parameter) -> str:
    """Return the description of a parameter in its function's docstring."""
    from docstring_parser import parse

    documented = {p.arg_name: p.description for p in parse(inspect.getdoc(function) or "").params}
    return documented.get(parameter.name) or ""
