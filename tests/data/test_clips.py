import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from mgc.data.audio import AudioError
from mgc.data.clips import ClipDataset, EpochSampler
from mgc.data.gtzan import GTZAN
from mgc.models.vgg import VGGTagger


class CountingReader:
    """Returns the index of each sample, from 1, as its value."""

    def __init__(self, lengths: list[int], broken: set[int] = frozenset()) -> None:
        self.lengths = np.array(lengths)
        self.broken = broken

    def read(self, track: int, start: int, out: np.ndarray) -> int:
        if track in self.broken:
            raise AudioError("broken")
        samples = min(len(out), self.lengths[track] - start)
        out[:samples] = np.arange(start, start + samples) + 1
        return samples


def clips(lengths: list[int], broken: set[int] = frozenset(), **settings) -> ClipDataset:
    reader = CountingReader(lengths, broken)
    return ClipDataset(
        reader, np.arange(len(lengths)), torch.arange(len(lengths)), 10, 5, **settings
    )


def test_evaluation_visits_every_clip_at_the_hop() -> None:
    dataset = clips([10, 24, 7])
    batch = dataset.__getitems__([(0, i) for i in range(len(dataset))])
    assert batch["track"].tolist() == [0, 1, 1, 1, 2]
    assert batch["clip"].tolist() == [0, 0, 1, 2, 0]
    assert batch["start"].tolist() == [0, 0, 5, 10, 0]
    assert batch["audio"][3].tolist() == list(range(11, 21))
    assert batch["audio"][4].tolist() == [1, 2, 3, 4, 5, 6, 7, 1, 2, 3]
    assert batch["audio"].dtype == torch.float32


def test_broken_tracks_are_replaced_in_training_with_fixed_clips() -> None:
    dataset = clips([10, 10, 10], {1}, replace_broken=True)
    batch = dataset.__getitems__([(0, 0), (0, 1)])
    assert batch["track"].tolist() == [0, 2]
    assert batch["broken"].tolist() == [-1, 1]
    assert clips([10, 10, 10], {1}).__getitems__([(0, 1)])["track"].tolist() == [-1]


def test_keep_pads_to_the_longest_clip() -> None:
    batch = clips([4, 7, 3], short="keep").__getitems__([(0, 0), (0, 1), (0, 2)])
    assert batch["length"].tolist() == [4, 7, 3]
    assert batch["audio"].tolist() == [
        [1, 2, 3, 4, 0, 0, 0],
        [1, 2, 3, 4, 5, 6, 7],
        [1, 2, 3, 0, 0, 0, 0],
    ]
    longer = clips([4, 24], short="keep").__getitems__([(0, 0), (0, 1)])
    assert longer["length"].tolist() == [4, 10]


def test_a_broken_track_does_not_lengthen_a_batch() -> None:
    batch = clips([4, 7], {0}, short="keep").__getitems__([(0, 0), (0, 1)])
    assert (batch["track"].tolist(), batch["length"].tolist()) == ([-1, 1], [7, 7])
    assert batch["audio"].shape == (2, 7)


@pytest.mark.parametrize(("short", "length"), [("repeat", 10), ("pad", 4)])
def test_length_excludes_padding(short: str, length: int) -> None:
    assert clips([4], short=short).__getitems__([(0, 0)])["length"].tolist() == [length]


def test_random_clips_depend_on_seed_epoch_and_index_only() -> None:
    dataset = clips([1000, 1000], random=True, clips_per_track=3)
    assert len(dataset) == 6
    first = dataset.__getitems__([(0, 0), (0, 1), (1, 0)])["start"].tolist()
    assert first == [
        dataset.__getitems__([key])["start"].item() for key in [(0, 0), (0, 1), (1, 0)]
    ]
    assert len(set(first)) == 3
    again = pickle.loads(pickle.dumps(dataset))
    assert again.__getitems__([(0, 0), (0, 1), (1, 0)])["start"].tolist() == first


def test_random_clips_reach_both_ends() -> None:
    dataset = clips([13], random=True, clips_per_track=1)
    starts = {dataset.__getitems__([(epoch, 0)])["start"].item() for epoch in range(100)}
    assert starts == {0, 1, 2, 3}


def test_a_broken_track_is_replaced_in_training() -> None:
    dataset = clips([20, 20], {0}, random=True, clips_per_track=1)
    batch = dataset.__getitems__([(0, 0), (0, 1)])
    assert batch["broken"].tolist() == [0, -1]
    assert batch["track"].tolist() == [1, 1]
    assert batch["target"].tolist() == [1, 1]
    assert (batch["audio"] > 0).all()


def test_clips_of_a_broken_track_are_replaced_by_the_next_track() -> None:
    dataset = clips([20, 1000, 20], {1}, random=True)
    broken = np.flatnonzero(dataset.tracks == 1)
    assert len(broken) > 100
    batch = dataset.__getitems__([(0, int(index)) for index in broken])
    assert set(batch["track"].tolist()) == {2}
    assert set(batch["clip"].tolist()) == {0}
    # After the last track comes the first.
    last = clips([20, 1000], {1}, random=True)
    assert last.__getitems__([(3, len(last) - 1)])["track"].tolist() == [0]


def test_plain_indices_count_as_epoch_0() -> None:
    dataset = clips([1000, 1000], random=True)
    plain, pairs = dataset.__getitems__([3, 5]), dataset.__getitems__([(0, 3), (0, 5)])
    assert plain["start"].tolist() == pairs["start"].tolist()


def test_overfit_batches_works_with_lightnings_sampler(tones: Path) -> None:
    trainer = Trainer(
        overfit_batches=2,
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=1.0, batch_size=4)
    trainer.fit(VGGTagger(num_classes=10, sample_rate=8000, channels=2), data)
    assert trainer.global_step == 2


def test_a_broken_track_is_silent_in_evaluation() -> None:
    batch = clips([10, 10], {0}).__getitems__([(0, 0), (0, 1)])
    assert batch["broken"].tolist() == [0, -1]
    assert batch["track"].tolist() == [-1, 1]
    assert not batch["audio"][0].any()


def test_all_tracks_broken_returns_no_track() -> None:
    batch = clips([20, 20], {0, 1}, random=True).__getitems__([(0, 0)])
    assert batch["track"].tolist() == [-1]


@pytest.mark.parametrize("shuffle", [False, True])
def test_sampler_covers_all_items_on_any_number_of_devices(shuffle: bool) -> None:
    single = [index for _, index in EpochSampler(11, shuffle=shuffle)]
    assert sorted(single) == list(range(11))
    ranks = [list(EpochSampler(11, 2, rank, shuffle)) for rank in range(2)]
    assert {index for rank in ranks for _, index in rank} == set(range(11))
    assert len(ranks[0]) == len(ranks[1]) == 6


def test_sampler_order_depends_on_the_epoch() -> None:
    sampler = EpochSampler(20, shuffle=True)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert {epoch for epoch, _ in second} == {1}
    assert [i for _, i in first] != [i for _, i in second]
