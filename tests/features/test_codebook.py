import pytest
import torch
from sklearn.cluster import KMeans

from mgc.errors import MgcError
from mgc.features.codebook import fit_codebook, nearest_centre


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


def test_as_good_as_scikit_learn():
    """Where groups are clear and where there are none."""
    clear, _ = blobs()
    for vectors in (clear, torch.randn(3000, 8, generator=torch.Generator().manual_seed(1))):
        book = fit_codebook(vectors, 12, seed=0)
        peer = KMeans(12, n_init=1, random_state=0).fit(vectors.numpy())
        assert book.inertia == pytest.approx(inertia(vectors, book.centres), rel=1e-4)
        assert book.inertia < 1.15 * peer.inertia_ / len(vectors)


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


def test_equal_vectors_leave_no_centre_undefined():
    """More centres than different vectors."""
    vectors = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(20, 1)
    book = fit_codebook(vectors, 4)
    assert book.centres.isfinite().all()
    assert book.inertia == 0


def test_too_few_vectors():
    with pytest.raises(MgcError, match=r"10 vectors to make 12 audio words.*smaller codebook_size"):
        fit_codebook(torch.randn(10, 2), 12)
