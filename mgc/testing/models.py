"""Conformance checks of models."""

import inspect
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import Tensor
from torch.utils.data import Dataset

from mgc import checkpoint
from mgc.checkpoint import DescribeCheckpoint, remember_init_args
from mgc.data.base import MusicDataModule
from mgc.data.clips import Batch, Key, split_keys
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.errors import MgcError
from mgc.evaluation import contract
from mgc.evaluation.callback import TrackEvaluation
from mgc.models.adapt import add_missing_steps
from mgc.models.base import MusicModel
from mgc.task import Task
from mgc.testing.require import check_wrong_numbers, finite, require

#: Function that makes the inputs of a batch, by name, for a number of items.
Inputs = Callable[[int], dict[str, Tensor]]

#: Lengths of audio to check, relative to the clip length.
LENGTHS = (0.1, 0.5, 1.7)

#: Number of tracks of each split. Two processes cannot share three tracks evenly.
TRACKS = {TRAIN: 8, VAL: 3, TEST: 3}
BATCH_SIZE = 4


@dataclass(frozen=True)
class ModelCase:
    """Model to check and its settings.

    Attributes:
        model: Class of the model.
        settings: Arguments that make the model small enough to be checked in seconds.
        sample_rate: Sample rate in Hz.
        clip_seconds: Length of the clips.
        tasks: Tasks that the model supports.
        num_classes: Number of classes, tags or quantities.
        fit_first: Whether the model must be fitted before scoring, for example its codebook.
        learns_in: Number of steps in which the loss on eight clips must fall by half.
        inputs: Makes the inputs of a model that does not take audio, for a number of items.
    """

    model: type[LightningModule]
    settings: Mapping[str, Any] = field(default_factory=dict)
    sample_rate: int = 8000
    clip_seconds: float = 1.0
    tasks: tuple[Task, ...] = ("multiclass", "multilabel", "regression")
    num_classes: int = 3
    fit_first: bool = False
    learns_in: int = 60
    inputs: Inputs | None = None

    @property
    def name(self) -> str:
        """Name of the class, for messages."""
        return self.model.__name__

    def make(self, task: Task) -> LightningModule:
        """Build the model as ``mgc fit`` does, with reproducible weights."""
        args = self.make_arguments(task)
        seed_everything(0, verbose=False)
        try:
            model = self.model(**args)
        except TypeError as error:
            raise AssertionError(
                f"{self.name} cannot be built with {args}: {error}. If the constructor "
                "has changed, change the settings of ModelCase"
            ) from error
        add_missing_steps(model)
        remember_init_args(model, args)
        return model

    def make_arguments(self, task: Task) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        parameters = inspect.signature(self.model).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        linked = {"num_classes": self.num_classes, "task": task, "sample_rate": self.sample_rate}
        args = {name: value for name, value in linked.items() if takes_any or name in parameters}
        return args | dict(self.settings)

    def make_ready(self, task: Task) -> LightningModule:
        """Build the model in evaluation mode, fitted if ``fit_first`` is set."""
        model = self.make(task)
        if self.fit_first:
            _trainer(max_epochs=1, limit_val_batches=0).fit(model, _Items(self, task))
        return model.eval()

    def make_inputs(self, items: int) -> dict[str, Tensor]:
        """Make the inputs of a batch: tensors of ``items`` rows, by name."""
        if self.inputs:
            return self.inputs(items)
        return {"audio": tones(items, self.sample_rate, self.clip_seconds)}

    def score(self, model: LightningModule, inputs: dict[str, Tensor]) -> Tensor:
        """Score inputs as ``mgc test`` does: logits of shape (items, classes)."""
        output = model.test_step(dict(inputs), 0)
        if isinstance(output, dict) and "logits" in output:
            return output["logits"]
        return model(inputs["audio"])


