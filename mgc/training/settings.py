"""Checks the settings of a configuration before anything is created or read."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer

from mgc.core.ranges import (
    Count,
    Dropout,
    Epochs,
    LearningRate,
    Range,
    Seed,
    WeightDecay,
    argument_defaults,
    check_arguments,
    check_value,
)
from mgc.errors import MgcError
from mgc.models.step_memory import check_memory, largest_settings
from mgc.registry import import_class

#: Init arguments of a model that are set from the data module.
LINKED_ARGUMENTS = ("num_classes", "task", "sample_rate")

Natural = Annotated[int, Range(0, 10**9)]
SomeBatches = Annotated[int, Range(1, 10**9)] | Annotated[float, Range(0, 1, closed="right")]
AnyBatches = Natural | Annotated[float, Range(0, 1)]

#: Ranges of Lightning's and PyTorch's settings, which their types do not include, by section or
#: class name. None is always allowed.
RANGES: dict[str, dict[str, Any]] = {
    "": {"seed_everything": bool | Seed},
    "trainer": {
        "accumulate_grad_batches": Count,
        "check_val_every_n_epoch": Epochs,
        "devices": Annotated[int, Range(1, 1024)] | Literal[-1] | str | list[Natural],
        "fast_dev_run": bool | Natural,
        "gradient_clip_val": Annotated[float, Range(0, 10**9)],
        "limit_predict_batches": AnyBatches,
        "limit_test_batches": AnyBatches,
        "limit_train_batches": SomeBatches,
        "limit_val_batches": AnyBatches,
        "log_every_n_steps": Count,
        "max_epochs": Epochs | Literal[-1],
        "max_steps": Count | Literal[-1],
        "min_epochs": Natural,
        "min_steps": Natural,
        "num_nodes": Annotated[int, Range(1, 10_000)],
        "num_sanity_val_steps": Natural | Literal[-1],
        "overfit_batches": AnyBatches,
        "reload_dataloaders_every_n_epochs": Natural,
    },
    "EarlyStopping": {"patience": Natural, "min_delta": Annotated[float, Range(-(10**9), 10**9)]},
    "ModelCheckpoint": {
        "every_n_epochs": Natural,
        "every_n_train_steps": Natural,
        "save_top_k": Natural | Literal[-1],
    },
    "optimizer": {"lr": LearningRate, "weight_decay": WeightDecay, "momentum": Dropout},
}


def check_settings(config: Namespace) -> None:
    """Check the parsed settings of ``fit`` and similar commands.

    Raises:
        MgcError: If a setting is out of range; the message begins with its option.
    """
    _check_ranges("", config, "")
    for name, section in vars(config).items():
        if isinstance(section, Namespace):
            if name in RANGES:
                _check_ranges(name, section.get("init_args") or section, name)
            _check_classes(section, name)


def check_step_memory(config: Namespace, training: bool) -> None:
    """Check that a step on a batch of the configuration's clips could fit into memory.

    Raises:
        MgcError: If it would need far more; the message names the largest settings.
    """
    model, data = (import_class(config[kind].class_path) for kind in ("model", "data"))
    arguments = dict(vars(config.model.get("init_args") or Namespace()))
    defaults = argument_defaults(data)
    given = defaults | dict(vars(config.data.get("init_args") or Namespace()))
    labels = getattr(data, "labels", ())
    linked = {
        # Some data sets read their labels from files.
        "num_classes": len(labels) if isinstance(labels, tuple) and labels else 2,
        "task": "multiclass",
        "sample_rate": given.get("sample_rate") or 1000,
    }
    arguments |= {name: value for name, value in linked.items() if name in arguments}
    # With short: keep, clips are as long as the tracks.
    known = given.get("clip_seconds") and given.get("short") != "keep"
    samples = round(given["clip_seconds"] * given["sample_rate"]) if known else 0
    shown = {
        f"{kind}.{name}": value
        for kind, settings in (
            ("model", largest_settings(arguments, argument_defaults(model))),
            ("data", largest_settings(given, defaults)),
        )
        for name, value in settings.items()
    }
    batch = given.get("batch_size", 1)
    check_memory(
        lambda: model(**arguments),
        (batch, samples),
        shown or {"data.batch_size": batch},
        on_cpu=config.trainer.get("accelerator") == "cpu" or not torch.cuda.device_count(),
        training=training,
    )


class CheckMonitors(Callback):
    """Reports monitored validation metrics that do not exist, before training starts."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare monitored metrics with those of the sanity check.

        Raises:
            MgcError: If a monitored metric was not logged.
        """
        if not trainer.sanity_checking:
            return
        logged = sorted(name for name in trainer.callback_metrics if name.startswith("val"))
        for callback in trainer.callbacks:  # type: ignore[attr-defined] # of every trainer
            monitor = getattr(callback, "monitor", None)
            # Metrics of training are not logged yet.
            if logged and monitor and monitor.startswith("val") and monitor not in logged:
                raise MgcError(
                    f"{type(callback).__name__}: monitor={monitor!r} is not logged. Choose one of "
                    f"{', '.join(logged)}."
                )


def _check_ranges(section: str, settings: Namespace, prefix: str) -> None:
    for name, hint in RANGES.get(section, {}).items():
        value = settings.get(name)
        if section == "trainer" and isinstance(value, float) and value.is_integer() and value != 1:
            value = int(value)  # the parser makes numbers of batches floats
        if value is not None:
            check_value(f"--{prefix}.{name}" if prefix else f"--{name}", hint, value)


def _check_classes(section: Any, path: str) -> None:
    """Check the arguments of all classes in a section against their types."""
    if isinstance(section, list | tuple):
        for item in section:
            _check_classes(item, path)
    elif isinstance(section, Namespace | Mapping):
        values = vars(section) if isinstance(section, Namespace) else section
        if isinstance(values.get("class_path"), str):
            component = import_class(values["class_path"])
            given = values.get("init_args") or Namespace()
            where = path if path in ("model", "data", "optimizer") else component.__name__
            prefix = f"--{where}" if where == path else f"{path}: {where}"
            for name, hint in RANGES.get(component.__name__, {}).items():
                if given.get(name) is not None:
                    check_value(f"{prefix}.{name}", hint, given[name])
            # Linked arguments are set later.
            unset = [name for name in LINKED_ARGUMENTS if given.get(name, 0) is None]
            arguments = {name: value for name, value in vars(given).items() if name not in unset}
            check_arguments(component, arguments, f"{prefix}.{{}}".format)
        for name, value in values.items():
            if isinstance(value, Namespace | list | tuple):
                _check_classes(value, path if name == "init_args" else f"{path}.{name}")
