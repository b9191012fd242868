"""Finds and reuses the run and configuration of a checkpoint."""

import logging
import os
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from mgc import checkpoint
from mgc.errors import MgcError
from mgc.runs.folder import CONFIG, RUNS, find_newest_checkpoint, find_run, read_record
from mgc.runs.tracking import wandb_loggers
from mgc.training.options import CONFIG_OPTIONS, option_values

log = logging.getLogger(__name__)


def reuse_run(trainer: Namespace, job_type: str, ckpt: str | None) -> Path | None:
    """Configure the trainer to write to the folder and W&B run of a checkpoint.

    A resumed fit then keeps its best score, and test results are saved in the folder of the model,
    whatever the logger. If a new W&B run is created, its job type is set.

    Args:
        trainer: Configuration of the trainer, changed in place.
        job_type: Job type of a new W&B run.
        ckpt: Path of the checkpoint.

    Returns:
        Folder of the checkpoint's run; None if it is unknown, or the configuration sets another.
    """
    folder = find_run(ckpt) if ckpt else None
    loggers = _configured_loggers(trainer.get("logger"))
    configured_ids = [
        logger.init_args.get("version") or logger.init_args.get("id") for logger in loggers
    ]
    if any(configured_ids[:1]) or (not loggers and trainer.default_root_dir != RUNS):
        folder = None
    for logger in wandb_loggers(loggers):
        settings = logger.init_args
        saved_run = _wandb_run(folder) if folder else None
        if folder and saved_run and saved_run["project"] == settings.get("project"):
            settings.save_dir, settings.version = saved_run["save_dir"], saved_run["id"]
            settings.resume = "allow"
        elif not settings.get("job_type"):
            settings.job_type = "sweep" if "WANDB_SWEEP_ID" in os.environ else job_type
    return folder


def _configured_loggers(loggers: Any) -> list[Namespace]:
    loggers = loggers if isinstance(loggers, list) else [loggers]
    return [logger for logger in loggers if isinstance(logger, Namespace)]


def _wandb_run(folder: Path) -> dict[str, str] | None:
    """Return project, ID and save folder of the W&B run that belongs to a run's folder."""
    record = read_record(folder).get("wandb")
    if record and folder.name != record["id"]:
        return {name: record[name] for name in ("project", "id", "save_dir")}
    if record or folder.parent.name:
        # The folder has the name of its W&B run, and may have been moved.
        save_dir = str(folder.parent.parent)
        return {"project": folder.parent.name, "id": folder.name, "save_dir": save_dir}
    return None


def add_saved_config(args: list[str]) -> list[str]:
    """Add the configuration saved with a checkpoint if the command line sets none.

    Raises:
        MgcError: If the checkpoint or its configuration does not exist.
    """
    paths = option_values(args, "--ckpt_path")
    if args[0] == "fit" or not paths or option_values(args, *CONFIG_OPTIONS, "--model", "--data"):
        return args
    path = paths[-1]
    if path in ("best", "last"):
        path = find_newest_checkpoint(path)
        log.info("Newest checkpoint: %s", path)
    folder = find_run(path)
    if folder is None:
        checkpoint.description(path)
        raise MgcError(
            f"{path}: no {CONFIG} in its folder or the folders above. Set --config FILE."
        )
    saved = folder / CONFIG
    # The last value of an option takes precedence.
    return [args[0], "--config", str(saved), *args[1:], f"--ckpt_path={path}"]
