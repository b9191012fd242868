"""Extracts layer features from audio on any number of devices. Interrupted runs can be resumed.

Tracks are divided into parts of consecutive tracks, which are distributed over the devices. Each
finished part is saved in ``<out>.parts``; at the end, all parts are merged into one table. Each
track is computed only once, devices exchange no features, and a rerun skips finished parts.
"""

import inspect
import json
import logging
import os
import shutil
import sys
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

import mgc
from mgc import checkpoint
from mgc.core.fingerprint import (
    Check,
    find_difference,
    hash_file,
    hash_files,
    hash_inputs,
    hash_values,
)
from mgc.core.launching import convert_process_errors, is_global_zero
from mgc.core.parquet import read_metadata
from mgc.core.stopping import signals
from mgc.core.writing import replacing, writes_file
from mgc.data.audio import Resampling
from mgc.data.base import AudioDataModule
from mgc.data.clips import Batch, ClipDataset, FileReader, keep_batch
from mgc.data.contract import check_targets, check_tracks
from mgc.data.loading import WorkerLoader, ignore_stop_signals
from mgc.errors import MgcError
from mgc.evaluation.contract import check_features
from mgc.registry import path_of
from mgc.transfer.feature_table import FeatureTable
from mgc.transfer.inputs import make_model, open_data, untrained_arguments

log = logging.getLogger(__name__)

#: Target number of parts, high enough to balance the load of several devices.
TARGET_PARTS = 256
#: Minimum and maximum number of tracks per part. An interruption loses one part per device.
PART_TRACKS_RANGE = (4, 256)

SETTINGS = "settings.json"

#: Defaults for models without a checkpoint, from Choi et al. (2017): rate in Hz, length in s.
SAMPLE_RATE, CLIP_SECONDS = 12000, 29.0

PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def choose_layers(text: str, widths: dict[str, int]) -> list[str]:
    """Parse ``--layers`` (see :func:`extract`).

    ``widths`` are the widths of the model's layers, in order. An unknown layer raises an MgcError.
    """
    names = list(widths)
    if text == "all":
        return names
    wanted = [word.strip() for word in text.split(",")]
    if text.isdecimal() and text not in names:
        wanted = [names[int(d) - 1] if 0 < int(d) <= len(names) else d for d in text]
    for name in wanted:
        if name not in names:
            raise MgcError(f"layers={text}: no layer {name}. Choose from {', '.join(names)}.")
    return list(dict.fromkeys(wanted))


def probe_layers(model: LightningModule, clip_samples: int) -> dict[str, int]:
    """Return the width of each layer, in order, from features of silent clips on the CPU.

    Raises:
        MgcError: If the model has no method ``features``, or does not take audio.
    """
    name = type(model).__name__
    if not hasattr(model, "features"):
        raise MgcError(f"{name} has no method features(audio).")
    if getattr(model, "kind", "audio") != "audio":
        raise MgcError(f"{name} takes {model.kind}; extraction needs a model that takes audio.")
    with torch.inference_mode():
        clips = torch.zeros(2, clip_samples)
        layers = check_features(model, model.eval().features(clips), clips)  # type: ignore[operator] # a method
    return {name: values.shape[1] for name, values in layers.items()}


@writes_file("out")
def extract_features(
    model: LightningModule,
    layers: list[str],
    data: AudioDataModule,
    out: str | os.PathLike[str],
    source: dict[str, Any],
    resampling: Resampling = "fast",
    per_clip: bool = False,
    keep_split: bool = False,
    trainer: dict[str, Any] | None = None,
    widths: dict[str, int] | None = None,
    check: Check = "sampled",
) -> dict[str, str]:
    """Extract the features of all tracks and write a table.

    The features of a track are the means over its clips.

    Args:
        model: Model with ``features(audio)``.
        layers: Names of the layers to extract.
        data: Data module after ``setup``.
        out: Parquet file to write. If it or its parts have a different ``source``, settings or
            files, they are replaced.
        source: JSON values that identify model and settings.
        resampling: ``fast`` or ``best``. A packed store is resampled ``fast``, so ``best`` ignores
            it.
        per_clip: Write a row per clip, with ``clip`` and ``start`` (seconds), instead of one per
            track.
        keep_split: Write the split of each track even if it was drawn at random.
        trainer: Arguments of Lightning's ``Trainer``.
        widths: Width of each layer of the model; by default those of the first batch.
        check: How to compare files (see :mod:`mgc.core.fingerprint`).

    Returns:
        Names of skipped tracks, with reasons.

    Raises:
        MgcError: If no track is readable, the arguments of the trainer are invalid, or ``out``
            exists and was not written by mgc.
    """
    out = Path(out)
    source = source | {"layers": layers, "per_clip": per_clip, "keep_split": keep_split}
    plan = ExtractionPlan(out, data, source, resampling, check)
    if plan.is_finished():
        log.info("Features are up to date: %s", out)
        return plan.broken()
    try:
        runner = Trainer(
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty(),
            use_distributed_sampler=False,  # RankParts distributes the parts
            callbacks=[PartWriter(plan, layers, per_clip)],
            **(trainer or {}),
        )
    except (MisconfigurationException, ValueError) as error:
        raise MgcError(f"{error} Check --accelerator, --devices and --strategy.") from error
    signals.watch(runner)
    with convert_process_errors():
        runner.predict(
            LayerExtractor(model, layers, widths), RankParts(plan), return_predictions=False
        )
    runner.strategy.barrier("parts")
    if runner.is_global_zero:
        plan.merge(layers, per_clip)
    runner.strategy.barrier("table")
    return plan.broken()


