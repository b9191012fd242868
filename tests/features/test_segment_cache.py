"""Values of segments that stay in memory."""

import torch

from mgc.features.segment_cache import SegmentCache


class Sums:
    """Sums of 10 samples each, with the number of calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, audio):
        self.calls += 1
        whole = audio.shape[1] // 10 * 10
        return {"sum": audio[:, :whole].reshape(1, -1, 10).sum(2)}


def test_tracks_are_computed_once_whatever_their_batches():
    audio, length, sums = torch.randn(3, 60), torch.tensor([60, 25, 40]), Sums()
    cache = SegmentCache()
    first = cache(sums, audio, length)["sum"]
    assert first.shape == (3, 6)
    assert torch.equal(first[1], torch.cat([Sums()(audio[1:2, :25])["sum"][0], torch.zeros(4)]))
    again = cache(sums, audio[[2, 1], :40], length[[2, 1]])["sum"]
    assert torch.equal(again, first[[2, 1], :4])
    assert sums.calls == 3


def test_complete_tracks_are_used_without_lengths():
    audio, cache = torch.randn(2, 60), SegmentCache()
    assert torch.equal(cache(Sums(), audio, None)["sum"][1:], Sums()(audio[1:])["sum"])


def test_changed_audio_is_computed_again():
    audio, length, sums, cache = torch.randn(1, 60), torch.tensor([60]), Sums(), SegmentCache()
    cache(sums, audio, length)
    audio[0, 31] += 1e-6
    assert torch.equal(cache(sums, audio, length)["sum"], Sums()(audio)["sum"])
    assert sums.calls == 2
    # What follows the end of a track is no part of it.
    cache(sums, torch.cat([audio, torch.ones(1, 5)], 1), length)
    assert sums.calls == 2


def test_a_full_cache_keeps_its_values():
    audio, sums, cache = torch.randn(3, 60), Sums(), SegmentCache(budget=2 * 6 * 4)
    for _ in range(2):
        values = cache(sums, audio, None)["sum"]
    torch.testing.assert_close(values, audio.reshape(3, 6, 10).sum(2))
    assert sums.calls == 3 + 1
