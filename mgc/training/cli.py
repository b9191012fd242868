"""``mgc fit``, ``validate``, ``test`` and ``predict``: LightningCLI with short names."""

import inspect
import logging
import shlex
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace, get_loader, set_loader
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.model_summary import summarize

import mgc
from mgc import checkpoint, registry
from mgc.checkpoint import DescribeCheckpoint
from mgc.core.launching import (
    PrepareSpawnedProcess,
    convert_process_errors,
    hide_warnings,
    is_global_zero,
)
from mgc.core.lightning_internals import KeepConfiguration, ignore_undefined
from mgc.core.parser_errors import HelpFormatter, OneLineErrors, explain
from mgc.core.stopping import signals
from mgc.core.writing import output_folder, replacing
from mgc.core.yaml_files import dump_yaml, read_yaml, to_plain_text
from mgc.data.base import MusicDataModule
from mgc.errors import MgcError
from mgc.evaluation.callback import TrackEvaluation
from mgc.evaluation.contract import CheckContract
from mgc.evaluation.run_report import TestReport
from mgc.models.adapt import add_missing_steps
from mgc.registry import GROUPS, RegistryError
from mgc.runs.folder import (
    CONFIG,
    LAST_CHECKPOINT,
    RUNS,
    find_newest_checkpoint,
    find_run,
    new_run_folder,
    run_folder,
    save_newest,
    set_run_folder,
    share_run_id,
    writes_files,
)
from mgc.runs.tracking import (
    keep_offline,
    set_staging_folder,
    set_wandb_mode,
    wandb_loggers,
    wandb_session,
)
from mgc.training.batches import LogBatchSize
from mgc.training.checkpoint_io import AtomicCheckpointIO
from mgc.training.divergence import StopOnDivergence
from mgc.training.finish_wandb import FinishWandbRun
from mgc.training.interruption import KeepLast
from mgc.training.names import expand_arguments, load_config
from mgc.training.options import CONFIG_OPTIONS, option_values
from mgc.training.reproducibility import SeedSteps
from mgc.training.resuming import (
    add_saved_config,
    check_model_settings,
    check_restored_state,
    check_resumable,
    reuse_run,
)
from mgc.training.run_record import RecordRun
from mgc.training.settings import (
    LINKED_ARGUMENTS,
    CheckMonitors,
    check_settings,
    check_step_memory,
)

log = logging.getLogger(__name__)

#: Parser mode whose loader expands short names.
PARSER_MODE = "mgc"

#: Logger of a run, unless the configuration sets one.
DEFAULT_LOGGER = {
    "class_path": "lightning.pytorch.loggers.WandbLogger",
    "init_args": {"project": "mgc", "save_dir": RUNS},
}

#: Metric that selects the best checkpoint of each task, unless the configuration sets one.
MONITORS = {
    "multiclass": "val/track_accuracy",
    "multilabel": "val/track_auroc",
    "regression": "val/track_r2",
}


def main(args: list[str], cli: "Callable[..., MgcCLI] | None" = None) -> None:
    """Run ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        args: Command-line arguments, beginning with the command.
        cli: Subclass of :class:`MgcCLI` to run.

    Raises:
        MgcError: If a setting, a file or the checkpoint is wrong.
    """
    torch.set_float32_matmul_precision("high")
    hide_warnings()
    with (
        share_run_id(),
        wandb_session(),
        convert_errors(),
        convert_process_errors(),
    ):
        (cli or MgcCLI)(
            model_class=LightningModule,
            datamodule_class=MusicDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_callback=SaveConfig,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_defaults={
                "logger": DEFAULT_LOGGER,
                "default_root_dir": RUNS,
                "callbacks": [
                    PrepareSpawnedProcess(),
                    CheckContract(),
                    TrackEvaluation(),
                    TestReport(),
                    RecordRun(),
                    DescribeCheckpoint(),
                    SeedSteps(),
                    CheckMonitors(),
                    StopOnDivergence(),
                    LogBatchSize(),
                    LogRunPaths(remember=cli is None),
                    FinishWandbRun(),
                ],
            },
            parser_kwargs={"version": mgc.__version__},
            args=add_saved_config(args),
        )


class Parser(OneLineErrors, LightningArgumentParser):
    """Parser that raises errors with a one-line message."""


