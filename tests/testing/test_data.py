"""Data set checks pass for a valid data set and explain what is wrong with invalid ones."""

import numpy as np
import pandas as pd
import pytest
from layouts import write_tone

from mgc.data.base import AudioDataModule
from mgc.errors import MgcError
from mgc.testing import DATA_CHECKS, DataCase


class Good(AudioDataModule):
    """Ten tracks of each of two genres; each artist has two tracks."""

    labels = ("jazz", "rock")

    def read_catalogue(self):
        paths = sorted(self.root.glob("*/*.wav"))
        if not paths:
            raise MgcError(f"{self.root}: no tracks.")
        return pd.DataFrame(
            {
                "track": [f"{path.parent.name}/{path.stem}" for path in paths],
                "group": [f"{path.parent.name}{int(path.stem) // 2}" for path in paths],
                "path": [str(path) for path in paths],
                "label": [path.parent.name for path in paths],
            }
        )


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    root = tmp_path_factory.mktemp("copy")
    for genre, hertz in (("jazz", 300), ("rock", 600)):
        for number in range(20):
            write_tone(root / genre / f"{number}.wav", hertz)
    return root


@pytest.mark.parametrize("check", DATA_CHECKS)
def test_good_data_set(check, copy):
    check(DataCase(Good, copy))


class LabelsFromTheDisk(Good):
    @property
    def labels(self):
        return tuple(sorted(path.name for path in self.root.iterdir()))


class LabelsTwice(Good):
    labels = ("jazz", "rock", "jazz")


class AnotherSplitEachTime(Good):
    def assign_split(self, catalogue):
        parts = ["train"] * 32 + ["val"] * 4 + ["test"] * 4
        catalogue["group"] = catalogue["track"]
        return np.random.default_rng().permutation(parts)


class ArtistsOnBothSides(Good):
    def assign_split(self, catalogue):
        return np.resize(["train", "train", "train", "val", "test"], len(catalogue))


class ArtistsOnBothSidesOnPurpose(ArtistsOnBothSides):
    ungrouped_splits = ("stratified", "fold")


class NoValidation(Good):
    ungrouped_splits = ("stratified",)

    def assign_split(self, catalogue):
        return np.where(np.arange(len(catalogue)) % 10 < 9, "train", "test")


class OtherTargets(Good):
    def make_dataset(self, split, random):
        clips = super().make_dataset(split, random)
        clips.targets = 1 - clips.targets
        return clips


class LoudAudio(Good):
    def make_dataset(self, split, random):
        clips = super().make_dataset(split, random)
        read = clips.reader.read

        def louder(track, start, out):
            samples = read(track, start, out)
            out *= 10
            return samples

        clips.reader.read = louder
        return clips


class SameClipsEachEpoch(Good):
    def train_dataloader(self):
        return self.val_dataloader()

    def make_dataset(self, split, random):
        return super().make_dataset(split, random=False)

    def val_dataloader(self):
        return self._make_loader(self.datasets["train"])


class IgnoresTrainOnVal(Good):
    def select_rows(self, split, training=False):
        return super().select_rows(split)


class SeesNoFault(Good):
    def verify(self, progress=iter):
        return []


class FailsWithoutFolder(Good):
    def read_catalogue(self):
        next(self.root.iterdir())
        return super().read_catalogue()


@pytest.mark.parametrize(
    ("data", "check", "message"),
    [
        (LabelsFromTheDisk, "labels", "must be available without the data"),
        (LabelsTwice, "labels", "has duplicate names"),
        (AnotherSplitEachTime, "splits", "differs between stages or processes"),
        (
            ArtistsOnBothSides,
            "splits",
            r"several splits for the group 'jazz.' \(split='stratified'\)",
        ),
        (NoValidation, "splits", "no tracks for val|must have train, val and test"),
        (OtherTargets, "batches", "targets of a batch differ from those of its tracks"),
        (LoudAudio, "batches", "cannot be pickled for worker processes|in \\[-1, 1\\]"),
        (SameClipsEachEpoch, "random_clips", "all epochs have the same batches"),
        (IgnoresTrainOnVal, "train_on_val", "make_dataset must use select_rows"),
        (SeesNoFault, "verify", "does not report a broken file"),
        (
            FailsWithoutFolder,
            "missing",
            "without data it raises StopIteration, not mgc.errors.MgcError",
        ),
    ],
)
def test_bad_data_set(data, check, message, copy):
    checks = {function.__name__: function for function in DATA_CHECKS}
    with pytest.raises((AssertionError, MgcError), match=message):
        checks[f"check_{check}"](DataCase(data, copy))


def test_ungrouped_splits_may_divide_groups(copy):
    check = next(c for c in DATA_CHECKS if c.__name__ == "check_splits")
    check(DataCase(ArtistsOnBothSidesOnPurpose, copy))
