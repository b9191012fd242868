"""Features of all tracks, from a model: on any number of devices, and resumable.

Tracks are divided into parts of neighbours. Devices share the parts; one that finishes a part
writes it to ``<out>.parts`` and goes on. In the end the parts become one table. So each track is
computed once however many devices there are, nothing is gathered between them, and a run that is
killed goes on from its last part.
"""

import hashlib
import inspect
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

import mgc
from mgc import checkpoint
from mgc.checkpoint import digest_of
from mgc.core.launching import errors_of_processes
from mgc.core.parquet import read_parquet
from mgc.core.stopping import signals
from mgc.core.writing import replacing
from mgc.data.audio import Resampling
from mgc.data.base import AudioDataModule
from mgc.data.clips import Batch, ClipDataset, FileReader, keep_batch
from mgc.errors import MgcError
from mgc.transfer.feature_table import FeatureTable
from mgc.transfer.inputs import make_model, open_data

log = logging.getLogger(__name__)

#: A run has about this many parts, so that several devices share them evenly.
PARTS = 256
#: Tracks of a part: an interrupted run loses that many per device.
PART_TRACKS = (4, 256)

SETTINGS = "settings.json"


def choose_layers(text: str, widths: dict[str, int]) -> list[str]:
    """Turn a word of the command line into names of layers.

    Args:
        text: ``all``, digits that count the model's layers from 1 (``135``), or names with commas.
        widths: Width of each layer that the model offers, in order.

    Returns:
        Names of layers.

    Raises:
        MgcError: If the model lacks one of them.
    """
    names = list(widths)
    if text == "all":
        return names
    wanted = [word.strip() for word in text.split(",")]
    if text.isdecimal() and text not in names:
        wanted = [names[int(d) - 1] if 0 < int(d) <= len(names) else d for d in text]
    for name in wanted:
        if name not in names:
            raise MgcError(f"layers={text}: there is no layer {name}. The model has {names}.")
    return list(dict.fromkeys(wanted))


def probe_layers(model: LightningModule, clip_samples: int) -> dict[str, int]:
    """Ask a model for its layers, with a silent clip.

    Args:
        model: The model, on the CPU.
        clip_samples: Length of a clip.

    Returns:
        Width of each layer, in order.

    Raises:
        MgcError: If the model offers no features.
    """
    name = type(model).__name__
    if not hasattr(model, "features"):
        raise MgcError(f"{name} offers no features: it has no method features(audio).")
    if getattr(model, "kind", "audio") != "audio":
        raise MgcError(f"{name} takes {model.kind}, but features are computed of audio.")
    with torch.inference_mode():
        layers = model.eval().features(torch.zeros(1, clip_samples))  # type: ignore[operator] # a method
    if not isinstance(layers, dict) or any(v.ndim != 2 for v in layers.values()):
        raise MgcError(f"{name}.features must return a dictionary of tensors (batch, width).")
    return {name: values.shape[1] for name, values in layers.items()}


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
) -> dict[str, str]:
    """Compute the features of all tracks of a data set and write them as a table.

    A track's features are the means over its clips, which begin at every hop.

    Args:
        model: Model with ``features(audio)``.
        layers: Names of the layers to keep.
        data: Data module whose :meth:`setup` has run.
        out: Parquet file to write.
        source: Plain values that tell where the features come from. A table, or parts of one, with
            other values here are not those asked for, and are computed anew.
        resampling: How carefully rates are changed. A packed store, which is resampled ``fast``,
            is not used for ``best``.
        per_clip: Write a row for each clip, with ``clip`` and ``start`` in seconds, in place of
            one for each track.
        keep_split: Write which split each track is in even if it was drawn at random.
        trainer: Arguments of Lightning's trainer: ``accelerator``, ``devices``, ``precision``, ….

    Returns:
        Why tracks are not in the table, by name.

    Raises:
        MgcError: If none of the tracks can be read, or the trainer cannot be made.
    """
    out = Path(out)
    source = source | {"layers": layers, "per_clip": per_clip, "keep_split": keep_split}
    work = Work(out, data, source, resampling)
    if work.is_finished():
        log.info("%s: these features are there already.", out)
        return work.broken()
    try:
        runner = Trainer(
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty(),
            # Every device has parts of its own.
            use_distributed_sampler=False,
            callbacks=[PartWriter(work, layers, per_clip)],
            **(trainer or {}),
        )
    except (MisconfigurationException, ValueError) as error:
        raise MgcError(f"{error} Check --accelerator, --devices and --strategy.") from error
    signals.watch(runner)
    with errors_of_processes():
        runner.predict(LayerExtractor(model, layers), WorkShare(work), return_predictions=False)
    runner.strategy.barrier("parts")
    if runner.is_global_zero:
        work.merge(layers, per_clip)
    runner.strategy.barrier("table")
    return work.broken()


