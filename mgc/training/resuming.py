"""Commands that start from a checkpoint: which one, its configuration and its run."""

import logging
import os
from itertools import pairwise
from pathlib import Path

from jsonargparse import Namespace

from mgc import checkpoint
from mgc.errors import MgcError
from mgc.runs.folder import CONFIG, RUNS
from mgc.training.names import CONFIG_OPTIONS

log = logging.getLogger(__name__)


def go_on_in_run_folder(trainer: Namespace, job: str, ckpt: str | None) -> None:
    """Let a run that starts from a checkpoint go on in the checkpoint's folder and W&B run.

    A resumed fit then knows the best score so far, and a test's results lie beside the model.
    Also sets the job type in W&B.

    Args:
        trainer: Settings of the trainer; changed in place.
        job: Kind of job.
        ckpt: Checkpoint that the run starts from, if any.
    """
    folder = Path(ckpt).parent.parent if ckpt else None
    known = folder is not None and (folder / CONFIG).is_file()
    logger = trainer.get("logger")
    if known and logger is False and trainer.default_root_dir == RUNS:
        trainer.default_root_dir = str(folder)
    if not isinstance(logger, Namespace) or not logger.class_path.endswith("WandbLogger"):
        return
    settings = logger.init_args
    if folder is not None and known and folder.parent.name == settings.project:
        if not (settings.get("version") or settings.get("id")):
            settings.save_dir = str(folder.parent.parent)
            settings.version = folder.name
            settings.resume = "allow"
    elif not settings.get("job_type"):
        settings.job_type = "sweep" if "WANDB_SWEEP_ID" in os.environ else job


def option_values(args: list[str], *options: str) -> list[str]:
    """List what an option is given on a command line, each time.

    Args:
        args: Words of a command line.
        *options: Spellings of the option.

    Returns:
        The values, in order.
    """
    words = [word for arg in args for word in (arg.split("=", 1) if arg[:2] == "--" else [arg])]
    return [value for option, value in pairwise(words) if option in options]


def with_saved_config(args: list[str]) -> list[str]:
    """Use the configuration saved beside a checkpoint, where a command names no other.

    Args:
        args: Words of the command line, the command first.

    Returns:
        The words, with the configuration.

    Raises:
        MgcError: If there is no checkpoint or no configuration.
    """
    paths = option_values(args, "--ckpt_path")
    if args[0] == "fit" or not paths or option_values(args, *CONFIG_OPTIONS, "--model", "--data"):
        return args
    path = find_newest(paths[-1]) if paths[-1] in ("best", "last") else paths[-1]
    saved = Path(path).parent.parent / CONFIG
    if not saved.is_file():
        checkpoint.description(path)
        raise MgcError(f"{path}: no {CONFIG} in {saved.parent}. Give --config FILE.")
    # The last of several values counts.
    return [args[0], "--config", str(saved), *args[1:], f"--ckpt_path={path}"]


def find_newest(name: str) -> str:
    """Find the newest checkpoint of a name among the runs.

    Args:
        name: ``best`` or ``last``.

    Returns:
        Its path.

    Raises:
        MgcError: If there is none.
    """
    found = Path(RUNS).glob(f"*/*/checkpoints/{name}.ckpt")
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise MgcError(f"--ckpt_path {name}: no {name}.ckpt in {RUNS}/. Give a checkpoint's path.")
    log.info("Newest checkpoint: %s", newest)
    return str(newest)
