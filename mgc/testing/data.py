"""Conformance checks of data sets."""

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
from mgc.data.contract import check_batch, check_targets
from mgc.data.contract import check_labels as check_contract
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.errors import MgcError
from mgc.testing.require import check_wrong_numbers, finite, require


@dataclass(frozen=True)
class DataCase:
    """Data set to check and its settings.

    Attributes:
        data: Class of the data module.
        root: Folder with a small copy in the real layout.
        settings: Arguments for the copy. Defaults: clips of 1 s at 8000 Hz, batches of four.
        splits: Splits to check; by default all of them.
    """

    data: type[MusicDataModule]
    root: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    splits: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """Name of the class, for messages."""
        return self.data.__name__

    def make(self, root: Path | None = None, **changes: Any) -> MusicDataModule:
        """Build the data module without calling :meth:`setup`; by default on the small copy."""
        return self.data(**(self.make_arguments(root) | changes))

    def make_arguments(self, root: Path | None = None) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        settings: dict[str, Any] = {"root": str(root or self.root), "batch_size": 4}
        if issubclass(self.data, AudioDataModule):
            settings |= {"sample_rate": 8000, "clip_seconds": 1.0}
        return settings | dict(self.settings)


def check_labels(case: DataCase) -> None:
    """Check that labels, task and sample rate depend only on the arguments, not on the data."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            data = case.make(Path(folder, "nowhere"))
            labels, task, rate = data.labels, data.task, data.sample_rate
        except Exception as error:
            raise AssertionError(
                f"{case.name}: labels, task and sample_rate must be available without the data, "
                f"from the constructor's arguments: {error}"
            ) from error
    require(
        isinstance(labels, tuple), f"{case.name}.labels must be a tuple of names, not {labels!r}"
    )
    check_contract(data)
    for other in (case.make(), case.make(seed=1)):
        other.setup()
        require(
            (other.labels, other.task, other.sample_rate) == (labels, task, rate),
            f"{case.name}: labels, task or sample_rate depend on the data or the seed",
        )
    require(
        data.num_classes == len(labels),
        f"{case.name}.num_classes is {data.num_classes} for {len(labels)} labels",
    )
    if not labels:
        return
    targets = check_targets(other, other.targets())
    require(
        task == "multiclass" or targets.dtype == torch.float32,
        f"{case.name}.targets() must be float32",
    )


def check_splits(case: DataCase) -> None:
    """Check that splits are complete and reproducible, and do not divide groups."""
    unknown = set(case.data.given_splits) - set(case.data.splits)
    require(not unknown, f"{case.name}: given_splits {sorted(unknown)} are not among splits")
    for split in case.splits or case.data.splits:
        data, test = case.make(split=split), case.make(split=split)
        data.setup()
        test.setup("test")
        tracks = data.tracks
        require(
            set(tracks["split"]) == {TRAIN, VAL, TEST},
            f"{case.name}: split {split} must have train, val and test, but has "
            f"{sorted(set(tracks['split']))}",
        )
        require(
            tracks["track"].tolist() == test.tracks["track"].tolist()
            and tracks["split"].tolist() == test.tracks["split"].tolist(),
            f"{case.name}: split {split} differs between stages or processes",
        )


def check_batches(case: DataCase) -> None:
    """Check the content of batches, and that evaluation visits every track."""
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
                f"{case.name}: the dataset cannot be pickled for worker processes: {error}"
            ) from error
        seen: set[int] = set()
        clips: list[tuple[int, int]] = []
        for batch in loader:
            check_batch(data, batch, split)
            _check_batch(case, data, batch, targets)
            seen |= set(batch["track"].tolist())
            if "clip" in batch:
                clips += zip(batch["track"].tolist(), batch["clip"].tolist(), strict=True)
        wanted = set(np.flatnonzero(data.tracks["split"] == split).tolist())
        require(seen <= wanted, f"{case.name}: batches of {split} contain tracks of another split")
        if split != TRAIN:
            require(seen == wanted, f"{case.name}: {split} does not visit all tracks")
            require(len(set(clips)) == len(clips), f"{case.name}: {split} visits a clip twice")


def check_random_clips(case: DataCase) -> None:
    """Check that training batches are random, and reproducible with a seed."""
    epochs = []
    for epoch, seed in ((0, 0), (0, 0), (1, 0), (0, 1)):
        # Keep the seed of the split, so that only the order and the clips can change.
        data = case.make(seed=0)
        data.setup("fit")
        data.seed = seed
        data.datasets[TRAIN] = data.make_dataset(TRAIN, random=True)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined] # an EpochSampler
        batches = list(loader)
        epochs.append([(b["track"].tolist(), b.get("start", b["track"]).tolist()) for b in batches])
    first, again, second, seeded = epochs
    require(first == again, f"{case.name}: same seed and epoch, but different batches")
    require(first != second, f"{case.name}: all epochs have the same batches")
    require(first != seeded, f"{case.name}: the seed does not change the batches")


def check_train_on_val(case: DataCase) -> None:
    """Check that the setting adds the validation tracks to training, and moves no track."""
    data, usual = case.make(train_on_val=True), case.make()
    data.setup("fit")
    usual.setup("fit")
    splits = data.tracks["split"]
    require(splits.equals(usual.tracks["split"]), f"{case.name}: train_on_val changes the split")
    seen = {row for batch in data.train_dataloader() for row in batch["track"].tolist()}
    require(
        seen == set(np.flatnonzero(splits.isin([TRAIN, VAL]))),
        f"{case.name}: train_on_val does not train on the training and validation tracks; "
        "make_dataset must use select_rows",
    )


def check_verify(case: DataCase) -> None:
    """Check that ``verify`` reports a broken file, and that ``setup`` drops it."""
    found = [p for p in case.make().verify() if p.kind in ("broken", "unexpected", "checksum")]
    require(not found, f"{case.name}.verify() reports a problem in an intact copy: {found[:1]}")
    if not issubclass(case.data, AudioDataModule):
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "copy")
        shutil.copytree(case.root, root)
        whole, data = case.make(root), case.make(root, max_broken=1.0)
        whole.setup("fit")
        path = Path(whole.tracks["path"][whole.tracks["split"] == TRAIN].iloc[0])
        require(path.is_relative_to(root), f"{case.name}: {path} is not in the data set's folder")
        path.write_bytes(b"no audio")
        reported = [problem for problem in data.verify() if problem.kind == "broken"]
        require(bool(reported), f"{case.name}.verify() does not report a broken file")
        data.setup("fit")
        require(
            str(path) not in set(data.tracks["path"]),
            f"{case.name}: setup() does not drop a broken file",
        )
        require(
            len(data.tracks) > 0, f"{case.name}: setup() drops all files because of a broken one"
        )


def check_missing(case: DataCase) -> None:
    """Check that a missing or empty folder raises an ``MgcError`` with its path."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty")
        empty.mkdir()
        for root in (Path(folder, "nowhere"), empty):
            try:
                case.make(root).setup()
            except MgcError as error:
                require(
                    str(folder) in str(error),
                    f"{case.name}: the error does not name the folder: {str(error)!r}",
                )
            except Exception as error:
                raise AssertionError(
                    f"{case.name}: without data it raises {type(error).__name__}, not "
                    f"mgc.errors.MgcError: {error}"
                ) from error
            else:
                raise AssertionError(f"{case.name}: no error without data")


def check_settings(case: DataCase) -> None:
    """Check that wrong numbers raise an ``MgcError`` or ``ValueError`` that names the argument."""
    check_wrong_numbers(case.data, case.make_arguments())


#: All checks of data sets.
DATA_CHECKS: tuple[Callable[[DataCase], None], ...] = (
    check_labels,
    check_splits,
    check_batches,
    check_random_clips,
    check_train_on_val,
    check_verify,
    check_missing,
    check_settings,
)


def _check_batch(
    case: DataCase, data: MusicDataModule, batch: Batch, targets: Tensor | None
) -> None:
    track = batch["track"]
    require(bool((track >= 0).all()), f"{case.name}: unreadable clip in the copy (track -1)")
    if targets is not None:
        require(
            torch.equal(batch["target"], targets[track]),
            f"{case.name}: targets of a batch differ from those of its tracks",
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