class Work:
    """What there is to compute, and what is computed already.

    Attributes:
        dataset: All clips of all tracks, in order.
        bounds: First clip of each part, and the number of clips, of shape (parts + 1,).
    """

    def __init__(
        self,
        out: Path,
        data: AudioDataModule,
        source: dict[str, Any],
        resampling: Resampling,
    ) -> None:
        """Divide tracks into parts.

        Args:
            out: File that the table goes to.
            data: Data module with tracks.
            source: Where the features come from.
            resampling: How carefully rates are changed.
        """
        self.out = out
        self.folder = out.with_name(f"{out.name}.parts")
        self.data = data
        tracks = len(data.tracks)
        self.dataset = ClipDataset(
            _reader(data, resampling),
            np.arange(tracks),
            data.targets(),
            data.clip_samples,
            data.hop_samples,
            data.short,
        )
        size = int(np.clip(-(-tracks // PARTS), *PART_TRACKS))
        firsts = np.arange(0, tracks, size)
        self.bounds = np.append(np.searchsorted(self.dataset.tracks, firsts), len(self.dataset))
        self.source = source | {
            "data": f"{type(data).__module__}.{type(data).__qualname__}",
            "split": data.split,
            "sample_rate": data.sample_rate,
            "clip_seconds": data.clip_samples / data.sample_rate,
            "hop_seconds": data.hop_samples / data.sample_rate,
            "channel": data.channel,
            "short": data.short,
            "resampling": resampling,
            "version": mgc.__version__,
        }
        self.source["fingerprint"] = _fingerprint(self.source, data.tracks)

    def is_finished(self) -> bool:
        """Whether the table is there, of these very features."""
        if not self.out.is_file():
            return False
        try:
            _, meta = read_parquet(self.out)
        except MgcError:
            return False
        return meta.get("source", {}).get("fingerprint") == self.source["fingerprint"]

    def prepare(self) -> None:
        """Make the folder of parts, empty unless its parts are of these very features."""
        settings = self.folder / SETTINGS
        if self.folder.exists() and not (
            settings.is_file() and settings.read_text(encoding="utf-8") == self._settings()
        ):
            log.info("%s: of other settings or other files, so computed anew.", self.folder)
            shutil.rmtree(self.folder)
        with replacing(settings) as partial:
            partial.write_text(self._settings(), encoding="utf-8")

    def part_path(self, part: int) -> Path:
        """File of a part."""
        return self.folder / f"part-{part:05}.npz"

    def pending(self) -> list[int]:
        """Parts that are not finished."""
        parts = range(len(self.bounds) - 1)
        return [part for part in parts if not self.part_path(part).is_file()]

    def merge(self, layers: list[str], per_clip: bool) -> None:
        """Turn all parts into the table, and remove them."""
        parts = [np.load(self.part_path(part)) for part in range(len(self.bounds) - 1)]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0].files}
        broken = dict(self.data.broken)
        for track in self.data.tracks["track"].iloc[whole["broken"]]:
            broken[str(track)] = "cannot be decoded to its end"
            log.warning("Left out: %s: %s", track, broken[str(track)])
        if not len(whole["track"]):
            raise MgcError(f"{self.data.root}: none of the files can be read.")
        rows = self._describe(whole["track"])
        if per_clip:
            rows.insert(1, "clip", whole["clip"])
            rows.insert(2, "start", whole["start"] / self.data.sample_rate)
        values = {name: whole[f"layer.{name}"] for name in layers}
        for name, layer in values.items():
            lost = int((~np.isfinite(layer)).any(axis=1).sum())
            if lost:
                log.warning("%s: %d rows hold values that are not finite.", name, lost)
        source = self.source | {"broken": broken}
        FeatureTable(rows, values, self.data.task, self.data.labels, source).save(self.out)
        shutil.rmtree(self.folder)

    def broken(self) -> dict[str, str]:
        """Why tracks are not in the table."""
        broken: dict[str, str] = read_parquet(self.out)[1]["source"]["broken"]
        return broken

    def _describe(self, index: np.ndarray) -> pd.DataFrame:
        tracks = self.data.tracks.iloc[index].reset_index(drop=True)
        rows = tracks[["track", "group"]].copy()
        # Splits that are drawn at random are not the data set's, but may be the model's.
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


class WorkShare(LightningDataModule):
    """The clips of one device's share of the unfinished parts."""

    # With fewer unfinished parts than devices, some have nothing to do.
    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(self, work: Work) -> None:
        """Initialize without a share."""
        super().__init__()
        self.work = work
        self.parts: list[int] = []

    def prepare_data(self) -> None:
        """Keep the finished parts, or remove those of other settings."""
        self.work.prepare()

    def setup(self, stage: str) -> None:
        """Take every so-manyth unfinished part."""
        trainer = _trainer(self)
        pending = self.work.pending()
        done = len(self.work.bounds) - 1 - len(pending)
        if done and trainer.is_global_zero:
            log.info("%d of %d parts are there already.", done, done + len(pending))
        # Nobody writes a part before everybody has looked.
        trainer.strategy.barrier("pending")
        self.parts = pending[trainer.global_rank :: trainer.world_size]

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Load the clips in order."""
        data, bounds = self.work.data, self.work.bounds
        clips = [i for part in self.parts for i in range(bounds[part], bounds[part + 1])]
        return DataLoader(
            self.work.dataset,
            batch_size=data.batch_size,
            sampler=[(0, i) for i in clips],
            num_workers=data.num_workers,
            collate_fn=keep_batch,  # type: ignore[arg-type] # the data set gives whole batches
            pin_memory=_trainer(self).strategy.root_device.type == "cuda",
        )


class LayerExtractor(LightningModule):
    """Computes some layers of a model in place of its decisions."""

    def __init__(self, model: LightningModule, layers: list[str]) -> None:
        """Initialize with a model.

        Args:
            model: Model with ``features(audio)``; where it takes ``length`` as well, it learns how
                many samples of each clip are no padding.
            layers: Names of the layers to keep.
        """
        super().__init__()
        self.model = model
        self.layers = layers
        takes = inspect.signature(model.features).parameters  # type: ignore[arg-type] # a method
        self.takes_length = "length" in takes

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Compute the layers of a batch, in float32."""
        more = {"length": batch["length"]} if self.takes_length else {}
        values = self.model.features(batch["audio"], **more)  # type: ignore[operator] # a method
        return {name: values[name].float() for name in self.layers}


class PartWriter(Callback):
    """Writes every part as soon as its last clip is computed."""

    def __init__(self, work: Work, layers: list[str], per_clip: bool) -> None:
        """Initialize with nothing computed."""
        self.work = work
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
        """Keep the features of a batch, and write the parts that it completes."""
        share: WorkShare = trainer.datamodule  # type: ignore[attr-defined]
        columns = {name: batch[name].cpu().numpy() for name in ("track", "clip", "start", "broken")}
        columns |= {f"layer.{name}": outputs[name].cpu().numpy() for name in self.layers}
        self.waiting.append(columns)
        while self.part < len(share.parts):
            number = share.parts[self.part]
            size = int(self.work.bounds[number + 1] - self.work.bounds[number])
            if sum(len(rows["track"]) for rows in self.waiting) < size:
                return
            rows = {n: np.concatenate([rows[n] for rows in self.waiting]) for n in columns}
            self._write(number, {name: values[:size] for name, values in rows.items()})
            self.waiting = [{name: values[size:] for name, values in rows.items()}]
            self.part += 1

    def _write(self, number: int, rows: dict[str, np.ndarray]) -> None:
        broken = np.unique(rows.pop("broken"))
        broken = broken[broken >= 0]
        # A track is left out if one of its clips is broken.
        whole = ~np.isin(rows["track"], [-1, *broken])
        rows = {name: values[whole] for name, values in rows.items()}
        if not self.per_clip and len(rows["track"]):
            rows = _mean_by_track(rows)
        path = self.work.part_path(number)
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **rows, broken=broken)  # type: ignore[arg-type] # all are arrays


