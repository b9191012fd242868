"""Callback that computes metrics of clips and tracks and writes result files, for any model."""

import logging
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from mgc.core.fingerprint import hash_file
from mgc.core.plugins import name_class
from mgc.data.clips import Batch
from mgc.errors import MgcError
from mgc.evaluation.contract import calls_forward, check_outputs
from mgc.evaluation.intervals import describe_score
from mgc.evaluation.results import Results, make_results
from mgc.evaluation.scores import (
    ClipScores,
    majority_vote,
    mean_by_track,
    measure,
    probabilities,
    track_log_odds,
)
from mgc.registry import path_of
from mgc.runs.folder import run_folder, writes_files

log = logging.getLogger(__name__)

#: Step that computes the outputs for each function of the trainer.
STEPS = {
    TrainerFn.FITTING: "validation_step",
    TrainerFn.VALIDATING: "validation_step",
    TrainerFn.TESTING: "test_step",
    TrainerFn.PREDICTING: "predict_step",
}


class TrackEvaluation(Callback):
    """Logs ``val/…`` and ``test/…`` metrics and writes result files.

    Works with any LightningModule. If a step does not return ``{"logits": …}``, the callback calls
    the model with the batch's audio. If the model has a method ``split_loss(logits, target)``, its
    loss over the whole split is logged as ``val/loss``.

    Metrics of clips (``val/accuracy``) and of tracks (``val/track_accuracy``, by mean probability;
    ``val/track_accuracy_vote``, by majority) are computed over the whole split. Each clip counts
    once on any number of devices.

    ``results`` are the tables written by the last test, prediction or validation outside a fit.
    """

    def __init__(self) -> None:
        self.scores = ClipScores()
        self.results: Results | None = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the scores."""
        self._start(pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the scores."""
        self._start(pl_module)

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the scores."""
        self._start(pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the scores of a batch."""
        self._add(trainer, pl_module, outputs, batch)

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of the validation split and, outside a fit, write its results."""
        if self._has_scores(trainer):
            clips = self._compute(trainer)
            self._log(trainer, pl_module, clips, "val")
            if trainer.state.fn == TrainerFn.VALIDATING:
                self._write(trainer, pl_module, clips, "validate")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of the test split and write its results."""
        if self._has_scores(trainer):
            clips = self._compute(trainer)
            self._log(trainer, pl_module, clips, "test")
            self._write(trainer, pl_module, clips, "test")

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the results of all tracks."""
        if self._has_scores(trainer):
            self._write(trainer, pl_module, self._compute(trainer), "predict")

    def _start(self, pl_module: LightningModule) -> None:
        self.scores.reset()
        self.scores.to(pl_module.device)

    def _add(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch
    ) -> None:
        if not isinstance(batch, dict) or "track" not in batch or "target" not in batch:
            return
        if isinstance(outputs, dict) and "logits" in outputs:
            step = STEPS[trainer.state.fn]  # type: ignore[index] # a function is running
            method = "forward" if calls_forward(pl_module, step) else step
            logits = outputs["logits"]
        elif "audio" in batch:
            logits, method = pl_module(batch["audio"]), "forward"
        else:
            return
        labels = getattr(_data(trainer), "num_classes", 0)
        logits = check_outputs(pl_module, logits, batch["track"], labels, method)
        self.scores.update(logits, batch)

    def _has_scores(self, trainer: Trainer) -> bool:
        # With other data modules, only the model's own metrics are logged.
        return self.scores.update_called and hasattr(_data(trainer), "tracks")

    def _compute(self, trainer: Trainer) -> dict[str, Tensor]:
        """Return the outputs of all clips; raise an error if some are not finite."""
        clips = self.scores.compute()
        if trainer.state.fn == TrainerFn.FITTING:
            return clips  # StopOnDivergence reports the error, with the last good checkpoint
        invalid = clips["track"][~clips["logits"].isfinite().all(dim=1)].unique()
        if len(invalid):
            tracks = _data(trainer).tracks
            first = tracks.iloc[int(invalid[0])]
            raise MgcError(
                f"{name_class(trainer.lightning_module)}: outputs for {len(invalid)} of "
                f"{len(clips['track'].unique())} tracks are not finite numbers. The first is "
                f"{first.get('path', first['track'])}. Lower the learning rate, or check the files "
                "with mgc data verify."
            )
        return clips

    def _log(
        self, trainer: Trainer, pl_module: LightningModule, clips: dict[str, Tensor], stage: str
    ) -> None:
        data = _data(trainer)
        logits = clips["logits"].double()
        outputs = probabilities(logits, data.task)
        index, mean = mean_by_track(outputs, clips["track"])
        target = clips["target"][torch.searchsorted(clips["track"], index)]
        # Tags are ranked by log-odds, because high probabilities are rounded to 1.
        tags = data.task == "multilabel"
        scores = logits if tags else outputs
        track_scores = track_log_odds(logits, clips["track"]) if tags else mean
        metrics = measure(scores, clips["target"], data.task, data.labels)
        by_track = measure(track_scores, target, data.task, data.labels)
        metrics |= {f"track_{name}": value for name, value in by_track.items()}
        split_loss = getattr(pl_module, "split_loss", None)
        if callable(split_loss):
            given = (clips[name].to(pl_module.device) for name in ("logits", "target"))
            metrics["loss"] = split_loss(*given).item()
        if data.task == "multiclass":
            vote = majority_vote(outputs, clips["track"])
            metrics["track_accuracy_vote"] = (vote == target).double().mean().item()
        bar = {"loss", "track_accuracy", "track_auroc", "track_r2"}
        for name, value in metrics.items():
            # All devices log the same value, so averaging does not change it.
            pl_module.log(f"{stage}/{name}", value, prog_bar=name in bar, sync_dist=True)

    def _write(
        self, trainer: Trainer, pl_module: LightningModule, clips: dict[str, Tensor], stage: str
    ) -> None:
        data = _data(trainer)
        checkpoint = str(trainer.ckpt_path) if trainer.ckpt_path else None
        source = {
            "model": path_of(type(pl_module)),
            "checkpoint": checkpoint,
            "sha256": hash_file(checkpoint, content_only=True) if checkpoint else None,
            "data": path_of(type(data)),
            "split": data.split,
            "fold": data.fold,
            "seed": data.seed,
        }
        self.results = make_results(
            clips, data.tracks, data.task, data.labels, data.sample_rate, source
        )
        if writes_files(trainer):
            folder = run_folder(trainer) / stage
            self.results.save(folder)
            if stage == "test":
                log.info("Test: %s", describe_score(self.results))
            log.info("Clips and tracks with their probabilities: %s", folder)


def _data(trainer: Trainer) -> Any:
    return getattr(trainer, "datamodule", None)
