"""Checks of data sets."""

import pickle
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mgc.data.base import AudioDataModule, MusicDataModule
from mgc.data.clips import Batch
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.errors import MgcError
from mgc.testing.require import finite, require


@dataclass(frozen=True)
class DataCase:
    """A data set, and how it is checked.

    Attributes:
        data: Class of its data module.
        root: Folder with a small copy in the layout of the real one: real audio, made-up lists.
        settings: Arguments that fit it to the copy. Audio is cut into clips of 1 s at 8000 Hz, and
            batches have four clips, unless they say otherwise.
        splits: Splits to check; by default all that it names.
        ungrouped: Splits that are meant to divide groups of tracks.
    """

    data: type[MusicDataModule]
    root: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    splits: tuple[str, ...] | None = None
    ungrouped: tuple[str, ...] = ("fold_ungrouped",)

    @property
    def name(self) -> str:
        """Name of the class, for messages."""
        return self.data.__name__

    def make(self, root: Path | None = None, **changes: Any) -> MusicDataModule:
        """Build the data module.

        Args:
            root: Another folder than the copy's.
            **changes: Other settings.

        Returns:
            The data module, before its :meth:`setup`.
        """
        settings: dict[str, Any] = {"batch_size": 4}
        if issubclass(self.data, AudioDataModule):
            settings |= {"sample_rate": 8000, "clip_seconds": 1.0}
        settings |= dict(self.settings) | changes
        return self.data(root=str(root or self.root), **settings)


