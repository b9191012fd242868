"""Reuses the run, the configuration and the state of a checkpoint."""

import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.optim import Optimizer

from mgc import checkpoint
from mgc.core.lightning_internals import guard_restoring
from mgc.errors import MgcError
from mgc.runs.folder import CONFIG, RUNS, find_newest_checkpoint, find_run, read_record
from mgc.runs.tracking import wandb_loggers
from mgc.training.options import CONFIG_OPTIONS, option_values

log = logging.getLogger(__name__)

#: Words in the names of settings that change the training, but not what a trained model computes.
#: Models list further names in ``training_settings``.
TRAINING_WORDS = frozenset(
    {"lr", "learning", "decay", "momentum", "dropout", "epochs", "warmup", "seed", "pretrained"}
    | {"weights", "optimizer", "scheduler", "schedule", "augment", "augmentation", "smoothing"}
)

#: Entries of an optimizer's state with the shape of the parameter.
SHAPED_STATES = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg")


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


def check_model_settings(path: str, model: LightningModule, trained: Mapping[str, Any]) -> None:
    """Check that a model computes the same as when it was trained.

    All settings count, except those with a word of :data:`TRAINING_WORDS` in their names and those
    in the ``training_settings`` of the model's class and its base classes.

    Args:
        path: Checkpoint, for error messages.
        model: Model made from the configuration.
        trained: Arguments in the checkpoint (see :func:`mgc.checkpoint.init_arguments`).

    Raises:
        MgcError: If a setting differs.
    """
    given = dict(model.hparams) or getattr(model, checkpoint.INIT_ARGS, None) or {}
    classes = type(model).__mro__
    ignored = {name for cls in classes for name in vars(cls).get("training_settings", ())}
    different = [
        name
        for name, value in trained.items()
        if name in given.keys() - ignored
        and not TRAINING_WORDS & set(name.split("_"))
        and _plain(value) != _plain(given[name])
    ]
    if different:
        before, now = (
            ", ".join(f"{name}={str(source[name])[:60]}" for name in different)
            for source in (trained, given)
        )
        raise MgcError(
            f"{path} was trained with {before}, but the model has {now}. Use the settings of the "
            "checkpoint."
        )


def _plain(value: Any) -> Any:
    """Convert a value to lists, dictionaries and plain values, which can be compared."""
    if isinstance(value, Namespace):
        value = value.as_dict()
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def check_resumable(path: str, content: dict[str, Any]) -> None:
    """Check that a fit can resume from a checkpoint.

    Raises:
        MgcError: If it contains only weights.
    """
    if "optimizer_states" not in content or "lr_schedulers" not in content:
        raise MgcError(
            f"{path} contains only weights (save_weights_only), so a fit cannot resume from it. "
            "Use a checkpoint with the state of the training, such as last.ckpt. To fine-tune the "
            "weights, call Trainer().fit(mgc.load(PATH), data) in Python."
        )


def check_restored_state(path: str, content: dict[str, Any], trainer: Trainer) -> None:
    """Check the state in a checkpoint before and while the trainer restores it.

    The state of loops, callbacks and schedulers is compared with that of the new trainer.

    Args:
        path: Checkpoint, for error messages.
        content: Contents of the checkpoint.
        trainer: Trainer that will restore them.

    Raises:
        MgcError: If loops or callbacks cannot be restored; later, if the rest cannot.
    """
    for name in ("fit_loop", "validate_loop", "test_loop", "predict_loop"):
        if "loops" in content:
            state = getattr(trainer, name).state_dict()
            _check_like(f"{path}: loops.{name}", content["loops"].get(name), state)
    saved = content.get("callbacks", {})
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if callback.state_key in saved:
            name = f"{path}: state of {type(callback).__name__}"
            _check_like(name, saved[callback.state_key], callback.state_dict())
            if isinstance(callback, ModelCheckpoint):
                _check_best(name, saved[callback.state_key])
    guard_restoring(trainer, partial(_restoring, path, content.get("lr_schedulers", [])))


