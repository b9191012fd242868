"""Base classes of all data modules.

A data set is one class in one file. It defines ``labels`` and ``task`` and lists its tracks in
:meth:`MusicDataModule.read_catalogue`. Splits, clips, loaders and the handling of broken files are
implemented here.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mgc.core.description import Short, check_clips
from mgc.core.fingerprint import Check
from mgc.core.forking import release_threads_before_forks
from mgc.core.launching import compute_on_rank_zero, is_global_zero
from mgc.core.ranges import (
    BatchSize,
    CheckedArguments,
    Probability,
    Range,
    SampleRate,
    Seconds,
    Seed,
    Workers,
    check_choice,
)
from mgc.data import audio, contract
from mgc.data.clips import Batch, ClipDataset, EpochSampler, FileReader, TrackReader, keep_batch
from mgc.data.corrections import correct
from mgc.data.download import Source
from mgc.data.file_names import find_name, find_names
from mgc.data.loading import ResumableLoader, ignore_stop_signals
from mgc.data.recordings import (
    describe_copies,
    find_copies,
    group_copies,
    warn_about_divided_copies,
)
from mgc.data.split_checks import check_split
from mgc.data.splits import TEST, TRAIN, VAL, assign_folds, split_by_best_fold, split_by_fold
from mgc.data.store import PackedStore, find_store, pack, store_folder
from mgc.data.verification import Problem, Progress, verify_audio, verify_counts
from mgc.errors import MgcError
from mgc.task import Task

log = logging.getLogger(__name__)

release_threads_before_forks()

#: Splits that each stage of Lightning needs.
STAGES = {
    "fit": (TRAIN, VAL),
    "validate": (VAL,),
    "test": (TEST,),
    "predict": (TRAIN, VAL, TEST),
    None: (TRAIN, VAL, TEST),
}


@dataclass(frozen=True)
class PackResult:
    """Result of packing a data set.

    If it is not ``finished``, parts of other machines are missing. ``broken`` has the reason for
    each unreadable file, by path relative to the data set's folder.
    """

    folder: Path
    finished: bool
    summary: str = ""
    broken: dict[str, str] = field(default_factory=dict)


Packed = PackResult  # old name, removed in 0.2


class MusicDataModule(CheckedArguments, LightningDataModule):
    """Base class for tracks with genres, tags or ratings.

    ``labels``, ``num_classes``, ``task`` and ``sample_rate`` depend only on the constructor's
    arguments. No file is read before :meth:`setup`.

    Args:
        root: Folder with the data set.
        split: How to split the tracks. ``stratified``: 80 % train, 10 % validation and 10 % test,
            balanced over the classes. ``fold``: test on one fold, validate on the next. Both keep
            groups of tracks (duplicates, or an artist's tracks) together. Some data sets have more:
            ``given`` is the official split, ``fold_ungrouped`` ignores the groups, as some papers
            do.
        fold: Index of the test fold, from 0.
        folds: Number of folds, unless the data set defines them.
        seed: Seed of the split, the order and the random clips.
        batch_size: Clips per batch and device.
        num_workers: Number of reader processes per device; 0 reads in the training process.
        max_broken: Maximum share of unreadable tracks. With more, the run stops before training.
        train_on_val: Whether the validation tracks are for training, too, as in papers without
            validation: on nine of ten folds. The last epoch is then tested, and scores of
            validation tracks are no estimate: do not fuse systems by them.
        group_by: Tracks that random splits keep together: ``group`` (those of a group of the data
            set, such as an artist), or ``recording`` (also those with the same recording, found by
            their sound; see :mod:`mgc.data.recordings`).
        exclude: CSV file with a column ``track`` of tracks to exclude. If it has a column
            ``exclude``, as labels.csv of ``mgc report labels``, only those with ``yes`` there.
        relabel: CSV file with the columns ``track`` and ``label`` of tracks to relabel, such as
            labels.csv with corrected labels. Tags are separated by ``|``. Splits do not depend on
            ``exclude`` and ``relabel``.

    Attributes:
        labels: Names of the classes, tags or quantities, in target order.
        task: Type of the targets.
        kind: Content of a batch: ``audio``, or ``beats`` for beat-aligned features.
        sample_rate: Sample rate in Hz, 0 for data without audio.
        splits: Valid values of the ``split`` argument.
        given_splits: The splits whose test tracks are fixed by the data set. Feature tables keep
            them; other splits are random.
        ungrouped_splits: The splits that may divide groups, besides those of ``given_splits``.
        sources: Files to download; empty if the data set cannot be downloaded automatically. The
            class docstring then says where to get it, and describes the folder layout.
        copies: Pairs of tracks with the same recording, available after :meth:`load_catalogue` with
            ``group_by="recording"``.
        tracks: Catalogue with a ``split`` column and one row per readable track, available after
            :meth:`setup`. A batch's ``track`` is an index into it.
    """

    labels: tuple[str, ...] = ()
    task: Task = "multiclass"
    kind: ClassVar[str] = "audio"
    splits: ClassVar[tuple[str, ...]] = ("stratified", "fold")
    given_splits: ClassVar[tuple[str, ...]] = ()
    ungrouped_splits: ClassVar[tuple[str, ...]] = ("fold_ungrouped",)
    sources: ClassVar[tuple[Source, ...]] = ()
    sample_rate: int = 0
    tracks: pd.DataFrame
    copies: pd.DataFrame

    def __init__(
        self,
        root: str,
        split: str = "stratified",
        fold: Annotated[int, Range(0, 999)] = 0,
        folds: Annotated[int, Range(3, 1000)] = 10,
        seed: Seed = 0,
        batch_size: BatchSize = 32,
        num_workers: Workers = 0,
        max_broken: Probability = 0.01,
        train_on_val: bool = False,
        group_by: Literal["group", "recording"] = "group",
        exclude: str | None = None,
        relabel: str | None = None,
    ) -> None:
        super().__init__()
        check_choice(self.splits, split=split)
        self.root = Path(root)
        self.split = split
        self.fold = fold
        self.folds = folds
        self.seed = seed
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.max_broken = max_broken
        self.train_on_val = train_on_val
        self.group_by = group_by
        self.exclude = exclude
        self.relabel = relabel
        self.datasets: dict[str, Dataset[Batch]] = {}
        self.broken: dict[str, str] = {}

    @property
    def num_classes(self) -> int:
        """Number of classes, tags or quantities."""
        return len(contract.check_labels(self))

    def read_catalogue(self) -> pd.DataFrame:
        """List the tracks. Every data set implements this.

        Returns:
            One row per track: ``track`` (unique identifier), ``group`` (tracks of a group stay in
            one split), ``path`` (absolute), and the targets: ``label`` (class name), or one column
            ``target.<label>`` per label. Data sets with predefined folds add ``fold``; those with
            excerpts of files add ``begin`` and ``end`` in seconds.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement read_catalogue().")

    def load_catalogue(self) -> pd.DataFrame:
        """Read and check the catalogue, with groups as ``group_by`` says.

        Raises:
            MgcError: If it has no tracks, or is not as :meth:`read_catalogue` describes.
        """
        contract.check_constructed(self)
        catalogue = contract.check_catalogue(self, self.read_catalogue())
        if "path" in catalogue:
            catalogue["path"] = find_names(self.root, catalogue["path"])
        if self.group_by == "recording":
            self.copies = self.find_copies(catalogue)
            catalogue = group_copies(catalogue, self.copies)
        return catalogue

    def find_copies(self, catalogue: pd.DataFrame, show_progress: bool = False) -> pd.DataFrame:
        """Find tracks with the same recording (see :func:`mgc.data.recordings.find_copies`)."""
        raise MgcError(f"{type(self).__name__} has no audio files to find copies of recordings in.")

    def verify_copies(self, show_progress: bool = False) -> list[Problem]:
        """Find tracks with the same recording, also those that the split divides.

        Returns:
            A problem per pair (see :func:`mgc.data.recordings.describe_copies`).
        """
        catalogue = self.load_catalogue()
        grouped = self.group_by == "recording"
        copies = self.copies if grouped else self.find_copies(catalogue, show_progress)
        splits = contract.check_splits(self, catalogue, self.assign_split(catalogue))
        return describe_copies(catalogue.assign(split=splits), copies)

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Return ``train``, ``val`` or ``test`` per track; an empty string excludes the track."""
        if self.split == "fold" and "fold" in catalogue:
            return split_by_fold(catalogue["fold"].to_numpy(), self.fold)
        ungrouped = self.split == "fold_ungrouped"
        by_fold = ungrouped or self.split == "fold"
        targets = self._targets_of(catalogue)
        if self.task == "multiclass":
            present = np.eye(self.num_classes, dtype=bool)[targets]
        else:  # quantities are not stratified
            present = targets[:, : None if self.task == "multilabel" else 0] > 0
        groups = (catalogue["track"] if ungrouped else catalogue["group"]).to_numpy()
        folds = assign_folds(
            groups,
            self.folds if by_fold else min(10, max(3, len(set(groups)))),
            self.seed,
            classes=catalogue["label"].to_numpy() if self.task == "multiclass" else None,
            tags=present if self.task == "multilabel" else None,
        )
        if by_fold:
            return split_by_fold(folds, self.fold)
        return split_by_best_fold(folds, present)

    def check(self, catalogue: pd.DataFrame) -> dict[str, str]:
        """Return the reason for each unreadable track; may add columns to the catalogue."""
        raise NotImplementedError(f"{type(self).__name__} must implement check().")

    def make_dataset(self, split: str, random: bool) -> Dataset[Batch]:
        """Create the dataset of one split, with random clips for training if ``random``.

        It has the tracks of :meth:`select_rows`. Its ``__getitems__`` must map a list of (epoch,
        index) to a batch.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement make_dataset().")

    def select_rows(self, split: str, training: bool = False) -> np.ndarray:
        """Return the indices of a split's tracks; see ``train_on_val`` for those of training."""
        names = (TRAIN, VAL) if training and self.train_on_val else (split,)
        return np.flatnonzero(self.tracks["split"].isin(names))

    def expected_tracks(self) -> set[str]:
        """Return the tracks of a complete copy, or an empty set if unknown."""
        return set()

    def verify(self, progress: Progress = iter) -> list[Problem]:
        """Check a copy for missing, broken, silent, duplicate and unexpected files."""
        raise NotImplementedError(f"{type(self).__name__} must implement verify().")

    def pack(
        self, workers: int = 0, shard: tuple[int, int] = (0, 1), check: Check = "sampled"
    ) -> PackResult:
        """Decode the data set once, into a store that training reads at memory speed.

        ``shard`` is the index of this machine, from 0, and the number of machines. ``check`` is how
        changed files are found (see :mod:`mgc.core.fingerprint`).
        """
        raise MgcError(f"{type(self).__name__} cannot be packed.")

    def prepare_data(self) -> None:
        """Check that ``root`` exists, on one process."""
        self._check_root()

    def setup(self, stage: str | None = None) -> None:
        """Read the catalogue, exclude unreadable tracks and create the datasets of a stage.

        Raises:
            MgcError: If the data set is missing or empty, or has too many unreadable tracks.
        """
        first = not hasattr(self, "tracks")
        if first:
            self._check_root()
            self.tracks = self._read_tracks()
        for split in STAGES[stage]:
            if split not in self.datasets:
                if not (self.tracks["split"] == split).any():
                    raise MgcError(
                        f"{self.root}: split={self.split!r} leaves no tracks for {split}. "
                        "Use more data or another split."
                    )
                dataset = self.make_dataset(split, random=split == TRAIN)
                contract.require_type(self, dataset, Dataset, "make_dataset", "a Dataset")
                self.datasets[split] = dataset
        if self.labels and (first or stage == "fit"):
            check_split(self, STAGES[stage], fitting=stage == "fit")

    def targets(self) -> torch.Tensor:
        """Return class indices of shape (tracks,), or float32 of shape (tracks, labels)."""
        return torch.from_numpy(self._targets_of(self.tracks))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return a shuffled loader of the training split."""
        return self._make_loader(self.datasets[TRAIN], shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return a loader of the validation split."""
        return self._make_loader(self.datasets[VAL])

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return a loader of the test split."""
        return self._make_loader(self.datasets[TEST])

    def predict_dataloader(self) -> list[DataLoader[Batch]]:
        """Return one loader per split, unshuffled and without random clips."""
        present = [s for s in STAGES["predict"] if (self.tracks["split"] == s).any()]
        return [self._make_loader(self.make_dataset(split, random=False)) for split in present]

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Log each unreadable track once, on rank 0, and remove ``broken`` from the batch."""
        broken = batch.pop("broken", None)
        if broken is not None:
            for row in broken[broken >= 0].tolist():
                track = self.tracks.iloc[row]
                name = str(track["track"])
                if name in self.broken:
                    continue
                self.broken[name] = "unreadable"
                if is_global_zero():
                    log.warning(
                        "%s: unreadable, skipped (%d tracks so far).",
                        track.get("path", name),
                        len(self.broken),
                    )
        return batch

    def _targets_of(self, catalogue: pd.DataFrame) -> np.ndarray:
        if self.task == "multiclass":
            index = {label: i for i, label in enumerate(self.labels)}
            return np.array([index[label] for label in catalogue["label"]], np.int64)
        columns = [f"target.{label}" for label in self.labels]
        return catalogue[columns].to_numpy(np.float32, copy=True)

    def _find_file(self, *names: str) -> Path | None:
        """Return the first of these files in ``root`` that exists."""
        paths = (find_name(self.root, name) for name in names)
        return next((path for path in paths if path.is_file()), None)

    def _check_root(self) -> None:
        contract.check_constructed(self)
        if not self.root.is_dir():
            raise MgcError(f"{self.root}: no such folder. Set data.root to the data set's folder.")

    def _read_tracks(self) -> pd.DataFrame:
        catalogue = self.load_catalogue()
        expected = self._expected_tracks()
        missing = len(expected - set(catalogue["track"]))
        if missing and is_global_zero():
            log.warning("%s: %d of %d tracks are missing.", self.root, missing, len(expected))
        splits = contract.check_splits(self, catalogue, self.assign_split(catalogue))
        catalogue = catalogue.assign(split=splits)
        if self.group_by == "recording" and is_global_zero():
            warn_about_divided_copies(catalogue, self.copies)
        catalogue = correct(self, catalogue, report=is_global_zero())
        catalogue = catalogue[catalogue["split"] != ""].reset_index(drop=True)
        self.broken = self.check(catalogue)
        contract.require_type(self, self.broken, dict, "check", "a dictionary of broken tracks")
        if is_global_zero():
            for reason in self.broken.values():
                log.warning("Skipped %s", reason)
        share = len(self.broken) / len(catalogue)
        if share > self.max_broken:
            raise MgcError(
                f"{self.root}: {len(self.broken)} of {len(catalogue)} tracks cannot be read "
                f"({share:.2%}, max_broken={self.max_broken:.2%}). First error: "
                f"{next(iter(self.broken.values()))}. Fix or remove them, or increase max_broken."
            )
        tracks = catalogue[~catalogue["track"].isin(list(self.broken))].reset_index(drop=True)
        if is_global_zero():
            sizes = ", ".join(f"{(tracks['split'] == s).sum()} {s}" for s in (TRAIN, VAL, TEST))
            log.info("%d tracks (%s), %d broken.", len(tracks), sizes, len(self.broken))
        return tracks

    def _expected_tracks(self) -> set[str]:
        expected = self.expected_tracks()
        contract.require_type(self, expected, set, "expected_tracks", "a set of tracks")
        return expected

    def _make_loader(self, dataset: Dataset[Batch], shuffle: bool = False) -> DataLoader[Batch]:
        trainer = self.trainer
        sampler = EpochSampler(
            len(dataset),  # type: ignore[arg-type] # all datasets here have a length
            trainer.world_size if trainer else 1,
            trainer.global_rank if trainer else 0,
            shuffle,
            self.seed,
        )
        on_gpu = trainer is not None and trainer.strategy.root_device.type == "cuda"
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=keep_batch,  # type: ignore[arg-type] # the dataset returns whole batches
            pin_memory=on_gpu,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=_init_worker,
            # Batch normalisation fails on a last batch of one clip. Later epochs use that clip.
            drop_last=shuffle
            and len(sampler) > 1
            and len(sampler) % self.batch_size == 1
            and trainer is not None
            and _has_batch_norm(trainer.lightning_module),
        )


