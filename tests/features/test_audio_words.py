import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mgc.core.stopping import Stopped, signals
from mgc.errors import MgcError
from mgc.features.audio_words import (
    AudioWords,
    SegmentSample,
    SegmentVectors,
    sample_training_segments,
)


def audio(batch=4, seconds=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    loudness = torch.linspace(0.01, 0.5, batch)[:, None]
    return loudness * torch.randn(batch, int(22050 * seconds), generator=generator)


def samples(segments, clips):
    return {name: x.flatten(0, 1) for name, x in segments.join(clips).items()}


def test_segments_are_consecutive_frames():
    """2 s at 22 050 Hz: 85 frames, so 10 segments of 8."""
    segments = SegmentVectors()
    assert segments.widths == {"MEL": 320, "SFM": 168, "SCF": 168}
    clips = audio()
    frames, joined = segments.bands(clips), segments.join(clips)
    for name, values in joined.items():
        assert values.shape == (4, 10, segments.widths[name])
        assert torch.equal(values[1, 3], frames[name][1, 24:32].flatten())


@pytest.mark.parametrize("samples_more", [-1, 0, 4095, 4096])
def test_number_of_segments(samples_more):
    segments = SegmentVectors(features=["MEL"])
    length = segments.segment_length + 3 * segments.hop_length + samples_more
    found = segments.join(torch.zeros(1, length))["MEL"].shape[1]
    assert segments.num_segments(torch.tensor([length])).item() == found
    assert found == {-1: 3, 0: 4, 4095: 4, 4096: 5}[samples_more]


def test_a_clip_shorter_than_a_segment_is_one_segment():
    segments = SegmentVectors(features=["SFM"])
    assert segments.join(torch.zeros(2, 100))["SFM"].shape[1] == 1
    assert segments.num_segments(torch.tensor([100, 0])).tolist() == [1, 1]


def test_whitened_vectors_are_uncorrelated_with_variance_1():
    segments = SegmentVectors(features=["MEL", "SCF"], segment_frames=2, components=12)
    clips = audio(seconds=20)
    segments.fit(samples(segments, clips))
    for vectors in segments(clips).values():
        flat = vectors.flatten(0, 1)
        assert flat.mean(0).abs().max() < 1e-3
        torch.testing.assert_close(flat.T.cov(), torch.eye(12), atol=2e-2, rtol=0)


def test_constant_values_are_not_amplified():
    """Silence has one vector; whitening must not divide by its variance."""
    segments = SegmentVectors(components=4)
    segments.fit(samples(segments, torch.zeros(2, 22050)))
    for vectors in segments(torch.zeros(1, 22050)).values():
        assert vectors.isfinite().all()


def test_words_are_indices_of_the_nearest_centre():
    words = AudioWords(SegmentVectors(components=6), 8)
    clips = audio(seconds=4)
    words.fit(samples(words.segments, clips))
    found, vectors = words(clips), words.segments(clips)
    for name, word in found.items():
        distances = torch.cdist(vectors[name].flatten(0, 1), words.centres(name))
        assert torch.equal(word.flatten(), distances.argmin(1))


def test_unfitted_words_raise():
    with pytest.raises(MgcError, match=r"not fitted. Train it \(mgc fit\) or load a checkpoint"):
        AudioWords(SegmentVectors(), 8)(audio())


def test_half_precision_keeps_the_words():
    words = AudioWords(SegmentVectors(components=6), 8)
    clips = audio(seconds=4)
    words.fit(samples(words.segments, clips))
    expected = words(clips)
    for name, word in words.to(torch.bfloat16)(clips).items():
        assert torch.equal(word, expected[name])


def stream(tracks, order, size):
    """Values of a sample from a stream of tracks with 50 segments each."""
    sample = SegmentSample(size, seed=1)
    for some in order:
        place = np.arange(50)[None] * 4096 + np.zeros((len(some), 1), int)
        track = np.repeat(np.array(some)[:, None], 50, 1)
        values = {"MEL": torch.from_numpy(1000 * track + place // 4096)[..., None].float()}
        sample.add(values, track, place, track < tracks)
    return sample.result()


def test_a_sample_does_not_depend_on_order_and_batches():
    keys, values = stream(40, np.arange(40).reshape(10, 4).tolist(), 300)
    assert len(keys) == 300
    again, same = stream(40, np.arange(40)[::-1].reshape(4, 10).tolist(), 300)
    assert (keys == again).all()
    assert torch.equal(values["MEL"], same["MEL"])
    # Every part of every track is as likely.
    track = values["MEL"].flatten() // 1000
    assert abs(track.mean() - 19.5) < 2.5


def test_a_sample_has_each_segment_once_and_no_padding():
    """A sampler for several devices may repeat tracks."""
    keys, values = stream(3, [[0, 1], [1, 2], [3, 2]], 1000)
    assert len(keys) == len(values["MEL"].unique()) == 150
    assert values["MEL"].max() < 3000


def test_memory_of_a_sample_is_bounded():
    sample = SegmentSample(100, seed=0)
    for track in range(50):
        shape = (1, 40)
        values = {"MEL": torch.zeros(*shape, 2)}
        sample.add(values, np.full(shape, track), np.arange(40)[None], np.ones(shape, bool))
        assert sum(len(keys) for keys, _ in sample._pieces) <= 125
    assert len(sample.result()[0]) == 100


def batch(*tracks):
    """Clips of tracks; negative numbers are unreadable tracks."""
    clips = torch.stack([audio(1, seed=max(track, 0))[0] for track in tracks])
    zeros = torch.zeros(len(tracks), dtype=torch.long)
    return {"audio": clips, "track": torch.tensor(tracks), "start": zeros}


def sample_on_devices(*loaders, words=1, size=25):
    """Return the sample of each device, or its error.

    Devices are threads. One that does not take part in an exchange, or one too many, makes the
    others time out.
    """
    barrier = threading.Barrier(len(loaders), timeout=20)
    slots = [None] * len(loaders)

    def device(rank):
        def all_gather(tensor):
            slots[rank] = tensor
            barrier.wait()
            everyone = torch.stack(slots)
            barrier.wait()
            return everyone

        data = SimpleNamespace(train_dataloader=lambda: loaders[rank])
        trainer = SimpleNamespace(datamodule=data, limit_train_batches=1.0, world_size=len(loaders))
        module = SimpleNamespace(trainer=trainer, device=torch.device("cpu"), all_gather=all_gather)
        segments = SegmentVectors(features=["SFM", "MEL"])
        try:
            return sample_training_segments(module, segments, size, words=words)
        except MgcError as error:
            barrier.wait()  # all devices end here, or none
            return str(error)

    with ThreadPoolExecutor(len(loaders)) as pool:
        return list(pool.map(device, range(len(loaders))))


@pytest.mark.parametrize(
    "shares",
    [
        ([batch(0, 1)], [batch(2, 3)]),
        ([batch(0, 1), batch(2)], [batch(3, 0)]),
        ([batch(0, 1, 2, 3)], [batch(-1)]),
        ([batch(-1, -1)], [batch(3, 1), batch(2, 0)], []),
    ],
    ids=["halves", "one track twice", "nothing readable", "nothing at all"],
)
def test_several_devices_get_the_sample_of_one(shares):
    (expected,) = sample_on_devices([batch(0, 1, 2, 3)])
    for found in sample_on_devices(*shares):
        assert {name: len(x) for name, x in found.items()} == {"SFM": 25, "MEL": 25}
        for name, values in found.items():
            torch.testing.assert_close(values, expected[name])


@pytest.mark.parametrize(
    ("shares", "match"),
    [
        (([batch(0)], [batch(-1)]), "10 vectors are too few for 11 audio words"),
        (([batch(-1)], [batch(-1)]), "No training track could be read"),
        (([],), "No training track could be read"),
    ],
)
def test_too_few_segments_raise_on_all_devices(shares, match):
    errors = sample_on_devices(*shares, words=11)
    assert len(set(errors)) == 1
    assert match in errors[0]


def test_sampling_stops_on_a_signal(monkeypatch):
    """Lightning handles signals only between training batches."""
    read = []

    def tracks():
        for track in range(3):
            read.append(track)
            monkeypatch.setattr(signals, "received", signal.SIGTERM if track else None)
            yield batch(track)

    with pytest.raises(Stopped):
        sample_on_devices(tracks())
    assert read == [0, 1]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda: SegmentVectors(segment_frames=0),
            "segment_frames=0: must be a whole",
        ),
        (lambda: SegmentVectors(components=0), "components=0: must be a whole number from 1"),
        (lambda: AudioWords(SegmentVectors(), 1), "size=1: must be a whole number from 2"),
    ],
)
def test_invalid_settings_raise(make, match):
    with pytest.raises(MgcError, match=match):
        make()