@contextmanager
def _restoring(path: str, schedulers: list[dict[str, Any]], trainer: Trainer) -> Iterator[None]:
    """Check schedulers before and optimizers after a part of a checkpoint is restored."""
    try:
        for config, state in zip(trainer.lr_scheduler_configs, schedulers, strict=False):
            _check_like(f"{path}: lr_schedulers", state, config.scheduler.state_dict())
        yield
        for optimizer in trainer.optimizers:
            _check_optimizer(path, optimizer)
    except MisconfigurationException:
        raise
    except MgcError as error:
        if str(error).startswith(path):
            raise
        raise MgcError(f"{path}: {error}") from error
    except Exception as error:  # hooks of callbacks and models raise any class
        raise MgcError(
            f"{path}: its state cannot be restored: {checkpoint.describe_failure(error)}."
        ) from error


def _check_like(name: str, given: Any, expected: Any) -> None:
    """Raise an error if a saved state lacks entries of a new one, or has other types."""
    if isinstance(expected, dict):
        matches = isinstance(given, dict) and expected.keys() <= given.keys()
    elif isinstance(expected, bool | str) or expected is None:
        matches = expected is None or type(given) is type(expected)
    elif isinstance(expected, int):
        matches = type(given) is int and given >= 0
    elif isinstance(expected, float | Tensor):
        matches = _is_finite(given) or _is_infinite(given)
    else:
        matches = not isinstance(expected, list | tuple) or isinstance(given, list | tuple)
    if not matches:
        raise MgcError(
            f"{name} is no valid state of a training. Use another checkpoint, such as last.ckpt."
        )
    if isinstance(expected, dict):
        for key, value in expected.items():
            _check_like(f"{name}.{key}", given[key], value)


def _check_best(name: str, state: dict[str, Any]) -> None:
    """Raise an error if the best scores in the state of a ModelCheckpoint are no numbers."""
    scores = [state[key] for key in ("best_model_score", "current_score", "kth_value")]
    scores += state["best_k_models"].values()
    paths = [*state["best_k_models"], state["dirpath"] or ""]
    known = (_is_finite(score) or score is None or _is_infinite(score) for score in scores)
    if not all(known) or not all(isinstance(path, str) for path in paths):
        raise MgcError(
            f"{name} is no valid state of a training. Use another checkpoint, such as last.ckpt."
        )


def _check_optimizer(path: str, optimizer: Optimizer) -> None:
    """Raise an error if the restored state of an optimizer is of no use for its parameters."""
    wrong = ""
    for group in optimizer.param_groups:
        for name, default in optimizer.defaults.items():
            value = group.get(name)
            if isinstance(default, bool):
                valid = value is None or isinstance(value, bool)
            elif isinstance(default, tuple):
                numbers = value if isinstance(value, list | tuple) else ()
                valid = len(numbers) == len(default) and all(map(_is_finite, numbers))
            elif isinstance(default, int | float | Tensor):
                valid = _is_finite(value) or value == default
            else:
                valid = name in group
            wrong = wrong or ("" if valid else name)
    states = [(weight, state) for weight, state in optimizer.state.items() if state]
    names = {name for _, state in states for name in state}
    for weight, state in states:
        for name in names:
            value = state.get(name, math.nan)
            valid = value is None or _is_finite(value)
            if valid and name in SHAPED_STATES and value is not None:
                valid = isinstance(value, Tensor) and value.shape == weight.shape
            wrong = wrong or ("" if valid else name)
    if wrong:
        raise MgcError(
            f"{path}: the optimizer's {wrong} is missing or invalid. Use another checkpoint, such "
            "as last.ckpt."
        )


def _is_finite(value: Any) -> bool:
    """Return whether a value is a finite number or a tensor of them."""
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value).all())
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_infinite(value: Any) -> bool:
    """Return whether a value is an infinite number, such as the score before the first epoch."""
    return isinstance(value, float | Tensor) and bool(torch.as_tensor(value).isinf().all())