def tones(items: int, sample_rate: int, seconds: float) -> Tensor:
    """Make different clips: tones with noise, of shape (items, samples) in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(round(seconds * sample_rate)) / sample_rate
    pitch = sample_rate * torch.logspace(-5.5, -1.5, items, base=2)
    noise = torch.randn(items, len(time), generator=generator)
    return 0.3 * torch.sin(2 * torch.pi * pitch[:, None] * time) + 0.01 * noise


def check_logits(case: ModelCase) -> None:
    """Check that logits have the right shape, are finite, and do not depend on the batch."""
    inputs = case.make_inputs(4)
    for task in case.tasks:
        model = case.make_ready(task)
        with torch.inference_mode():
            logits = case.score(model, inputs)
            alone = case.score(model, {name: value[:1] for name, value in inputs.items()})
            again = case.score(model, inputs)
        contract.check_outputs(model, logits, next(iter(inputs.values())), case.num_classes)
        require(finite(logits), f"{case.name} gives NaN or infinite logits for {task}")
        require(
            torch.equal(logits, again),
            f"{case.name} gives different logits for the same clips in eval()",
        )
        require(
            torch.allclose(logits[:1], alone, rtol=1e-3, atol=1e-4),
            f"{case.name}: logits of a clip depend on the other clips in the batch in eval()",
        )
        if "audio" in inputs:
            with torch.inference_mode():
                silent = case.score(model, {"audio": torch.zeros_like(inputs["audio"])})
            require(finite(silent), f"{case.name} gives NaN or infinite logits for silence")


def check_lengths(case: ModelCase) -> None:
    """Check that clips of other lengths are scored or rejected with an ``MgcError``."""
    model = case.make_ready(case.tasks[0])
    if case.inputs:
        return
    for part in LENGTHS:
        audio = tones(2, case.sample_rate, part * case.clip_seconds)
        try:
            with torch.inference_mode():
                logits = case.score(model, {"audio": audio})
        except MgcError:
            continue
        except Exception as error:
            raise AssertionError(
                f"{case.name} fails for clips of {audio.shape[1]} samples. Score them, or raise an "
                f"mgc.errors.MgcError that explains what to do. {type(error).__name__}: {error}"
            ) from error
        contract.check_outputs(model, logits, audio, case.num_classes)
        require(
            finite(logits),
            f"{case.name} gives NaN or infinite logits for clips of {audio.shape[1]} samples",
        )


def check_features(case: ModelCase) -> None:
    """Check that features have valid names, are finite, and have fixed widths."""
    model = case.make_ready(case.tasks[0])
    if case.inputs or not offers_features(model):
        return
    widths = None
    for part in (1.0, *LENGTHS):
        audio = tones(2, case.sample_rate, part * case.clip_seconds)
        for clips in (audio, torch.zeros_like(audio)):
            try:
                with torch.inference_mode():
                    layers = model.features(clips)  # type: ignore[operator] # a method
            except MgcError:
                continue
            layers = contract.check_features(model, layers, clips, widths)
            widths = {name: values.shape[1] for name, values in layers.items()}
            for name, values in layers.items():
                require(finite(values), f"{case.name}.features: {name} has NaN or infinite values")


def check_trains(case: ModelCase) -> None:
    """Check training for an epoch, validation, test and prediction on all tasks."""
    for task in case.tasks:
        with tempfile.TemporaryDirectory() as folder:  # for results
            _check_trains(case, task, folder)


def check_learns(case: ModelCase) -> None:
    """Check that the loss on eight clips falls by half in ``learns_in`` steps."""
    steps, task = _Steps(), case.tasks[0]
    data = _Items(case, task, batch_size=8, tracks={TRAIN: 8, VAL: 1, TEST: 1})
    trainer = _trainer(
        callbacks=[steps], max_steps=case.learns_in, limit_val_batches=0, num_sanity_val_steps=0
    )
    trainer.fit(case.make(task), data)
    # Average the noise of dropout.
    first, last = steps.losses[0], float(np.mean(steps.losses[-5:]))
    require(
        last < first / 2,
        f"{case.name} does not learn eight clips: the loss is {first:.3g} at first, {last:.3g} "
        f"after {case.learns_in} steps. Try another learning rate in settings, or more steps "
        "(learns_in)",
    )


def check_checkpoint(case: ModelCase) -> None:
    """Check that the model can be loaded from its checkpoint and gives the same logits."""
    task = case.tasks[0]
    model, data = case.make(task), _Items(case, task)
    trainer = _trainer(max_steps=1, callbacks=[DescribeCheckpoint()], limit_val_batches=0)
    trainer.fit(model, data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.ckpt")
        trainer.save_checkpoint(path)
        try:
            about = checkpoint.description(path)
            loaded = checkpoint.load(path)
        except MgcError as error:
            raise AssertionError(
                f"{case.name}: the checkpoint cannot be loaded by mgc.checkpoint.load: {error}"
            ) from error
    require(about["labels"] == list(data.labels), f"{case.name}: the checkpoint lacks the labels")
    inputs = case.make_inputs(4)
    add_missing_steps(loaded)
    with torch.inference_mode():
        expected, found = case.score(model.eval(), inputs), case.score(loaded, inputs)
    require(
        torch.allclose(expected, found, rtol=1e-4, atol=1e-5),
        f"{case.name}: loaded from a checkpoint, it gives different logits. Keep all state in "
        "parameters, buffers, and arguments of the constructor",
    )


def check_mixed_precision(case: ModelCase) -> None:
    """Compare logits in bfloat16 with float32, and train in mixed precision."""
    task, inputs, steps = case.tasks[0], case.make_inputs(4), _Steps()
    model = case.make_ready(task)
    with torch.inference_mode():
        exact = case.score(model, inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = case.score(model, inputs).float()
    require(finite(mixed), f"{case.name} gives NaN or infinite logits in bfloat16")
    # bfloat16 has three significant digits. A few layers lose one of them.
    bound = 0.1 * exact.abs().max() + 0.05
    worst = (mixed - exact).abs().max()
    require(
        bool(worst <= bound),
        f"{case.name}: logits in bfloat16 differ by {worst:.2g}, with a maximum of "
        f"{exact.abs().max():.2g}. Compute spectra and logarithms in float32 (see mgc.features)",
    )
    trainer = _trainer(callbacks=[steps], max_steps=2, precision="bf16-mixed", limit_val_batches=1)
    trainer.fit(case.make(task), _Items(case, task))
    require(all(np.isfinite(steps.losses)), f"{case.name}: the loss is NaN or infinite in bfloat16")


def check_two_processes(case: ModelCase) -> None:
    """Check that two processes have equal weights after training."""
    task = case.tasks[0]
    trainer = _trainer(
        callbacks=[_SameWeights()],
        max_steps=2,
        devices=2,
        # Forking takes about a second; spawning takes ten.
        strategy="ddp_fork",
    )
    try:
        trainer.fit(case.make(task), _Items(case, task))
    except Exception as error:
        raise AssertionError(f"{case.name} fails to train in two processes: {error}") from error


def check_settings(case: ModelCase) -> None:
    """Check that wrong numbers raise an ``MgcError`` or ``ValueError`` that names the argument."""
    check_wrong_numbers(case.model, case.make_arguments(case.tasks[0]))


#: All checks of models.
MODEL_CHECKS: tuple[Callable[[ModelCase], None], ...] = (
    check_logits,
    check_lengths,
    check_features,
    check_trains,
    check_learns,
    check_checkpoint,
    check_mixed_precision,
    check_two_processes,
    check_settings,
)


def offers_features(model: LightningModule) -> bool:
    """Return whether the model overrides ``features``, as ``mgc extract`` needs."""
    method = getattr(type(model), "features", None)
    return method is not None and method is not MusicModel.features


def _check_trains(case: ModelCase, task: Task, folder: str) -> None:
    model, data, steps = case.make(task), _Items(case, task), _Steps()
    before = [p.detach().clone() for p in model.parameters()]
    trainer = _trainer(callbacks=[steps], max_epochs=1, default_root_dir=folder)
    trainer.fit(model, data)
    require(bool(steps.losses), f"{case.name} runs no training step for {task}")
    require(
        all(np.isfinite(steps.losses)),
        f"{case.name}: the loss is NaN or infinite for {task}: {steps.losses}",
    )
    require(
        not steps.without_gradient,
        f"{case.name} has parameters without a gradient, which fails on several devices: "
        f"{', '.join(sorted(steps.without_gradient))}. Use them, or set requires_grad=False",
    )
    changed = any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    require(changed, f"{case.name}: an epoch changes no parameter for {task}")
    trainer.test(model, data, verbose=False)
    trainer.predict(model, data, return_predictions=False)
    for name in ("val", "test"):
        metrics = [key for key in steps.metrics if key.startswith(f"{name}/track_")]
        require(bool(metrics), f"{case.name}: no {name} metrics for {task}")


class _Steps(TrackEvaluation):
    """Records losses, missing gradients and metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.without_gradient: set[str] = set()
        self.metrics: set[str] = set()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Record the loss."""
        self.losses.append(float(outputs["loss"]))

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record parameters without a gradient."""
        self.without_gradient |= {
            name for name, p in pl_module.named_parameters() if p.requires_grad and p.grad is None
        }

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the names of metrics."""
        self.metrics |= set(trainer.callback_metrics)

    on_test_end = on_validation_end


class _SameWeights(TrackEvaluation):
    """Compares the parameters of all processes."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise an error if the parameters differ."""
        weights = [p.detach().flatten() for p in pl_module.parameters() if p.requires_grad]
        all_weights = pl_module.all_gather(torch.cat(weights))
        if trainer.world_size != 2 or not torch.equal(all_weights[0], all_weights[1]):
            raise AssertionError("parameters differ between processes.")