def check_labels(case: DataCase) -> None:
    """Labels, task and rate are known before the disk is read, and stay.

    Args:
        case: The data set.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            data = case.make(Path(folder, "nowhere"))
            labels, task, rate = data.labels, data.task, data.sample_rate
        except Exception as error:
            raise AssertionError(
                f"{case.name}: labels, task and sample_rate must follow from the constructor's "
                f"arguments alone, but without the data: {error}"
            ) from error
    require(
        isinstance(labels, tuple) and all(isinstance(label, str) and label for label in labels),
        f"{case.name}.labels must be a tuple of names, not {labels!r}",
    )
    require(len(set(labels)) == len(labels), f"{case.name}.labels holds a name twice")
    require(task in ("multiclass", "multilabel", "regression"), f"{case.name}.task is {task!r}")
    for other in (case.make(), case.make(seed=1)):
        other.setup()
        require(
            (other.labels, other.task, other.sample_rate) == (labels, task, rate),
            f"{case.name}: labels, task or sample_rate change with the data or the seed",
        )
    require(
        data.num_classes == len(labels),
        f"{case.name}.num_classes is {data.num_classes} for {len(labels)} labels",
    )
    if not labels:
        return
    targets, tracks = other.targets(), len(other.tracks)
    if task == "multiclass":
        require(
            targets.shape == (tracks,) and not targets.is_floating_point(),
            f"{case.name}.targets() must be class indices of shape (tracks,)",
        )
        require(
            bool(((targets >= 0) & (targets < len(labels))).all()),
            f"{case.name}.targets() holds indices that no label has",
        )
    else:
        require(
            targets.shape == (tracks, len(labels)) and targets.dtype == torch.float32,
            f"{case.name}.targets() must be float32 of shape (tracks, labels)",
        )
        require(finite(targets), f"{case.name}.targets() holds values that are not finite")


def check_splits(case: DataCase) -> None:
    """Splits are disjoint, whole groups at a time, and the same in every stage and process.

    Args:
        case: The data set.
    """
    unknown = set(case.data.given_splits) - set(case.data.splits)
    require(not unknown, f"{case.name}: given_splits {sorted(unknown)} are not among splits")
    for split in case.splits or case.data.splits:
        data, test = case.make(split=split), case.make(split=split)
        data.setup()
        test.setup("test")
        tracks = data.tracks
        twice = tracks["track"][tracks["track"].duplicated()]
        require(twice.empty, f"{case.name}: track {twice.tolist()[:1]} is there twice in {split}")
        require(
            set(tracks["split"]) == {TRAIN, VAL, TEST},
            f"{case.name}: split {split} has {sorted(set(tracks['split']))}, not train, val and "
            "test",
        )
        require(
            tracks["track"].tolist() == test.tracks["track"].tolist()
            and tracks["split"].tolist() == test.tracks["split"].tolist(),
            f"{case.name}: split {split} is not the same in every stage and process",
        )
        crossing = tracks.groupby("group")["split"].nunique()
        crossing = crossing[crossing > 1]
        require(
            crossing.empty or split in case.ungrouped,
            f"{case.name}: group {crossing.index.tolist()[:1]} is on several sides of {split}",
        )


def check_batches(case: DataCase) -> None:
    """Batches hold what the documentation says, and evaluation visits every track.

    Args:
        case: The data set.
    """
    data = case.make()
    data.setup()
    loaders = {
        TRAIN: data.train_dataloader(),
        VAL: data.val_dataloader(),
        TEST: data.test_dataloader(),
    }
    targets = data.targets() if data.labels else None
    for split, loader in loaders.items():
        try:
            pickle.dumps(loader.dataset)
        except Exception as error:
            raise AssertionError(
                f"{case.name}: its data set cannot be sent to worker processes: {error}"
            ) from error
        seen: set[int] = set()
        clips: list[tuple[int, int]] = []
        for batch in loader:
            _check_batch(case, data, batch, targets)
            seen |= set(batch["track"].tolist())
            if "clip" in batch:
                clips += zip(batch["track"].tolist(), batch["clip"].tolist(), strict=True)
        wanted = set(np.flatnonzero(data.tracks["split"] == split).tolist())
        require(seen <= wanted, f"{case.name}: batches of {split} hold tracks of another split")
        if split != TRAIN:
            require(seen == wanted, f"{case.name}: {split} does not visit every track")
            require(len(set(clips)) == len(clips), f"{case.name}: {split} visits a clip twice")


def check_random_clips(case: DataCase) -> None:
    """Training is random, and the same again with the same seed.

    Args:
        case: The data set.
    """
    epochs = []
    for epoch, seed in ((0, 0), (0, 0), (1, 0), (0, 1)):
        # The seed of the split stays, so that only the order and the clips may change.
        data = case.make(seed=0)
        data.setup("fit")
        data.seed = seed
        data.datasets[TRAIN] = data.make_dataset(TRAIN, random=True)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined] # an EpochSampler
        batches = list(loader)
        epochs.append([(b["track"].tolist(), b.get("start", b["track"]).tolist()) for b in batches])
    first, again, second, seeded = epochs
    require(first == again, f"{case.name}: the same seed and epoch give other batches")
    require(first != second, f"{case.name}: every epoch has the same batches")
    require(first != seeded, f"{case.name}: the seed does not change the batches")


def check_verify(case: DataCase) -> None:
    """A whole copy has no broken or stray file; a damaged file is told, and left out.

    Args:
        case: The data set.
    """
    found = [p for p in case.make().verify() if p.kind in ("broken", "unexpected", "checksum")]
    require(not found, f"{case.name}.verify() finds fault with a whole copy: {found[:1]}")
    if not issubclass(case.data, AudioDataModule):
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "copy")
        shutil.copytree(case.root, root)
        whole, data = case.make(root), case.make(root, max_broken=1.0)
        whole.setup("fit")
        path = Path(whole.tracks["path"][whole.tracks["split"] == TRAIN].iloc[0])
        require(path.is_relative_to(root), f"{case.name}: {path} is not in the data set's folder")
        path.write_bytes(b"no audio at all")
        told = [problem for problem in data.verify() if problem.kind == "broken"]
        require(bool(told), f"{case.name}.verify() does not tell of a broken file")
        data.setup("fit")
        require(
            str(path) not in set(data.tracks["path"]),
            f"{case.name}: a broken file is not left out",
        )
        require(len(data.tracks) > 0, f"{case.name}: a broken file takes all others with it")


def check_missing(case: DataCase) -> None:
    """A folder that is not there, or holds something else, is told in an error of mgc.

    Args:
        case: The data set.
    """
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty")
        empty.mkdir()
        for root in (Path(folder, "nowhere"), empty):
            try:
                case.make(root).setup()
            except MgcError as error:
                require(str(folder) in str(error), f"{case.name}: no folder in {str(error)!r}")
            except Exception as error:
                raise AssertionError(
                    f"{case.name}: with no data in its folder it raises {type(error).__name__}, "
                    f"not mgc.errors.MgcError: {error}"
                ) from error
            else:
                raise AssertionError(f"{case.name}: no error where there is no data")


#: Every check of a data set.
DATA_CHECKS: tuple[Callable[[DataCase], None], ...] = (
    check_labels,
    check_splits,
    check_batches,
    check_random_clips,
    check_verify,
    check_missing,
)


def _check_batch(
    case: DataCase, data: MusicDataModule, batch: Batch, targets: Tensor | None
) -> None:
    """A batch of a data set."""
    track = batch["track"]
    require(bool((track >= 0).all()), f"{case.name}: a clip of the copy cannot be read (track -1)")
    if targets is not None:
        require(
            torch.equal(batch["target"], targets[track]),
            f"{case.name}: the target of a batch is not that of its tracks",
        )
    if not isinstance(data, AudioDataModule):
        return
    audio = batch["audio"]
    require(
        audio.dtype == torch.float32 and audio.shape == (len(track), data.clip_samples),
        f"{case.name}: audio is {audio.dtype} of shape {tuple(audio.shape)}, not float32 of "
        f"shape (batch, {data.clip_samples})",
    )
    require(
        finite(audio) and bool(audio.abs().max() <= 1),
        f"{case.name}: audio must be finite and in [-1, 1]",
    )
    require(bool((audio != 0).any()), f"{case.name}: the audio of a batch is silent")