def _mean_by_track(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Means over the clips of each track; the clips of a track follow one another."""
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


def _fingerprint(source: dict[str, Any], tracks: pd.DataFrame) -> str:
    """Digest of all that the features depend on: settings, tracks and the state of their files."""
    digest = hashlib.sha256(json.dumps(source, sort_keys=True).encode())
    for path in tracks["path"].unique():
        try:
            stat = os.stat(path)
        except FileNotFoundError:  # its audio is in a packed store
            continue
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    digest.update(tracks.drop(columns="path").to_json().encode())
    return digest.hexdigest()


def _trainer(share: WorkShare) -> Trainer:
    if share.trainer is None:
        raise RuntimeError("used without a trainer")
    return share.trainer


#: Setting of Choi et al. (2017), used where no checkpoint gives another: rate in Hz, length in s.
SAMPLE_RATE = 12000


CLIP_SECONDS = 29.0


PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def _digest_weights(model: LightningModule) -> str:
    """Digest of the class, the hyperparameters and the weights of a model."""
    settings = json.dumps(dict(model.hparams), sort_keys=True, default=str)
    digest = hashlib.sha256(f"{type(model).__qualname__}{settings}".encode())
    for name, value in model.state_dict().items():
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        # Any number format, bfloat16 too, which NumPy lacks.
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _refuse_other(ckpt: str, name: str, unit: str, given: float | None, trained: float) -> None:
    if given is not None and abs(given - trained) > 1e-6 * trained:
        raise MgcError(
            f"{name}={given:g} {unit}, but {ckpt} was trained with {trained:g} {unit}. "
            f"Leave --{name} out."
        )


def extract(
    audio: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | AudioDataModule,
    model: str | os.PathLike[str] | LightningModule,
    out: str | os.PathLike[str] | None = None,
    **options: Any,
) -> FeatureTable:
    """Compute the features of music with a model.

    Example:
        >>> mgc.extract("music/", "best.ckpt", layers="all")
        >>> mgc.extract("data/gtzan", "mfcc", data="gtzan")
        >>> mgc.extract(GTZAN("data/gtzan"), mgc.load("best.ckpt"), per_clip=True)

    Args:
        audio: Audio files and folders of them; the folder of the data set that the option ``data``
            names; or a data module, whose clips are used.
        model: Checkpoint, name of a registered model, which has random weights, or a model with
            ``features(audio)``, which is left in evaluation mode.
        out: Parquet file to write. An interrupted run resumes from it. By default nothing is
            written.
        **options: Options of ``mgc extract``: ``data``, ``data_args``, ``model_args``, ``layers``,
            ``sample_rate``, ``clip_seconds``, ``hop_seconds``, ``resampling``, ``per_clip``,
            ``keep_split``, ``batch_size``, ``num_workers``, ``accelerator``, ``devices``,
            ``precision`` and so on. Without ``out``, one device is the default.

    Returns:
        The features.

    Raises:
        MgcError: If settings contradict each other, or nothing can be read.
    """
    if out is None:
        with TemporaryDirectory() as folder:
            path = Path(folder, "features.parquet")
            return extract(audio, model, path, **{"devices": 1, **options})
    files: AudioDataModule | list[str]
    if isinstance(audio, AudioDataModule):
        files = audio
    else:
        paths = [audio] if isinstance(audio, str | os.PathLike) else audio
        files = [os.fspath(path) for path in paths]
    given: dict[str, Any] = {"model": model}
    if not isinstance(model, LightningModule):
        path = Path(model)
        is_file = path.is_file() or path.suffix == ".ckpt"
        given = {"ckpt" if is_file else "model": os.fspath(model)}
    extract_audio(files, os.fspath(out), **given, **options)
    return FeatureTable.load(out)


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
    resampling: Literal["fast", "best"] | None = None,
    per_clip: bool = False,
    keep_split: bool = False,
    batch_size: int | None = None,
    num_workers: int = 0,
    accelerator: str = "auto",
    devices: int | str = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Literal["32", "bf16", "16"] = "32",
) -> None:
    """Compute the features of music with a trained or a random model, and write their table.

    Arguments are those of ``mgc extract``; ``audio`` may also be a data module, and ``model`` a
    model.

    Raises:
        MgcError: If settings contradict each other, or nothing can be read.
    """
    # The hardware that it did not find, and advertising.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    # Lightning 2.6 calls a function that torch 2.12 calls deprecated.
    warnings.filterwarnings("ignore", message=r".*LeafSpec.*deprecated")
    if (ckpt is None) == (model is None):
        raise MgcError("Give a checkpoint (--ckpt FILE) or the name of a model (--model NAME).")
    if ckpt and model_args:
        raise MgcError("--model_args belong to --model; a checkpoint holds its own.")
    if (data_args or keep_split) and not data:
        raise MgcError("--data_args and --keep_split belong to --data: name the data set.")
    if isinstance(audio, AudioDataModule):
        if data or sample_rate or clip_seconds or hop_seconds or batch_size:
            raise MgcError(
                "A data module has its own clips and batches: leave out data, sample_rate, "
                "clip_seconds, hop_seconds and batch_size."
            )
        sample_rate, clip_seconds = audio.sample_rate, audio.clip_samples / audio.sample_rate
        resampling = resampling or "fast"  # as in training

    source: dict[str, Any] = {"precision": precision}
    network: LightningModule | None = None
    about: dict[str, Any] | None = None
    if ckpt:
        network, about = checkpoint.read_model(ckpt)
        source |= {"model": about["class_path"], "checkpoint": ckpt, "sha256": digest_of(ckpt)}
    elif isinstance(model, LightningModule):
        if model_args:
            raise MgcError("model_args belong to the name of a model.")
        network, about = model, getattr(model, checkpoint.DESCRIPTION, None)
        source |= {
            "model": f"{type(model).__module__}.{type(model).__qualname__}",
            "checkpoint": None,
            "sha256": _digest_weights(model),
        }
    if about and network is not None:
        place = ckpt or type(network).__name__
        if not about["clip_seconds"]:
            raise MgcError(f"{place}: the model does not take audio.")
        rate, seconds = about["sample_rate"], about["clip_seconds"]
        _refuse_other(place, "sample_rate", "Hz", sample_rate, rate)
        _refuse_other(place, "clip_seconds", "s", clip_seconds, seconds)
        resampling = resampling or about.get("resampling", "fast")
        as_trained = {name: about[name] for name in ("channel", "short") if name in about}
    elif network is not None:
        rate = sample_rate or network.hparams.get("sample_rate") or SAMPLE_RATE
        seconds, resampling, as_trained = clip_seconds or CLIP_SECONDS, resampling or "best", {}
    else:
        rate, seconds = sample_rate or SAMPLE_RATE, clip_seconds or CLIP_SECONDS
        resampling = resampling or "best"
        as_trained = {}
        network = make_model(str(model), rate, model_args or {}, seed)
        kind = type(network)
        source |= {
            "model": f"{kind.__module__}.{kind.__qualname__}",
            "checkpoint": None,
            "model_args": model_args or {},
            "seed": seed,
        }
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
    broken = extract_features(
        network,
        chosen,
        tracks,
        out,
        source,
        resampling,
        per_clip,
        keep_split,
        {
            "accelerator": accelerator,
            "devices": int(devices) if str(devices).isdecimal() else devices,
            "num_nodes": num_nodes,
            "strategy": strategy,
            "precision": PRECISION[precision],
        },
    )
    if getattr(rank_zero_only, "rank", 0):
        return  # one process speaks for all
    width = sum(widths[name] for name in chosen)
    log.info(
        "%d tracks, %d could not be read; %d numbers each, of %s: %s",
        (~tracks.tracks["track"].isin(list(broken))).sum(),
        len(broken),
        width,
        ", ".join(chosen),
        out,
    )