class MgcCLI(KeepConfiguration, LightningCLI):
    """LightningCLI that expands short names and links the model to the data."""

    def __init__(self, **kwargs: Any) -> None:
        """Parse, and run the command with its output locked."""
        with ExitStack() as self._outputs:
            super().__init__(**kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for the processes of ``ddp_spawn``. This process keeps the locks."""
        return vars(self) | {"_outputs": None}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Create a parser that reads files with :func:`mgc.training.names.load_config`."""
        set_loader(PARSER_MODE, load_config, exceptions=(yaml.YAMLError, RegistryError))
        names = "; ".join(f"--{kind}: {', '.join(registry.find(kind))}" for kind in GROUPS)
        kwargs.setdefault("dump_header", [f"{mgc.DISTRIBUTION}=={mgc.__version__}"])
        kwargs.setdefault("formatter_class", HelpFormatter)
        parser = Parser(parser_mode=PARSER_MODE, epilog=names, **kwargs)
        parser.add_argument("-c", "--config", action="config", help="YAML file with settings.")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the arguments of the model that depend on the data."""
        for name in LINKED_ARGUMENTS:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Expand short names to class paths and files, then parse."""
        if not isinstance(args, list):
            raise TypeError("args must be a list of strings.")
        args = expand_arguments(args)
        paths = option_values(args, *CONFIG_OPTIONS)
        for path in paths:
            if not isinstance(read_yaml(path), dict):
                raise MgcError(f"{path} is not a configuration: it has no settings.")
        try:
            self.config = to_plain_text(parser.parse_args(args))
        except MgcError as error:
            if str(error).startswith("Missing:") and paths:
                raise MgcError(f"{error} {' and '.join(paths)} does not set them.") from error
            raise
        check_settings(self.config[self.config.subcommand])

    def before_instantiate_classes(self) -> None:
        """Check the configuration and the checkpoint, and prepare W&B."""
        config = self.config[self.subcommand]
        if config.get("lr_scheduler") and not config.get("optimizer"):
            raise MgcError("lr_scheduler needs an optimizer section.")
        model, data = (registry.import_class(config[kind].class_path) for kind in GROUPS)
        expected, provided = getattr(model, "kind", None), getattr(data, "kind", None)
        if expected and provided and expected != provided:
            raise MgcError(
                f"{model.__name__} takes {expected}, but {data.__name__} provides {provided}. "
                "Choose another model or data set (mgc list)."
            )
        if config.trainer.get("barebones"):
            # Lightning then allows neither, and mgc adds both.
            config.trainer.logger = False
            if config.trainer.get("enable_checkpointing") is None:
                config.trainer.enable_checkpointing = False
        path = config.get("ckpt_path")
        if path in ("best", "last"):
            path = config.ckpt_path = find_newest_checkpoint(path)
        self.checkpoint: dict[str, Any] = {}
        self.about: dict[str, Any] = {}
        if path:
            self.checkpoint = checkpoint.read(path)
            checkpoint.check_version(path, self.checkpoint)
            self.checkpoint.pop("state_dict")  # Lightning reads it again
            self.about = self.checkpoint.get(checkpoint.KEY, {})
            if self.subcommand == "fit":
                check_resumable(path, self.checkpoint)
            trained = self.about.get("class_path")
            if trained and not registry.is_class(model, trained):
                raise MgcError(
                    f"{path} contains a {trained}, but the configuration's model is "
                    f"{config.model.class_path}."
                )
        elif self.subcommand != "fit":
            raise MgcError(
                f"mgc {self.subcommand} needs a trained model: set --ckpt_path to a path, or to "
                "best or last for the newest run."
            )
        self.run_folder = reuse_run(config.trainer, str(self.subcommand), path)
        # Without a logger, each fit has a folder of its own, as with W&B.
        own = self.subcommand == "fit" and not config.trainer.get("logger")
        if own and self.run_folder is None and config.trainer.default_root_dir == RUNS:
            self.run_folder = new_run_folder()
        _prepare_wandb(config.trainer)

    def instantiate_classes(self) -> None:
        """Create model, data and trainer, and check that the checkpoint fits the data."""
        check_step_memory(self.config[self.subcommand], self.subcommand == "fit")
        try:
            super().instantiate_classes()
        except ValueError as error:
            # The parser wraps errors of constructors in its own.
            raise _find_mgc_error(error) or MgcError(explain(str(error))) from error
        path = self.config[self.subcommand].get("ckpt_path")
        for name in ("labels", "task", "sample_rate"):
            trained, given = self.about.get(name), getattr(self.datamodule, name)
            if trained and _as_tuple(trained) != _as_tuple(given):
                raise MgcError(
                    f"{path} was trained with {name}={trained}, but the data has "
                    f"{name}={_as_tuple(given)}."
                )
        # A LightningModule of another package may define only the training step.
        add_missing_steps(self.model)
        checkpoint.remember_init_args(self.model, self._init_args())
        if path:
            trained = checkpoint.init_arguments(self.checkpoint)
            check_model_settings(path, self.model, trained)
            check_restored_state(path, self.checkpoint, self.trainer)

    def _init_args(self) -> dict[str, Any]:
        """Return the init arguments of the model, including those linked to the data."""
        given = self.config[self.subcommand].model.get("init_args")
        takes = inspect.signature(type(self.model)).parameters
        arguments = given.as_dict() if given else {}
        filled_in = {
            name: getattr(self.datamodule, name)
            for name in LINKED_ARGUMENTS
            if name in takes or name in arguments
        }
        return arguments | filled_in

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add checkpoint callbacks, unless the configuration sets its own."""
        settings = self.config_init[self.subcommand].trainer
        callbacks = settings.callbacks or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        if self.subcommand == "fit" and settings.enable_checkpointing is not False:
            if not any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
                callbacks = [*callbacks, self._default_checkpoint()]
            settings.callbacks = [*callbacks, KeepLast()]
        for callback in callbacks:
            if isinstance(callback, ModelCheckpoint):
                ignore_undefined(callback)
                if self.run_folder:
                    callback.dirpath = callback.dirpath or str(self.run_folder / "checkpoints")
        trainer: Trainer = super().instantiate_trainer(**kwargs)
        if self.run_folder:
            set_run_folder(trainer, self.run_folder)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        signals.watch(trainer)
        self._lock_output(trainer)
        return trainer

    def _lock_output(self, trainer: Trainer) -> None:
        """Lock the folder that this command writes. A new W&B run has no version yet."""
        new = trainer.loggers and self.run_folder is None and trainer.loggers[0].version is None
        if writes_files(trainer) and not new:
            folder = run_folder(trainer)
            self._outputs.enter_context(
                output_folder(
                    folder if self.subcommand == "fit" else folder / str(self.subcommand),
                    advice=", or choose another --trainer.logger.version",
                )
            )

    def _default_checkpoint(self) -> ModelCheckpoint:
        """Return a callback that keeps the best epoch by the task's metric.

        Without labels, or if the validation tracks are trained on, it keeps the last epoch.
        """
        if not self.datamodule.num_classes:
            return ModelCheckpoint()
        trained_on = getattr(self.datamodule, "train_on_val", False)
        return ModelCheckpoint(
            monitor=None if trained_on else MONITORS[self.datamodule.task],
            mode="max",
            filename="best",
            enable_version_counter=False,
        )


class LogRunPaths(Callback):
    """Logs the run's folder, best checkpoint and W&B URL when a fit ends.

    Args:
        remember: Whether ``--ckpt_path best`` and ``last`` mean this run from now on.
    """

    def __init__(self, remember: bool = False) -> None:
        """Initialize."""
        self.remember = remember

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the run (rank zero only)."""
        if self.remember and writes_files(trainer):
            save_newest(run_folder(trainer))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the paths (rank zero only)."""
        if not writes_files(trainer):
            return
        folder = run_folder(trainer)
        lines = [f"Run: {folder}"]
        saver = trainer.checkpoint_callback
        best, monitor = (getattr(saver, name, "") for name in ("best_model_path", "monitor"))
        last = Path(getattr(saver, "dirpath", None) or "", LAST_CHECKPOINT)
        if monitor and not best:
            computed = monitor in trainer.callback_metrics
            reason = "never a number" if computed else "never logged: no validation ended"
            lines.append(f"No best checkpoint: {monitor} was {reason}.")
        elif best:
            lines.append(f"{'Best checkpoint' if monitor else 'Checkpoint'}: {best}")
        usable = best or (str(last) if monitor and last.is_file() else "")
        if usable:
            if not best:
                lines.append(f"Checkpoint of the last step: {last}")
            known = find_run(usable) == folder
            config = [] if known else ["--config", str(folder / CONFIG)]
            command = ["mgc", "test", *config, "--ckpt_path", usable]
            lines.append(f"Test it: {shlex.join(command)}")
        runs = [logger.experiment for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        # wandb_session reports offline runs when the command ends.
        lines += [f"W&B: {run.url}" for run in runs if not (run.offline or run.disabled)]
        log.info("\n".join(lines))


class SaveConfig(SaveConfigCallback):
    """Saves the configuration of a fit in the run's folder, and logs it to W&B.

    Lightning would save it to ``trainer.log_dir``, which all W&B runs share, and ``mgc test`` would
    overwrite the configuration of the fit.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace, **kwargs: Any) -> None:
        """Convert the configuration to YAML, which the processes of ``ddp_spawn`` cannot do."""
        super().__init__(parser, config, **kwargs)
        with warnings.catch_warnings():
            # Values that cannot be written are logged when the file is.
            warnings.filterwarnings("ignore", message=r"\s*Unable to serialize instance")
            self.text = parser.dump(config, skip_unset=False)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save the configuration (called on rank zero only)."""
        text = self.text
        settings, lost = drop_unserializable(get_loader("yaml")(text))
        if lost:
            log.warning(
                "%s does not contain %s, which cannot be written as YAML.", CONFIG, ", ".join(lost)
            )
            text = dump_yaml(settings)
        if stage == "fit" and not getattr(trainer, "fast_dev_run", False):
            with replacing(run_folder(trainer) / CONFIG) as partial:
                partial.write_text(text, encoding="utf-8")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                shown = settings | {"model_summary": str(summarize(pl_module, 2))}
                logger.experiment.config.update(shown, allow_val_change=True)


def drop_unserializable(settings: Any, name: str = "") -> tuple[Any, list[str]]:
    """Remove values that cannot be written to a YAML file, such as a device or an instance.

    Returns:
        The remaining settings, and the names of those that were removed.
    """
    if isinstance(settings, str) and settings.startswith("Unable to serialize instance"):
        return None, [name]
    if not isinstance(settings, dict | list):
        return settings, []
    lost: list[str] = []
    kept: Any = type(settings)()
    for key, value in settings.items() if isinstance(settings, dict) else enumerate(settings):
        cleaned, missing = drop_unserializable(value, f"{name}.{key}" if name else str(key))
        lost += missing
        if missing and cleaned is None:
            continue
        if isinstance(settings, dict):
            kept[key] = cleaned
        else:
            kept.append(cleaned)
    return kept, lost


@contextmanager
def convert_errors() -> Iterator[None]:
    """Convert Lightning's errors about wrong settings to MgcError."""
    try:
        yield
    except MisconfigurationException as error:
        # CheckContract adds the name of the model.
        raise MgcError(": ".join([*getattr(error, "__notes__", []), str(error)])) from error
    except TypeError as error:
        if not str(error).startswith("`devices` selected with"):
            raise
        raise MgcError(str(error)) from error
    except ValueError as error:
        if str(error).startswith("You set `"):  # devices or nodes unlike those of SLURM
            raise MgcError(str(error)) from error
        if not str(error).startswith("Expected more than 1 value per channel when training"):
            raise
        raise MgcError(
            "A training batch has a single clip, but batch normalization needs at least 2. Set "
            "--data.batch_size 2 or more."
        ) from error
    except RuntimeError as error:
        if not str(error).startswith("Early stopping conditioned on metric"):
            raise
        raise MgcError(str(error)) from error


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _prepare_wandb(trainer: Namespace) -> None:
    """Set the W&B mode and staging folder if the trainer logs to W&B."""
    loggers = wandb_loggers(trainer.get("logger"))
    if not loggers or trainer.get("fast_dev_run"):
        return
    set_staging_folder(str(loggers[0].init_args.get("save_dir") or RUNS))
    if not is_global_zero():
        return  # only rank zero logs
    if all(logger.init_args.get("offline") for logger in loggers):
        keep_offline("offline=true in the logger's settings")
    else:
        set_wandb_mode()


def _find_mgc_error(error: BaseException | None) -> MgcError | None:
    """Return the MgcError in a chain of exceptions."""
    while error is not None and not isinstance(error, MgcError):
        error = error.__cause__ or error.__context__
    return error
