"""Finds the configuration and run of a checkpoint that a command starts from."""

import logging
import os
from pathlib import Path

from jsonargparse import Namespace

from mgc import checkpoint
from mgc.errors import MgcError
from mgc.runs.folder import CONFIG, RUNS
from mgc.training.options import CONFIG_OPTIONS, option_values

log = logging.getLogger(__name__)


def continue_run(trainer: Namespace, job_type: str, ckpt: str | None) -> None:
    """Write to the folder and W&B run of the checkpoint that a command starts from.

    A resumed fit then knows its best score, and test results lie beside the model. Other runs get
    the W&B job type.

    Args:
        trainer: Configuration of the trainer, changed in place.
        job_type: W&B job type.
        ckpt: Path of the checkpoint.
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
        settings.job_type = "sweep" if "WANDB_SWEEP_ID" in os.environ else job_type


def add_saved_config(args: list[str]) -> list[str]:
    """Add the configuration of a checkpoint's run to a command line that names none.

    Raises:
        MgcError: If the checkpoint or its configuration does not exist.
    """
    paths = option_values(args, "--ckpt_path")
    if args[0] == "fit" or not paths or option_values(args, *CONFIG_OPTIONS, "--model", "--data"):
        return args
    path = find_newest(paths[-1]) if paths[-1] in ("best", "last") else paths[-1]
    saved = Path(path).parent.parent / CONFIG
    if not saved.is_file():
        checkpoint.description(path)
        raise MgcError(f"{path}: no {CONFIG} in {saved.parent}. Set --config FILE.")
    # The last value of an option takes precedence.
    return [args[0], "--config", str(saved), *args[1:], f"--ckpt_path={path}"]


def find_newest(name: str) -> str:
    """Return the path of the newest checkpoint named ``best`` or ``last``.

    Raises:
        MgcError: If there is none.
    """
    found = Path(RUNS).glob(f"*/*/checkpoints/{name}.ckpt")
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise MgcError(f"--ckpt_path {name}: no {name}.ckpt in {RUNS}/. Set a path.")
    log.info("Newest checkpoint: %s", newest)
    return str(newest)
