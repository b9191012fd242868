"""Options of ``mgc fit`` that other commands pass on."""

from collections.abc import Sequence
from pathlib import Path

import yaml


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


def logs_to_wandb(words: Sequence[str]) -> bool:
    """Whether a fit logs to W&B, as it does unless its options or configuration name other loggers.

    Args:
        words: Words after ``mgc fit``. Configurations that cannot be read are left to the fit.
    """
    logger: object = "WandbLogger"
    for first, *values in divide_options(words):
        text = first.partition("=")[2] or " ".join(values)
        try:
            if option_name(first) == "config":
                trainer = (yaml.safe_load(Path(text).read_text(encoding="utf-8")) or {}).get(
                    "trainer"
                ) or {}
                logger = logger if trainer.get("logger") is None else trainer["logger"]
            elif option_name(first) in ("trainer.logger", "trainer.logger.class_path"):
                logger = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
            continue
    return "WandbLogger" in str(logger)