class ExtractionPlan:
    """Divides an extraction into parts and manages their files.

    See :func:`extract_features` for the arguments.

    Attributes:
        dataset: All clips of all tracks in order.
        bounds: Index of the first clip of each part, followed by the number of clips.
    """

    def __init__(
        self,
        out: Path,
        data: AudioDataModule,
        source: dict[str, Any],
        resampling: Resampling,
        check: Check = "sampled",
    ) -> None:
        check_tracks(data)
        self.out = out
        self.folder = out.with_name(f"{out.name}.parts")
        self.data = data
        tracks = len(data.tracks)
        self.dataset = ClipDataset(
            _reader(data, resampling),
            np.arange(tracks),
            check_targets(data, data.targets()),
            data.clip_samples,
            data.hop_samples,
            data.short,
        )
        size = int(np.clip(-(-tracks // TARGET_PARTS), *PART_TRACKS_RANGE))
        firsts = np.arange(0, tracks, size)
        self.bounds = np.append(np.searchsorted(self.dataset.tracks, firsts), len(self.dataset))
        self.source = source | {
            "data": path_of(type(data)),
            "split": data.split,
            "sample_rate": data.sample_rate,
            "clip_seconds": data.clip_samples / data.sample_rate,
            "hop_seconds": data.hop_samples / data.sample_rate,
            "channel": data.channel,
            "short": data.short,
            "resampling": resampling,
            "version": mgc.__version__,
            "audio": _hash_audio(data, resampling, check),
        }

    def is_finished(self) -> bool:
        """Return whether the table exists, is undamaged and has the same settings and files.

        Raises:
            MgcError: If the file is not a table of features.
        """
        if not self.out.exists():
            return False
        try:
            meta = read_metadata(self.out, verify=True)
        except MgcError as error:
            raise MgcError(f"{error} Remove it, or choose another --out.") from error
        if "layers" not in meta:
            raise MgcError(
                f"{self.out} exists, but is not a table of features. Remove it, or choose another "
                "--out."
            )
        change = self._find_change(meta["source"])
        if change:
            log.info("%s: extracted again, because %s.", self.out, change)
        return not change

    def prepare(self) -> None:
        """Create the folder of parts. Clears it if settings or files have changed."""
        settings = self.folder / SETTINGS
        if settings.is_file():
            try:
                change = self._find_change(json.loads(settings.read_text(encoding="utf-8")))
            except ValueError:
                change = f"{settings} is damaged"
            if change:
                log.info("Removing %s, because %s.", self.folder, change)
                shutil.rmtree(self.folder)
        elif self.folder.exists() and any(p for p in self.folder.iterdir() if p.name[0] != "."):
            raise MgcError(f"{self.folder} was not written by mgc. Remove it.")
        with replacing(settings) as partial:
            partial.write_text(self._settings(), encoding="utf-8")

    def part_path(self, part: int) -> Path:
        """Return the file of a part."""
        return self.folder / f"part-{part:05}.npz"

    def pending(self) -> list[int]:
        """Return the numbers of unfinished parts."""
        parts = range(len(self.bounds) - 1)
        return [part for part in parts if not _is_intact(self.part_path(part))]

    def merge(self, layers: list[str], per_clip: bool) -> None:
        """Merge all parts into the table and remove them."""
        parts = [np.load(self.part_path(part)) for part in range(len(self.bounds) - 1)]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0].files}
        broken = dict(self.data.broken)
        for track in self.data.tracks["track"].iloc[whole["broken"]]:
            broken[str(track)] = "cannot be decoded completely"
            log.warning("Skipped: %s: %s", track, broken[str(track)])
        if not len(whole["track"]):
            raise MgcError(f"{self.data.root}: none of the files is readable.")
        rows = self._describe(whole["track"])
        if per_clip:
            rows.insert(1, "clip", whole["clip"])
            rows.insert(2, "start", whole["start"] / self.data.sample_rate)
        values = {name: whole[f"layer.{name}"] for name in layers}
        for name, layer in values.items():
            invalid = int((~np.isfinite(layer)).any(axis=1).sum())
            if invalid:
                log.warning("Layer %s has NaN or infinite values in %d rows.", name, invalid)
        source = self.source | {"broken": broken}
        FeatureTable(rows, values, self.data.task, self.data.labels, source).save(self.out)
        shutil.rmtree(self.folder)

    def broken(self) -> dict[str, str]:
        """Return the names of skipped tracks, with reasons."""
        broken: dict[str, str] = read_metadata(self.out)["source"]["broken"]
        return broken

    def _describe(self, index: np.ndarray) -> pd.DataFrame:
        tracks = self.data.tracks.iloc[index].reset_index(drop=True)
        rows = tracks[["track", "group"]].copy()
        # Omit a random split, as it is not part of the dataset, unless the model was trained on it.
        kept = self.source["keep_split"]
        given = self.data.split in self.data.given_splits
        rows["split"] = tracks["split"] if self.data.labels and (given or kept) else None
        rows["fold"] = None if kept else tracks.get("fold")
        if not self.data.labels:
            return rows.assign(label=None)
        names = ["label"]
        if self.data.task != "multiclass":
            names = [f"target.{label}" for label in self.data.labels]
        return pd.concat([rows, tracks[names]], axis=1)

    def _settings(self) -> str:
        return json.dumps(self.source, indent=2, sort_keys=True)

    def _find_change(self, source: dict[str, Any]) -> str:
        known = {name: value for name, value in source.items() if name != "broken"}
        return find_difference(known, json.loads(self._settings()))


class RankParts(LightningDataModule):
    """Clips of the unfinished parts that are assigned to this rank."""

    # With fewer unfinished parts than devices, some ranks have no clips.
    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(self, plan: ExtractionPlan) -> None:
        super().__init__()
        self.plan = plan
        self.parts: list[int] = []

    def prepare_data(self) -> None:
        """Prepare the folder of parts."""
        self.plan.prepare()

    def setup(self, stage: str) -> None:
        """Assign every ``world_size``-th unfinished part to this rank."""
        trainer = _trainer(self)
        pending = self.plan.pending()
        done = len(self.plan.bounds) - 1 - len(pending)
        if done and trainer.is_global_zero:
            log.info("%d of %d parts are already computed.", done, done + len(pending))
        # No rank may write a part before all ranks have listed them.
        trainer.strategy.barrier("pending")
        self.parts = pending[trainer.global_rank :: trainer.world_size]

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Load the clips of this rank's parts in order."""
        data, bounds = self.plan.data, self.plan.bounds
        clips = [i for part in self.parts for i in range(bounds[part], bounds[part + 1])]
        return WorkerLoader(
            self.plan.dataset,
            batch_size=data.batch_size,
            sampler=[(0, i) for i in clips],
            num_workers=data.num_workers,
            worker_init_fn=ignore_stop_signals,
            collate_fn=keep_batch,  # type: ignore[arg-type] # items are whole batches
            pin_memory=_trainer(self).strategy.root_device.type == "cuda",
        )


class LayerExtractor(LightningModule):
    """Predicts layer features with ``model.features(audio)``.

    If ``features`` also takes ``length``, it receives the number of samples of each clip without
    padding.
    """

    def __init__(
        self, model: LightningModule, layers: list[str], widths: dict[str, int] | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.layers = layers
        self.widths = widths
        takes = inspect.signature(model.features).parameters  # type: ignore[arg-type] # a method
        self.takes_length = "length" in takes

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the layers of a batch in float32."""
        more = {"length": batch["length"]} if self.takes_length else {}
        audio = batch["audio"]
        values = check_features(
            self.model,
            self.model.features(audio, **more),  # type: ignore[operator] # a method
            audio,
            self.widths,
        )
        self.widths = {name: layer.shape[1] for name, layer in values.items()}
        return {name: values[name].float() for name in self.layers}


class PartWriter(Callback):
    """Saves each part as soon as its last clip is computed."""

    def __init__(self, plan: ExtractionPlan, layers: list[str], per_clip: bool) -> None:
        self.plan = plan
        self.layers = layers
        self.per_clip = per_clip
        self.waiting: list[dict[str, np.ndarray]] = []
        self.part = 0

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the features of a batch and save completed parts."""
        share: RankParts = trainer.datamodule  # type: ignore[attr-defined]
        columns = {name: batch[name].cpu().numpy() for name in ("track", "clip", "start", "broken")}
        columns |= {f"layer.{name}": outputs[name].cpu().numpy() for name in self.layers}
        self.waiting.append(columns)
        while self.part < len(share.parts):
            number = share.parts[self.part]
            size = int(self.plan.bounds[number + 1] - self.plan.bounds[number])
            if sum(len(rows["track"]) for rows in self.waiting) < size:
                return
            rows = {n: np.concatenate([rows[n] for rows in self.waiting]) for n in columns}
            self._write(number, {name: values[:size] for name, values in rows.items()})
            self.waiting = [{name: values[size:] for name, values in rows.items()}]
            self.part += 1

    def _write(self, number: int, rows: dict[str, np.ndarray]) -> None:
        broken = np.unique(rows.pop("broken"))
        broken = broken[broken >= 0]
        # Skip tracks with a broken clip.
        whole = ~np.isin(rows["track"], [-1, *broken])
        rows = {name: values[whole] for name, values in rows.items()}
        if not self.per_clip and len(rows["track"]):
            rows = _mean_by_track(rows)
        path = self.plan.part_path(number)
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **rows, broken=broken)  # type: ignore[arg-type] # all are arrays


def _mean_by_track(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Average the clips of each track, which must be consecutive."""
    tracks, firsts, counts = np.unique(rows["track"], return_index=True, return_counts=True)
    means = {
        name: (np.add.reduceat(values.astype(np.float64), firsts, axis=0) / counts[:, None]).astype(
            np.float32
        )
        for name, values in rows.items()
        if name.startswith("layer.")
    }
    return {"track": tracks, "clip": rows["clip"][firsts], "start": rows["start"][firsts], **means}


def _reader(data: AudioDataModule, resampling: Resampling) -> Any:
    if resampling == "fast":
        return data.reader()
    return FileReader(
        data.tracks["path"].tolist(),
        data.tracks["length"].to_numpy(),
        data.sample_rate,
        data.channel,
        data.tracks["offset"].to_numpy(),
        resampling,
    )


def _hash_audio(data: AudioDataModule, resampling: Resampling, check: Check) -> str:
    """Hash the tracks with their targets and the content of their files."""
    paths = data.tracks["path"].unique().tolist()
    packed = data.store_checksums(paths) if resampling == "fast" else None
    digests = hash_files(paths, check) if packed is None else packed
    files = data.tracks["path"].map(dict(zip(paths, digests, strict=True)))
    tracks = data.tracks.assign(path=files).to_json(double_precision=15)
    return hash_values(list(data.labels), data.task, packed is not None, tracks)


def _is_intact(part: Path) -> bool:
    try:
        with zipfile.ZipFile(part) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _trainer(share: RankParts) -> Trainer:
    if share.trainer is None:
        raise RuntimeError("RankParts needs a trainer")
    return share.trainer


def _hash_weights(model: LightningModule) -> str:
    """Hash a model's class, hyperparameters and weights."""
    values: list[Any] = [type(model).__qualname__, dict(model.hparams)]
    for name, value in model.state_dict().items():
        # View as bytes, because NumPy has no bfloat16.
        weights = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        values += [name, str(value.dtype), list(value.shape), weights]
    return hash_values(*values)


def _check_trained(ckpt: str, name: str, unit: str, given: float | None, trained: float) -> None:
    if given is not None and abs(given - trained) > 1e-6 * trained:
        raise MgcError(
            f"{name}={given:g} {unit}, but {ckpt} was trained with {trained:g} {unit}. "
            f"Omit --{name}."
        )


def extract(
    audio: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | AudioDataModule,
    model: str | os.PathLike[str] | LightningModule,
    out: str | os.PathLike[str] | None = None,
    *,
    layers: str = "all",
    data: str | None = None,
    data_args: dict[str, Any] | None = None,
    model_args: dict[str, Any] | None = None,
    seed: int = 0,
    sample_rate: int | None = None,
    clip_seconds: float | None = None,
    hop_seconds: float | None = None,
    resampling: Resampling | None = None,
    per_clip: bool = False,
    keep_split: bool = False,
    batch_size: int | None = None,
    num_workers: int = 0,
    accelerator: str = "auto",
    devices: int | str | None = None,
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Literal["32", "bf16", "16"] = "32",
    check: Check = "sampled",
) -> FeatureTable:
    """Extract layer features from audio.

    Example:
        >>> mgc.extract("music/", "best.ckpt", layers="all")
        >>> mgc.extract("data/gtzan", "mfcc", data="gtzan")
        >>> mgc.extract(GTZAN("data/gtzan"), mgc.load("best.ckpt"), per_clip=True)

    Args:
        audio: Audio files and folders; the folder of the dataset named by ``data``; or a data
            module, which defines clips and batches.
        model: Checkpoint; name of a registered model, which has random weights; or a model with
            ``features(audio)``, which stays in evaluation mode.
        out: Parquet file to write. An interrupted run resumes from it. If settings or the content
            of files have changed, it is written again. By default, nothing is written.
        layers: ``all``, digits that count layers from 1 (``135``), or names separated by commas.
        data: Name of the dataset. Without it, features have no labels.
        data_args: Arguments of the dataset.
        model_args: Arguments of a registered model.
        seed: Seed of random weights.
        sample_rate: Sample rate in Hz. Default: that of the model, else 12000.
        clip_seconds: Length of a clip. Default: that of the checkpoint, else 29.
        hop_seconds: Distance between the starts of clips. Default: ``clip_seconds``.
        resampling: ``fast`` as for training, or ``best``. Default: that of the checkpoint, else
            ``best``; for a data module ``fast``.
        per_clip: Return a row per clip, with ``clip`` and ``start`` in seconds.
        keep_split: Include the split even if it was drawn at random.
        batch_size: Clips per batch and device. Default: 32; about 30 s of audio on a CPU.
        num_workers: Processes per device that read clips.
        accelerator: ``auto``, ``cpu``, ``gpu`` and so on, as in Lightning.
        devices: Number of devices, or ``auto`` for all. Default: ``auto``; 1 without ``out``.
        num_nodes: Number of machines, which must share the folder of ``out``.
        strategy: Lightning's strategy for several devices.
        precision: Number format of the network; ``bf16`` and ``16`` are mixed precision.
        check: How to find changed files (see :mod:`mgc.core.fingerprint`).

    Raises:
        MgcError: If arguments contradict each other, or no file is readable.
    """
    options = {
        key: value for key, value in locals().items() if key not in ("audio", "model", "out")
    }
    if out is None:
        options["devices"] = 1 if devices is None else devices
        with TemporaryDirectory() as folder:
            return extract(audio, model, Path(folder, "features.parquet"), **options)
    options["devices"] = "auto" if devices is None else devices
    files: AudioDataModule | list[str]
    if isinstance(audio, AudioDataModule):
        files = audio
    else:
        paths = [audio] if isinstance(audio, str | os.PathLike) else audio
        files = [os.fspath(path) for path in paths]
    if isinstance(model, LightningModule):
        options["model"] = model
    else:
        is_file = Path(model).is_file() or Path(model).suffix == ".ckpt"
        options["ckpt" if is_file else "model"] = os.fspath(model)
    extract_audio(files, os.fspath(out), **options)
    return FeatureTable.load(out)


@writes_file("out")
def extract_audio(
    audio: list[str] | AudioDataModule,
    out: str,
    ckpt: str | None = None,
    model: str | LightningModule | None = None,
    model_args: dict[str, Any] | None = None,
    seed: int = 0,
    data: str | None = None,
    data_args: dict[str, Any] | None = None,
    layers: str = "all",
    sample_rate: int | None = None,
    clip_seconds: float | None = None,
    hop_seconds: float | None = None,
    resampling: Resampling | None = None,
    per_clip: bool = False,
    keep_split: bool = False,
    batch_size: int | None = None,
    num_workers: int = 0,
    accelerator: str = "auto",
    devices: int | str = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Literal["32", "bf16", "16"] = "32",
    check: Check = "sampled",
) -> None:
    """Extract layer features and write a table (see :func:`extract` and ``mgc extract``)."""
    # Hide Lightning's messages about unused hardware.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    # Lightning 2.6 calls a function that is deprecated in torch 2.12.
    warnings.filterwarnings("ignore", message=r".*LeafSpec.*deprecated")
    if ckpt is None and model is None:
        raise MgcError("Give a checkpoint (--ckpt) or the name of a model (--model).")
    if model_args and (ckpt or not isinstance(model, str)):
        raise MgcError("--model_args needs the name of a model (--model) and no checkpoint.")
    if (data_args or keep_split) and not data:
        raise MgcError("--data_args and --keep_split need the name of a dataset (--data).")
    if isinstance(audio, AudioDataModule):
        if data or sample_rate or clip_seconds or hop_seconds or batch_size:
            raise MgcError(
                "A data module defines clips and batches. Omit data, sample_rate, clip_seconds, "
                "hop_seconds and batch_size."
            )
        sample_rate, clip_seconds = audio.sample_rate, audio.clip_samples / audio.sample_rate
        resampling = resampling or "fast"  # as in training
    if ckpt is None and isinstance(model, str):
        sample_rate = sample_rate or SAMPLE_RATE
    network, about, source = _open_model(ckpt, model, model_args or {}, seed, sample_rate, check)
    as_trained: dict[str, Any] = {}
    if about:
        place = ckpt or type(network).__name__
        if not about["clip_seconds"]:
            raise MgcError(f"{place}: the model does not take audio.")
        rate, seconds = about["sample_rate"], about["clip_seconds"]
        _check_trained(place, "sample_rate", "Hz", sample_rate, rate)
        _check_trained(place, "clip_seconds", "s", clip_seconds, seconds)
        resampling = resampling or about.get("resampling", "fast")
        as_trained = {name: about[name] for name in ("channel", "short") if name in about}
    else:
        rate = sample_rate or network.hparams.get("sample_rate") or SAMPLE_RATE
        seconds, resampling = clip_seconds or CLIP_SECONDS, resampling or "best"
    widths = probe_layers(network, round(seconds * rate))
    chosen = choose_layers(layers, widths)
    if batch_size is None:
        on_cpu = accelerator == "cpu" or (
            accelerator == "auto" and not torch.accelerator.is_available()
        )
        batch_size = max(1, int(30 / seconds)) if on_cpu else 32
    settings = {
        "sample_rate": rate,
        "clip_seconds": seconds,
        "hop_seconds": hop_seconds,
        "batch_size": batch_size,
        "num_workers": num_workers,
    }
    if isinstance(audio, AudioDataModule):
        tracks = audio
        tracks.setup("test")
    else:
        tracks = open_data(audio, data, as_trained | (data_args or {}), settings)
    trainer = {
        "accelerator": accelerator,
        "devices": int(devices) if str(devices).isdecimal() else devices,
        "num_nodes": num_nodes,
        "strategy": strategy,
        "precision": PRECISION[precision],
    }
    source["precision"] = precision
    broken = extract_features(
        network,
        chosen,
        tracks,
        out,
        source,
        resampling,
        per_clip,
        keep_split,
        trainer,
        widths,
        check,
    )
    if not is_global_zero():
        return
    log.info(
        "%d tracks, %d could not be read; %d features per track (%s): %s",
        (~tracks.tracks["track"].isin(list(broken))).sum(),
        len(broken),
        sum(widths[name] for name in chosen),
        ", ".join(chosen),
        out,
    )


def _open_model(
    ckpt: str | None,
    model: str | LightningModule | None,
    model_args: dict[str, Any],
    seed: int,
    sample_rate: int | None,
    check: Check,
) -> tuple[LightningModule, dict[str, Any] | None, dict[str, Any]]:
    """Return the model, the description in its checkpoint, and its entries in ``source``."""
    about: dict[str, Any] | None = None
    if ckpt:
        given = model if isinstance(model, str) else None
        network, about = checkpoint.read_model(ckpt, model=given)
        digest = hash_file(ckpt, check, content_only=True)
        return network, about, {"model": about["class_path"], "checkpoint": ckpt, "sha256": digest}
    if isinstance(model, LightningModule):
        network, about = model, getattr(model, checkpoint.DESCRIPTION, None)
        details: dict[str, Any] = {"sha256": _hash_weights(model)}
    else:
        network = make_model(str(model), sample_rate or SAMPLE_RATE, model_args, seed)
        used = untrained_arguments(str(model)) | model_args
        details = {"model_args": used, "seed": seed, "files": hash_inputs(used, check)}
    kind = path_of(type(network))
    return network, about, {"model": kind, "checkpoint": None, **details}
