"""Options of ``mgc fit`` that other commands pass on."""

from collections.abc import Sequence


def option_name(word: str) -> str:
    """Name of an option, whichever way it is written.

    Args:
        word: Such as ``--data.split=fold`` or ``--data.init_args.split``.

    Returns:
        Such as ``data.split``.
    """
    return word.partition("=")[0].removeprefix("--").replace(".init_args.", ".")


def divide_options(words: Sequence[str]) -> list[list[str]]:
    """Divide words into options, each with its values.

    Args:
        words: Options, each with its value in the same word or in the next ones.

    Returns:
        The words of each option.
    """
    options: list[list[str]] = []
    for word in words:
        if word.startswith("--") or not options:
            options.append([])
        options[-1].append(word)
    return options
