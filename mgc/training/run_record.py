"""Records the provenance and best epoch of a run in ``run.json`` and W&B.

In W&B, the provenance is logged as ``about`` in the configuration and as tags, and the best epoch
as ``best/…`` in the summary.
"""

import json
import logging
import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from mgc.core.fingerprint import find_difference
from mgc.core.ranges import check_value
from mgc.core.writing import replacing
from mgc.runs.folder import RECORD, run_folder, writes_files
from mgc.runs.record import describe_run, read_record

log = logging.getLogger(__name__)


class RecordRun(Callback):
    """Records the provenance of a run, and the metrics of the epoch of its best checkpoint."""

    def __init__(self) -> None:
        """Initialize without a best epoch."""
        self.best: dict[str, Any] = {}
        self.record: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Record the provenance (rank zero only)."""
        if not writes_files(trainer):
            return
        self.record = read_record(run_folder(trainer))
        about = describe_run(pl_module, getattr(trainer, "datamodule", None))
        # A test continues the W&B run of its fit, which already has tags and provenance.
        if stage == "fit" or "fit" not in self.record:
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    self.record["wandb"] = _describe_in_wandb(logger, about)
        before = self.record.get(stage, {}).get("fingerprint")
        if stage == "fit" and before and before != about["fingerprint"]:
            log.warning(
                "The data set has changed since the fit in this folder was started: %s.",
                find_difference(before, about["fingerprint"] or {}),
            )
        self.record[stage] = about
        self._write(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the metrics of a new best epoch."""
        checkpoint = _best_checkpoint_callback(trainer)
        if trainer.sanity_checking or checkpoint is None or _is_training_metric(checkpoint.monitor):
            return
        self._update_best(trainer, checkpoint)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the training metrics, which are logged after those of validation."""
        checkpoint = _best_checkpoint_callback(trainer)
        if checkpoint is None:
            return
        if _is_training_metric(checkpoint.monitor):
            self._update_best(trainer, checkpoint)
        if self.best and self.best["epoch"] == trainer.current_epoch:
            self.best["metrics"] |= _select_metrics(trainer, training=True)
            self._log_best(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the path of the best checkpoint, because its name is configurable."""
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if best and writes_files(trainer):
            self.record["checkpoints"] = {"best": str(best)}
            self._write(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best epoch.

        Raises:
            MgcError: If it is invalid.
        """
        best = state_dict["best"]
        if best:
            for name, kind in (("value", float), ("epoch", int), ("metrics", dict)):
                check_value(f"best.{name} in the checkpoint", kind, best.get(name))
        self.best = best

    def _update_best(self, trainer: Trainer, checkpoint: ModelCheckpoint) -> None:
        name = str(checkpoint.monitor)
        metrics = _select_metrics(trainer, training=False)
        value = trainer.callback_metrics.get(name)
        if value is None or math.isnan(value):
            return
        previous = self.best.get("value")
        better = previous is None or (
            value > previous if checkpoint.mode == "max" else value < previous
        )
        if better:
            self.best = {
                "metric": name,
                "mode": checkpoint.mode,
                "value": float(value),
                "epoch": trainer.current_epoch,
                "step": trainer.global_step,
                "metrics": metrics,
            }
            self._log_best(trainer)

    def _log_best(self, trainer: Trainer) -> None:
        if not writes_files(trainer):
            return
        self.record["best"] = self.best
        self._write(trainer)
        summary = {f"best/{name}": self.best[name] for name in ("metric", "epoch", "step")}
        summary |= {f"best/{name}": value for name, value in self.best["metrics"].items()}
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.summary.update(summary)

    def _write(self, trainer: Trainer) -> None:
        with replacing(run_folder(trainer) / RECORD) as partial:
            partial.write_text(json.dumps(self.record, indent=1), encoding="utf-8")


def _describe_in_wandb(logger: WandbLogger, about: dict[str, Any]) -> dict[str, Any]:
    """Log tags and provenance to a W&B run, and return its identifiers."""
    run = logger.experiment
    tags = (about["model"], about["data"], about["split"])
    run.tags = tuple(dict.fromkeys([*(run.tags or ()), *filter(None, tags)]))
    run.config.update({"about": about}, allow_val_change=True)
    return {
        "project": run.project,
        "entity": run.entity or None,
        "save_dir": str(logger.save_dir),
        "id": run.id,
        "group": run.group or None,
        "offline_folder": run.sync_dir if run.offline else None,
    }


def _best_checkpoint_callback(trainer: Trainer) -> ModelCheckpoint | None:
    """Return the callback that saves the best checkpoint."""
    found = (c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint))
    return next((callback for callback in found if callback.monitor), None)


def _is_training_metric(metric: str | None) -> bool:
    return str(metric).startswith("train")


def _select_metrics(trainer: Trainer, training: bool) -> dict[str, float]:
    """Return the logged training metrics, or all other metrics."""
    return {
        name: float(value)
        for name, value in trainer.callback_metrics.items()
        if _is_training_metric(name) == training
    }