def _has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def _init_worker(worker: int) -> None:
    """Limit a worker to one thread, and ignore stop signals, which its parent handles."""
    threadpool_limits(1)
    ignore_stop_signals()


class AudioDataModule(MusicDataModule):
    """Base class for tracks in audio files, cut into clips of equal length.

    ``expected_seconds``, ``expected_files`` and :meth:`expected_tracks` describe a complete copy,
    for ``mgc data verify``.

    A batch is a dictionary: ``audio`` (batch, samples) float32 in [-1, 1], ``target`` (batch,) or
    (batch, labels), ``track`` (batch,) index into ``tracks``, ``clip`` (batch,) index of the clip
    in its track, ``start`` (batch,) first sample, ``length`` (batch,) samples before padding.

    Args:
        sample_rate: Sample rate in Hz; files are resampled to it.
        clip_seconds: Length of a clip in seconds.
        hop_seconds: Distance between clip starts in evaluation, in seconds; ``clip_seconds`` by
            default.
        clips_per_track: Random clips per track and epoch; by default the number of clips in
            evaluation.
        channel: Index of the channel to use, from 0; the mean of all channels by default.
        short: How to handle tracks shorter than a clip: ``repeat`` them, ``pad`` them with silence,
            or ``keep`` their length. With ``keep``, a batch is as long as its longest clip, and
            ``length`` is the length of each clip.
        random_clips: Whether training clips start at random samples. Otherwise they start at
            multiples of ``hop_seconds``, as in evaluation.

    Attributes:
        expected_seconds: Minimum and maximum length of a file, in seconds.
        expected_files: Number of files in a complete copy, by catalogue column and value.
        end_tolerance: Maximum time by which an excerpt may exceed its file, in seconds. The ends of
            annotations are often inexact.
    """

    end_tolerance: ClassVar[float] = float("inf")
    expected_seconds: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    expected_files: ClassVar[dict[str, dict[Any, int]]] = {}

    def __init__(
        self,
        root: str,
        sample_rate: SampleRate = 22050,
        clip_seconds: Seconds = 3.0,
        hop_seconds: Seconds | None = None,
        clips_per_track: Annotated[int, Range(1, 10**5)] | None = None,
        channel: Annotated[int, Range(0, 255)] | None = None,
        short: Short = "repeat",
        random_clips: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        if clips_per_track and not random_clips:
            raise MgcError(
                f"clips_per_track={clips_per_track} is for random clips. Omit it, or set "
                "random_clips to true."
            )
        self.sample_rate = sample_rate
        self.clip_samples = round(clip_seconds * sample_rate)
        self.hop_samples = round((hop_seconds or clip_seconds) * sample_rate)
        clips = {"clip_seconds": clip_seconds, "hop_seconds": hop_seconds}
        check_clips({"sample_rate": sample_rate, **clips})
        self.clips_per_track = clips_per_track
        self.channel = channel
        self.short: Short = short
        self.random_clips = random_clips
        self._store: PackedStore | None = None

    def check(self, catalogue: pd.DataFrame) -> dict[str, str]:
        """Find unreadable tracks. Adds ``length`` and ``offset`` (within the file) in samples."""
        paths = catalogue["path"].unique()
        self._store = find_store(self.root, self.sample_rate, self.channel)
        if self._store:
            found = self._store.lengths(paths)
        else:
            found = compute_on_rank_zero(self.trainer, lambda: self._measure_lengths(paths))
        totals = dict(zip(paths, found, strict=True))
        lengths = np.zeros(len(catalogue), np.int64)
        offsets = np.zeros(len(catalogue), np.int64)
        excerpts = {"begin", "end"} <= set(catalogue)
        broken: dict[str, str] = {}
        for row, (track, path) in enumerate(
            zip(catalogue["track"], catalogue["path"], strict=True)
        ):
            total = totals[path]
            if isinstance(total, audio.AudioError):
                broken[track] = str(total)
                continue
            stop = total
            if excerpts:
                begin, end = catalogue["begin"].iloc[row], catalogue["end"].iloc[row]
                problem = _excerpt_problem(begin, end, total / self.sample_rate, self.end_tolerance)
                if problem:
                    broken[track] = f"{path}: {problem} ({track})"
                    continue
                offsets[row] = round(begin * self.sample_rate)
                stop = round(min(total, end * self.sample_rate))
            lengths[row] = stop - offsets[row]
            if lengths[row] <= 0:
                broken[track] = f"{path}: shorter than one sample ({track})"
        catalogue["length"] = lengths
        catalogue["offset"] = offsets
        return broken

    def find_copies(self, catalogue: pd.DataFrame, show_progress: bool = False) -> pd.DataFrame:
        """Find tracks with the same recording, on rank 0."""
        return compute_on_rank_zero(
            self.trainer, lambda: find_copies(catalogue, self.channel, show_progress)
        )

    def stray_files(self) -> list[Path]:
        """Return audio files in the folder that the catalogue does not list."""
        listed = set(self.load_catalogue()["path"])
        return [path for path in audio.find_files(self.root) if str(path) not in listed]

    def verify(self, progress: Progress = iter) -> list[Problem]:
        """Decode all files and compare the copy with a complete one."""
        self._check_root()
        catalogue = self.load_catalogue()
        return verify_counts(catalogue, self.expected_files) + verify_audio(
            catalogue,
            self._expected_tracks(),
            self.expected_seconds,
            self.stray_files(),
            progress,
            self.channel,
        )

    def pack(
        self, workers: int = 0, shard: tuple[int, int] = (0, 1), check: Check = "sampled"
    ) -> PackResult:
        """Decode and resample all files."""
        self._check_root()
        folder = store_folder(self.root, self.sample_rate, self.channel)
        index = pack(
            self.load_catalogue(), self.root, self.sample_rate, self.channel, workers, shard, check
        )
        if index is None:
            return PackResult(folder, finished=False)
        broken = index[index["reason"].notna()]
        samples = index["length"].sum()
        summary = (
            f"{len(index) - len(broken)} files packed, {len(broken)} broken, "
            f"{(index['clipped'] > 0).sum()} with samples beyond full scale; "
            f"{samples / self.sample_rate / 3600:.1f} h, {2 * samples / 1e9:.2f} GB"
        )
        reasons = dict(zip(broken["path"], broken["reason"], strict=True))
        return PackResult(folder, True, summary, reasons)

    def reader(self) -> TrackReader:
        """Return a reader of the packed store if there is one, else of the files."""
        paths = self.tracks["path"].tolist()
        offsets, lengths = self.tracks["offset"].to_numpy(), self.tracks["length"].to_numpy()
        if self._store:
            return self._store.reader(paths, offsets, lengths)
        return FileReader(paths, lengths, self.sample_rate, self.channel, offsets)

    def store_checksums(self, paths: Sequence[str]) -> list[str] | None:
        """Return the SHA-256 of the files in the packed store; None if there is no store."""
        return self._store.checksums(paths) if self._store else None

    def make_dataset(self, split: str, random: bool) -> ClipDataset:
        """Create the dataset of one split."""
        return ClipDataset(
            self.reader(),
            self.select_rows(split, training=random),
            contract.check_targets(self, self.targets()),
            self.clip_samples,
            self.hop_samples,
            self.short,
            random and self.random_clips,
            self.clips_per_track,
            self.seed,
            replace_broken=random,
        )

    def _measure_lengths(self, paths: np.ndarray) -> list[int | audio.AudioError]:
        found: list[int | audio.AudioError] = []
        for path, info in zip(paths, audio.probe_all(paths), strict=True):
            if isinstance(info, audio.AudioError):
                found.append(info)
            elif self.channel is not None and self.channel >= info.channels:
                found.append(audio.AudioError(f"{path}: has no channel {self.channel}"))
            else:
                try:
                    audio.check_rates(path, info.sample_rate, self.sample_rate)
                    total = audio.resampled_length(info.frames, info.sample_rate, self.sample_rate)
                    found.append(total)
                except audio.AudioError as error:
                    found.append(error)
        return found


def _excerpt_problem(begin: float, end: float, seconds: float, tolerance: float) -> str:
    """Return why an excerpt does not fit a file of ``seconds``; empty if it does."""
    if not 0 <= begin < end:
        return f"begin={begin:g} and end={end:g} are not a valid excerpt"
    if begin >= seconds:
        return f"the file ends at {seconds:.2f} s, the excerpt begins at {begin:g} s"
    if np.isfinite(end) and end > seconds + tolerance:
        return f"the file ends at {seconds:.2f} s, the excerpt at {end:g} s"
    return ""
