"""Finds the configuration and run of a checkpoint that a command starts from."""

import logging
import os
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from mgc import checkpoint
from mgc.errors import MgcError
from mgc.runs.folder import CONFIG, RUNS, find_newest, find_run, read_record
from mgc.runs.tracking import wandb_loggers
from mgc.training.options import CONFIG_OPTIONS, option_values

log = logging.getLogger(__name__)


def continue_run(trainer: Namespace, job_type: str, ckpt: str | None) -> Path | None:
    """Write to the folder and W&B run of the checkpoint that a command starts from.

    A resumed fit then knows its best score, and test results lie beside the model, with any logger.
    Other runs get the W&B job type.

    Args:
        trainer: Configuration of the trainer, changed in place.
        job_type: W&B job type.
        ckpt: Path of the checkpoint.

    Returns:
        Folder of the checkpoint's run; None if it is unknown, or the configuration names another.
    """
    folder = find_run(ckpt) if ckpt else None
    loggers = _configured_loggers(trainer.get("logger"))
    chosen = [logger.init_args.get("version") or logger.init_args.get("id") for logger in loggers]
    if any(chosen[:1]) or (not loggers and trainer.default_root_dir != RUNS):
        folder = None
    for logger in wandb_loggers(loggers):
        settings = logger.init_args
        known = _wandb_run(folder) if folder else None
        if folder and known and known["project"] == settings.get("project"):
            settings.save_dir, settings.version = known["save_dir"], known["id"]
            settings.resume = "allow"
        elif not settings.get("job_type"):
            settings.job_type = "sweep" if "WANDB_SWEEP_ID" in os.environ else job_type
    return folder


def _configured_loggers(loggers: Any) -> list[Namespace]:
    loggers = loggers if isinstance(loggers, list) else [loggers]
    return [logger for logger in loggers if isinstance(logger, Namespace)]


def _wandb_run(folder: Path) -> dict[str, str] | None:
    """Return project, id and folder of the W&B run of a run's folder."""
    record = read_record(folder).get("wandb")
    if record and folder.name != record["id"]:
        return {name: record[name] for name in ("project", "id", "save_dir")}
    if record or folder.parent.name:
        # Named after its W&B run, and may have been moved.
        save_dir = str(folder.parent.parent)
        return {"project": folder.parent.name, "id": folder.name, "save_dir": save_dir}
    return None


def add_saved_config(args: list[str]) -> list[str]:
    """Add the configuration of a checkpoint's run to a command line that names none.

    Raises:
        MgcError: If the checkpoint or its configuration does not exist.
    """
    paths = option_values(args, "--ckpt_path")
    if args[0] == "fit" or not paths or option_values(args, *CONFIG_OPTIONS, "--model", "--data"):
        return args
    path = paths[-1]
    if path in ("best", "last"):
        path = find_newest(path)
        log.info("Newest checkpoint: %s", path)
    folder = find_run(path)
    if folder is None:
        checkpoint.description(path)
        raise MgcError(f"{path}: no {CONFIG} in its folder or above. Set --config FILE.")
    saved = folder / CONFIG
    # The last value of an option takes precedence.
    return [args[0], "--config", str(saved), *args[1:], f"--ckpt_path={path}"]