class _Items(MusicDataModule):
    """In-memory data set."""

    def __init__(
        self,
        case: ModelCase,
        task: Task,
        batch_size: int = BATCH_SIZE,
        tracks: Mapping[str, int] = TRACKS,
    ) -> None:
        super().__init__(".", batch_size=batch_size)
        self.labels = tuple(f"label{i}" for i in range(case.num_classes))
        self.task = task
        self.sample_rate = case.sample_rate
        self.clip_samples = self.hop_samples = round(case.clip_seconds * case.sample_rate)
        self.track_splits = np.repeat(list(tracks), list(tracks.values()))
        self.inputs = case.make_inputs(len(self.track_splits))
        if "audio" not in self.inputs:
            self.kind = "beats"  # type: ignore[misc] # differs between cases

    def read_catalogue(self) -> pd.DataFrame:
        """Create targets for all tasks."""
        names = [f"track{i}" for i in range(len(self.track_splits))]
        catalogue = pd.DataFrame({"track": names, "group": names, "path": names})
        rng = np.random.default_rng(0)
        for number, label in enumerate(self.labels):
            numbers = np.arange(len(names))
            tags = (numbers >> number) % 2  # alternate between tracks, pairs, …
            ratings = rng.normal(size=len(names))
            catalogue[f"target.{label}"] = tags if self.task == "multilabel" else ratings
        catalogue["label"] = [self.labels[i % len(self.labels)] for i in range(len(names))]
        return catalogue

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Return the fixed split."""
        return self.track_splits

    def check(self, catalogue: pd.DataFrame) -> dict[str, str]:
        """Return no broken tracks."""
        return {}

    def make_dataset(self, split: str, random: bool) -> Dataset[Batch]:
        """Return the items of a split."""
        rows = torch.from_numpy(np.flatnonzero(self.tracks["split"] == split))
        return _Rows(self.inputs | {"target": self.targets()}, rows)


class _Rows(Dataset[Batch]):
    """Rows of tensors."""

    def __init__(self, values: dict[str, Tensor], rows: Tensor) -> None:
        self.values = values
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, keys: list[Key]) -> Batch:
        """Return a batch, like :class:`mgc.data.clips.ClipDataset`."""
        rows = self.rows[torch.from_numpy(split_keys(keys)[1])]
        batch: Batch = {name: values[rows] for name, values in self.values.items()}
        zeros = torch.zeros_like(rows)
        return batch | {"track": rows, "clip": zeros, "start": zeros}


def _trainer(**settings: Any) -> Trainer:
    """Return a CPU trainer without logger, checkpoints and progress bar."""
    given: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return Trainer(**(given | settings))
