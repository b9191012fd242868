import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from mgc.errors import MgcError
from mgc.features.codebook import (
    _lloyd,
    _split_and_merge,
    _Vectors,
    fit_codebook,
    nearest_centre,
)


def blobs(count=3000, groups=12, width=8):
    generator = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(groups, width, generator=generator)
    labels = torch.randint(groups, (count,), generator=generator)
    return centres[labels] + torch.randn(count, width, generator=generator), labels


def inertia(vectors, centres):
    return torch.cdist(vectors, centres).square().amin(1).mean().item()


def test_nearest_centre_is_the_nearest():
    vectors, _ = blobs()
    centres = vectors[:40]
    expected = torch.cdist(vectors, centres).argmin(1)
    assert torch.equal(nearest_centre(vectors, centres), expected)
    shaped = nearest_centre(vectors.view(10, 300, 8), centres)
    assert torch.equal(shaped.flatten(), expected)


@pytest.mark.parametrize("count", [300, 3000, 9000])
@pytest.mark.parametrize("groups", [12, 100, 1])
def test_no_worse_than_scikit_learn(count, groups):
    """As many groups as centres, more groups, and no groups; with and without samples."""
    vectors, _ = blobs(count, groups)
    books = [fit_codebook(vectors, 12, seed) for seed in range(5)]
    peers = [KMeans(12, n_init=1, random_state=seed).fit(vectors.numpy()) for seed in range(5)]
    for book in books:
        assert book.inertia == pytest.approx(inertia(vectors, book.centres), rel=1e-5)
    ours, theirs = ([x.inertia for x in books], [x.inertia_ / count for x in peers])
    assert np.mean(ours) < 1.005 * np.mean(theirs)


def test_clusters_are_split_and_merged():
    """Lloyd's algorithm alone keeps two centres in one group and none in another."""
    groups = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    noise = torch.randn(3, 100, 2, generator=torch.Generator().manual_seed(0))
    vectors = _Vectors((groups[:, None] + noise).flatten(0, 1))
    start = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [10.0, 10.0]])
    stuck = _lloyd(vectors, start, 30, 0.0)
    assert stuck.inertia > 50
    swapped = _split_and_merge(vectors, stuck.centres, torch.Generator().manual_seed(0))
    assert _lloyd(vectors, swapped, 30, 0.0).inertia < 2.5
    # Then there is nothing left to gain.
    assert _split_and_merge(vectors, swapped, torch.Generator().manual_seed(0)) is None


def test_a_centre_without_vectors_moves():
    vectors = _Vectors(torch.tensor([[0.0], [1.0], [2.0], [9.0]]))
    clusters = vectors.cluster(torch.tensor([[1.0], [-50.0]]))
    assert clusters.counts.tolist() == [4, 0]
    assert clusters.means.flatten().tolist() == [3.0, 9.0]
    assert clusters.inertia == (1 + 0 + 1 + 64) / 4


def test_centres_are_the_means_of_their_vectors():
    vectors, _ = blobs()
    centres = fit_codebook(vectors, 12, tolerance=0).centres
    labels = nearest_centre(vectors, centres)
    for word, centre in enumerate(centres):
        torch.testing.assert_close(centre, vectors[labels == word].mean(0), atol=1e-4, rtol=0)


def test_the_same_seed_gives_the_same_codebook():
    vectors, _ = blobs()
    first, again, other = (fit_codebook(vectors, 12, seed).centres for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_equal_vectors_give_finite_centres():
    """More centres than distinct vectors."""
    vectors = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(20, 1)
    book = fit_codebook(vectors, 4)
    assert book.centres.isfinite().all()
    assert book.inertia == 0


def test_as_many_centres_as_vectors():
    vectors = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    book = fit_codebook(vectors, 12)
    assert torch.equal(book.centres.unique(dim=0), vectors.unique(dim=0))


def test_too_few_vectors_raise():
    with pytest.raises(
        MgcError, match=r"10 vectors are too few for 12 audio words.*smaller codebook_size"
    ):
        fit_codebook(torch.randn(10, 2), 12)
