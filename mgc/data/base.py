"""What every data module has in common.

A data set is one file with one class. It names its ``labels`` and ``task``, reads its own lists in
:meth:`MusicDataModule.read_catalogue`, and gets splits, clips, loaders and the handling of broken
files from here.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mgc.core.forking import release_threads_before_forks
from mgc.core.launching import once
from mgc.data import audio
from mgc.data.clips import Batch, ClipDataset, EpochSampler, FileReader, TrackReader, keep_batch
from mgc.data.download import Source
from mgc.data.loading import ResumableLoader, leave_signals_to_parent
from mgc.data.splits import TEST, TRAIN, VAL, assign_folds, split_by_fold
from mgc.data.store import PackedStore, find_store, pack, store_folder
from mgc.data.verification import Problem, Progress, verify_audio, verify_counts
from mgc.errors import MgcError
from mgc.task import Task

log = logging.getLogger(__name__)

release_threads_before_forks()

#: What happens to tracks shorter than a clip.
Short = Literal["repeat", "pad", "keep"]

#: Stages of Lightning and the splits that they need.
STAGES = {
    "fit": (TRAIN, VAL),
    "validate": (VAL,),
    "test": (TEST,),
    "predict": (TRAIN, VAL, TEST),
    None: (TRAIN, VAL, TEST),
}


@dataclass(frozen=True)
class Packed:
    """What packing a data set came to.

    Attributes:
        folder: Folder of the store.
        finished: Whether it is complete; if not, parts of other machines are missing.
        summary: What it holds, in a line, once it is complete.
        broken: Why a file could not be read, by its path in the data set's folder.
    """

    folder: Path
    finished: bool
    summary: str = ""
    broken: dict[str, str] = field(default_factory=dict)


class MusicDataModule(LightningDataModule):
    """Tracks with genres, tags or ratings, split into training, validation and test.

    ``labels``, ``num_classes``, ``task`` and ``sample_rate`` follow from the constructor's
    arguments alone; no file is read before :meth:`setup`.

    Attributes:
        labels: Names of the classes, tags or quantities, in target order.
        task: What the targets are.
        kind: What a batch holds: ``audio``, or ``beats`` for beat-aligned features.
        sample_rate: Rate of the audio in Hz, 0 where there is none.
        splits: Names that the ``split`` argument takes.
        given_splits: Those of them whose test tracks the data set itself fixes. Tables of features
            keep them; other splits are drawn at random.
        sources: Files to download the data set from, where it is still served. The class's
            documentation says where people get it and what the folder must look like.
        tracks: After :meth:`setup`, the catalogue with a ``split`` column, a row per track that
            can be read. A batch's ``track`` is an index into it.
    """

    labels: tuple[str, ...] = ()
    task: Task = "multiclass"
    kind: ClassVar[str] = "audio"
    splits: ClassVar[tuple[str, ...]] = ("stratified", "fold")
    given_splits: ClassVar[tuple[str, ...]] = ()
    sources: ClassVar[tuple[Source, ...]] = ()
    sample_rate: int = 0
    tracks: pd.DataFrame

    def __init__(
        self,
        root: str,
        split: str = "stratified",
        fold: int = 0,
        folds: int = 10,
        seed: int = 0,
        batch_size: int = 32,
        num_workers: int = 0,
        max_broken: float = 0.01,
    ) -> None:
        """Initialize a new data module.

        Args:
            root: Folder with the data set.
            split: How tracks are divided. ``stratified``: 80 % train, 10 % validation and 10 %
                test, balanced over the classes. ``fold``: one of the folds to test, the next one
                to validate. Both keep groups of tracks (duplicates, or an artist's) together. A
                data set may have more: ``given`` is its own division, ``fold_ungrouped`` ignores
                the groups, to compare with papers that did.
            fold: Which fold is tested, from 0.
            folds: Number of folds, where the data set gives none.
            seed: Seed of the split, of the order and of random clips.
            batch_size: Clips per batch and device.
            num_workers: Processes per device that read clips; 0 reads in the training process.
            max_broken: Largest share of unreadable tracks; with more, the run stops before
                training.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__()
        if split not in self.splits:
            raise MgcError(f"split={split!r}: choose one of {', '.join(self.splits)}.")
        if batch_size < 1:
            raise MgcError(f"batch_size={batch_size}: at least 1 is needed.")
        if num_workers < 0:
            raise MgcError(f"num_workers={num_workers}: at least 0 is needed.")
        if seed < 0:
            raise MgcError(f"seed={seed}: at least 0 is needed.")
        if not 0 <= max_broken <= 1:
            raise MgcError(f"max_broken={max_broken}: a share from 0 to 1 is needed.")
        self.root = Path(root)
        self.split = split
        self.fold = fold
        self.folds = folds
        self.seed = seed
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.max_broken = max_broken
        self.datasets: dict[str, Dataset[Batch]] = {}
        self.broken: dict[str, str] = {}

    @property
    def num_classes(self) -> int:
        """Number of classes, tags or quantities."""
        return len(self.labels)

    def read_catalogue(self) -> pd.DataFrame:
        """Read the data set's lists. Every data set implements this.

        Returns:
            A row per track: ``track`` (identifier, unique), ``group`` (tracks of one group never
            cross a split), ``path`` (of its file, absolute), and the targets: ``label`` (class
            name) or a column ``target.<label>`` each. A data set with given folds adds ``fold``,
            one with parts of files ``begin`` and ``end`` in seconds.

        Raises:
            MgcError: If a list is missing or cannot be read.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement read_catalogue().")

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Divide the tracks. A data set with splits of its own overrides this.

        Args:
            catalogue: What :meth:`read_catalogue` gives.

        Returns:
            ``train``, ``val`` or ``test`` for each track; an empty string leaves it out.
        """
        if self.split == "fold" and "fold" in catalogue:
            return split_by_fold(catalogue["fold"].to_numpy(), self.fold)
        ungrouped = self.split == "fold_ungrouped"
        by_fold = ungrouped or self.split == "fold"
        multiclass = self.task == "multiclass"
        folds = assign_folds(
            (catalogue["track"] if ungrouped else catalogue["group"]).to_numpy(),
            self.folds if by_fold else 10,
            self.seed,
            catalogue["label"].to_numpy() if multiclass else None,
        )
        return split_by_fold(folds, self.fold if by_fold else 0)

    def check(self, catalogue: pd.DataFrame) -> dict[str, str]:
        """Find the tracks that cannot be read, and add what their files say to the catalogue.

        Args:
            catalogue: What :meth:`read_catalogue` gives; columns may be added in place.

        Returns:
            Why a track cannot be read, by identifier.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement check().")

    def make_dataset(self, split: str, random: bool) -> Dataset[Batch]:
        """Make the items of one split.

        Args:
            split: ``train``, ``val`` or ``test``.
            random: Whether they are random clips to train on.

        Returns:
            A data set that takes a list of (epoch, index) and gives a batch.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement make_dataset().")

    def expected_tracks(self) -> set[str]:
        """Tracks of a complete copy; empty where that is not known without its lists."""
        return set()

    def verify(self, progress: Progress = iter) -> list[Problem]:
        """Look for everything that is wrong with a copy of the data set.

        Args:
            progress: Wraps an iterator with a length, to show progress.

        Returns:
            What was found: missing, broken, silent, duplicate and unexpected files.

        Raises:
            MgcError: If there is no copy at all.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement verify().")

    def pack(self, workers: int = 0, shard: tuple[int, int] = (0, 1)) -> Packed:
        """Decode the data set once, into a store that training reads at memory speed.

        Args:
            workers: Processes that decode; 0 for none but this one.
            shard: Number of this machine, from 0, and how many machines share the work.

        Returns:
            What it came to.

        Raises:
            MgcError: If the data set cannot be packed, or the store not be written.
        """
        raise MgcError(f"{type(self).__name__} cannot be packed.")

    def prepare_data(self) -> None:
        """Check that the data set is there, on one process.

        Raises:
            MgcError: If ``root`` is no folder.
        """
        self._check_root()

    def setup(self, stage: str | None = None) -> None:
        """Read the catalogue, leave out what is broken, and build what the stage needs.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``; by default all of it.

        Raises:
            MgcError: If the data set is missing, empty, or more of it is broken than allowed.
        """
        if not hasattr(self, "tracks"):
            self._check_root()
            self.tracks = self._read_tracks()
        for split in STAGES[stage]:
            if split not in self.datasets:
                if not (self.tracks["split"] == split).any():
                    raise MgcError(
                        f"{self.root}: no tracks for {split} with split={self.split!r}. "
                        "Use more data or another split."
                    )
                self.datasets[split] = self.make_dataset(split, random=split == TRAIN)

    def targets(self) -> torch.Tensor:
        """Targets of all tracks.

        Returns:
            Class indices of shape (tracks,), or float32 of shape (tracks, labels).
        """
        if self.task == "multiclass":
            index = {label: i for i, label in enumerate(self.labels)}
            return torch.tensor([index[label] for label in self.tracks["label"]])
        columns = [f"target.{label}" for label in self.labels]
        return torch.from_numpy(self.tracks[columns].to_numpy(np.float32, copy=True))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Load the training split in random order."""
        return self._loader(self.datasets[TRAIN], shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Load the validation split in order."""
        return self._loader(self.datasets[VAL])

    def test_dataloader(self) -> DataLoader[Batch]:
        """Load the test split in order."""
        return self._loader(self.datasets[TEST])

    def predict_dataloader(self) -> list[DataLoader[Batch]]:
        """Load all tracks in order, a loader per split, without random clips."""
        present = [s for s in STAGES["predict"] if (self.tracks["split"] == s).any()]
        return [self._loader(self.make_dataset(split, random=False)) for split in present]

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Report the tracks that could not be read, once each, on the first process.

        Args:
            batch: A batch of clips.
            dataloader_idx: Which loader it comes from.

        Returns:
            The batch, without the report.
        """
        broken = batch.pop("broken", None)
        if broken is not None:
            for row in broken[broken >= 0].tolist():
                track = self.tracks.iloc[row]
                name = str(track["track"])
                if name in self.broken:
                    continue
                self.broken[name] = "could not be read"
                if _first_process():
                    log.warning(
                        "%s: could not be read and is left out (tracks so far: %d).",
                        track.get("path", name),
                        len(self.broken),
                    )
        return batch

    def _check_root(self) -> None:
        if not self.root.is_dir():
            raise MgcError(f"{self.root}: no such folder. Set data.root to the data set's folder.")

    def _read_tracks(self) -> pd.DataFrame:
        catalogue = self.read_catalogue()
        if catalogue.empty:
            raise MgcError(
                f"{self.root}: no tracks of {type(self).__name__} in this folder. Check data.root."
            )
        expected = self.expected_tracks()
        absent = len(expected - set(catalogue["track"]))
        if absent and _first_process():
            log.warning("%d of %d tracks are not in %s.", absent, len(expected), self.root)
        catalogue = catalogue.assign(split=self.assign_split(catalogue))
        catalogue = catalogue[catalogue["split"] != ""].reset_index(drop=True)
        self.broken = self.check(catalogue)
        if _first_process():
            for reason in self.broken.values():
                log.warning("Left out: %s", reason)
        share = len(self.broken) / len(catalogue)
        if share > self.max_broken:
            raise MgcError(
                f"{self.root}: {len(self.broken)} of {len(catalogue)} tracks cannot be read "
                f"({share:.2%}, max_broken={self.max_broken:.2%}), the first: "
                f"{next(iter(self.broken.values()))}. Mend or remove them, or raise max_broken."
            )
        tracks = catalogue[~catalogue["track"].isin(list(self.broken))].reset_index(drop=True)
        if _first_process():
            sizes = ", ".join(f"{(tracks['split'] == s).sum()} {s}" for s in (TRAIN, VAL, TEST))
            log.info("%d tracks (%s), %d broken.", len(tracks), sizes, len(self.broken))
        return tracks

    def _loader(self, dataset: Dataset[Batch], shuffle: bool = False) -> DataLoader[Batch]:
        trainer = self.trainer
        sampler = EpochSampler(
            len(dataset),  # type: ignore[arg-type] # every one here has a length
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
            collate_fn=keep_batch,  # type: ignore[arg-type] # the data set gives whole batches
            pin_memory=on_gpu,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=_start_worker,
            # Batch normalisation cannot learn from a single clip. Later epochs have it again.
            drop_last=shuffle
            and len(sampler) > 1
            and len(sampler) % self.batch_size == 1
            and trainer is not None
            and _normalises_batches(trainer.lightning_module),
        )


def _normalises_batches(model: nn.Module) -> bool:
    """Whether a model has batch normalisation; others may count on every clip of an epoch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def _start_worker(worker: int) -> None:
    """Keep a process that reads clips to its core, and let the main process end it."""
    # Others read on the other cores.
    threadpool_limits(1)
    leave_signals_to_parent()


class AudioDataModule(MusicDataModule):
    """Tracks in audio files, cut into clips of one length.

    A data set says what a complete copy looks like in ``expected_seconds``, ``expected_files``
    and :meth:`expected_tracks`, for ``mgc data verify``.

    A batch is a dictionary: ``audio`` (batch, samples) float32 in [-1, 1], ``target`` (batch,) or
    (batch, labels), ``track`` (batch,) index into ``tracks``, ``clip`` (batch,) number of the clip
    in its track, ``start`` (batch,) first sample, ``length`` (batch,) samples before padding.

    Attributes:
        expected_seconds: Shortest and longest file of the data set, in seconds.
        expected_files: Number of files in a complete copy, by column of the catalogue and value.
    """

    expected_seconds: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    expected_files: ClassVar[dict[str, dict[Any, int]]] = {}

    def __init__(
        self,
        root: str,
        sample_rate: int = 22050,
        clip_seconds: float = 3.0,
        hop_seconds: float | None = None,
        clips_per_track: int | None = None,
        channel: int | None = None,
        short: Short = "repeat",
        **kwargs: Any,
    ) -> None:
        """Initialize a new data module.

        Args:
            root: Folder with the data set.
            sample_rate: Rate that audio is resampled to, in Hz.
            clip_seconds: Length of a clip in seconds.
            hop_seconds: Distance between the starts of two clips in evaluation, in seconds; by
                default the length of a clip.
            clips_per_track: Random clips of a track in an epoch; by default as many as there are
                in evaluation.
            channel: Number of the channel to use, from 0; by default the mean of all channels.
            short: What happens to tracks shorter than a clip: they are repeated, or padded with
                silence, or keep their length (whole tracks, for models that take any length: a
                batch is as long as its longest clip, and ``length`` says where each one ends).
            **kwargs: Arguments of :class:`MusicDataModule`.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__(root, **kwargs)
        if not 1000 <= sample_rate <= 384_000:
            raise MgcError(f"sample_rate={sample_rate}: give a rate of 1000 to 384000 Hz.")
        if clip_seconds <= 0 or (hop_seconds is not None and hop_seconds <= 0):
            raise MgcError("clip_seconds and hop_seconds must be greater than 0.")
        if clips_per_track is not None and clips_per_track < 1:
            raise MgcError(f"clips_per_track={clips_per_track}: at least 1 is needed.")
        if channel is not None and channel < 0:
            raise MgcError(f"channel={channel}: channels count from 0.")
        if short not in get_args(Short):
            raise MgcError(f"short={short!r}: choose one of {', '.join(get_args(Short))}.")
        self.sample_rate = sample_rate
        self.clip_samples = round(clip_seconds * sample_rate)
        self.hop_samples = round((hop_seconds or clip_seconds) * sample_rate)
        for name, samples in (("clip", self.clip_samples), ("hop", self.hop_samples)):
            if samples < 1:
                raise MgcError(f"{name}_seconds: shorter than one sample at {sample_rate} Hz.")
        self.clips_per_track = clips_per_track
        self.channel = channel
        self.short: Short = short
        self._store: PackedStore | None = None

    def check(self, catalogue: pd.DataFrame) -> dict[str, str]:
        """Note the ``length`` of every track in samples at ``sample_rate``.

        The packed store tells it, if there is one; otherwise every file is opened.

        Args:
            catalogue: The tracks; gets columns ``length`` and, for parts of files, ``offset``.

        Returns:
            Why a track cannot be read, by identifier.
        """
        paths = catalogue["path"].unique()
        self._store = find_store(self.root, self.sample_rate, self.channel)
        if self._store:
            found = self._store.lengths(paths)
        else:
            found = once(self.trainer, lambda: self._probe(paths))
        totals = dict(zip(paths, found, strict=True))
        lengths = np.zeros(len(catalogue), np.int64)
        offsets = np.zeros(len(catalogue), np.int64)
        parts = {"begin", "end"} <= set(catalogue)
        broken: dict[str, str] = {}
        for row, (track, path) in enumerate(
            zip(catalogue["track"], catalogue["path"], strict=True)
        ):
            total = totals[path]
            if isinstance(total, audio.AudioError):
                broken[track] = str(total)
                continue
            stop = total
            if parts:
                offsets[row] = round(catalogue["begin"].iloc[row] * self.sample_rate)
                stop = round(min(total, catalogue["end"].iloc[row] * self.sample_rate))
            lengths[row] = stop - offsets[row]
            if lengths[row] <= 0:
                broken[track] = f"{path}: ends before the part of {track} begins"
        catalogue["length"] = lengths
        catalogue["offset"] = offsets
        return broken

    def stray_files(self) -> list[Path]:
        """Files that do not belong to the data set: audio that no list names."""
        listed = set(self.read_catalogue()["path"])
        return [path for path in audio.find_files(self.root) if str(path) not in listed]

    def verify(self, progress: Progress = iter) -> list[Problem]:
        """Look for everything that is wrong (see :meth:`MusicDataModule.verify`)."""
        self._check_root()
        catalogue = self.read_catalogue()
        return verify_counts(catalogue, self.expected_files) + verify_audio(
            catalogue,
            self.expected_tracks(),
            self.expected_seconds,
            self.stray_files(),
            progress,
        )

    def pack(self, workers: int = 0, shard: tuple[int, int] = (0, 1)) -> Packed:
        """Decode and resample all files (see :meth:`MusicDataModule.pack`)."""
        self._check_root()
        folder = store_folder(self.root, self.sample_rate, self.channel)
        index = pack(
            self.read_catalogue(), self.root, self.sample_rate, self.channel, workers, shard
        )
        if index is None:
            return Packed(folder, finished=False)
        broken = index[index["reason"].notna()]
        samples = index["length"].sum()
        summary = (
            f"{len(index) - len(broken)} files packed, {len(broken)} broken, "
            f"{(index['clipped'] > 0).sum()} with samples beyond full scale; "
            f"{samples / self.sample_rate / 3600:.1f} h, {2 * samples / 1e9:.2f} GB"
        )
        reasons = dict(zip(broken["path"], broken["reason"], strict=True))
        return Packed(folder, True, summary, reasons)

    def reader(self) -> TrackReader:
        """Make the reader of all tracks: of the packed store, or of the files."""
        paths = self.tracks["path"].tolist()
        offsets, lengths = self.tracks["offset"].to_numpy(), self.tracks["length"].to_numpy()
        if self._store:
            return self._store.reader(paths, offsets, lengths)
        return FileReader(paths, lengths, self.sample_rate, self.channel, offsets)

    def make_dataset(self, split: str, random: bool) -> ClipDataset:
        """Make the clips of one split.

        Args:
            split: ``train``, ``val`` or ``test``.
            random: Whether they are random clips to train on.

        Returns:
            The clips.
        """
        return ClipDataset(
            self.reader(),
            np.flatnonzero(self.tracks["split"] == split),
            self.targets(),
            self.clip_samples,
            self.hop_samples,
            self.short,
            random,
            self.clips_per_track,
            self.seed,
        )

    def _probe(self, paths: np.ndarray) -> list[int | audio.AudioError]:
        """Length of each file in samples at ``sample_rate``, or why it cannot be read."""
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


def _first_process() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0
