"""Codebooks by k-means clustering, on the device that the vectors are on."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mgc.errors import MgcError

#: Vectors whose distances to all centres are computed at a time: 32 MB for 500 centres, about what
#: a cache holds.
CHUNK = 16384

#: Vectors for each centre that the first centres are drawn from.
SEEDING = 32


@dataclass
class Codebook:
    """Result of k-means.

    Attributes:
        centres: Of shape (centres, width).
        inertia: Mean squared distance of a vector to its nearest centre.
    """

    centres: Tensor
    inertia: float


def nearest_centre(vectors: Tensor, centres: Tensor) -> Tensor:
    """Find the nearest centre of each vector.

    Args:
        vectors: Of shape (..., width).
        centres: Of shape (centres, width).

    Returns:
        Indices of shape (...); of equally near centres the first.
    """
    return _scores(vectors, centres).argmax(-1)


@torch.no_grad()
def fit_codebook(
    vectors: Tensor, size: int, seed: int = 0, iterations: int = 100, tolerance: float = 1e-4
) -> Codebook:
    """Cluster vectors by Lloyd's algorithm, started by k-means++.

    The first centres are chosen among 32 vectors a centre, every step uses all vectors. A centre
    that loses all its vectors moves to the vector that is farthest from its own.

    Args:
        vectors: Of shape (vectors, width), float32.
        size: Number of centres.
        seed: Seed of the first centres.
        iterations: Largest number of steps.
        tolerance: Stop when a step lowers the inertia by less than this share of it.

    Returns:
        The codebook. On one device the same vectors and the same seed always give the same one.

    Raises:
        MgcError: If there are fewer vectors than centres.
    """
    if len(vectors) < size:
        raise MgcError(
            f"{len(vectors)} vectors to make {size} audio words of: use more or longer training "
            "tracks, or a smaller codebook_size."
        )
    squares = vectors.square().sum(-1)
    centres = _first_centres(vectors, size, seed)
    labels, distances = _assign(vectors, squares, centres)
    inertia = float(distances.double().mean())
    for _ in range(iterations):
        centres = _means(vectors, labels, distances, centres)
        labels, distances = _assign(vectors, squares, centres)
        before, inertia = inertia, float(distances.double().mean())
        if before - inertia <= tolerance * before:
            break
    return Codebook(centres, inertia)


def _scores(vectors: Tensor, centres: Tensor) -> Tensor:
    """What is largest for the nearest centre: v·c - |c|²/2."""
    return torch.addmm(
        -centres.square().sum(-1) / 2, vectors.reshape(-1, vectors.shape[-1]), centres.T
    ).view(*vectors.shape[:-1], len(centres))


def _assign(vectors: Tensor, squares: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest centre of each vector and its squared distance."""
    labels = torch.empty(len(vectors), dtype=torch.long, device=vectors.device)
    distances = torch.empty_like(squares)
    for start in range(0, len(vectors), CHUNK):
        part = slice(start, start + CHUNK)
        best, labels[part] = _scores(vectors[part], centres).max(-1)
        distances[part] = (squares[part] - 2 * best).clamp(min=0)
    return labels, distances


def _means(vectors: Tensor, labels: Tensor, distances: Tensor, centres: Tensor) -> Tensor:
    """Mean of the vectors of each centre."""
    counts = torch.bincount(labels, minlength=len(centres))
    # In double precision the order in which a GPU adds makes no difference.
    sums = torch.zeros(centres.shape, dtype=torch.float64, device=vectors.device)
    for start in range(0, len(vectors), CHUNK):
        part = slice(start, start + CHUNK)
        sums.index_add_(0, labels[part], vectors[part].double())
    means = (sums / counts.clamp(min=1)[:, None]).to(vectors.dtype)
    lost = counts == 0
    if lost.any():
        means[lost] = vectors[distances.topk(int(lost.sum())).indices]
    return means


def _first_centres(vectors: Tensor, size: int, seed: int) -> Tensor:
    """Draw centres far from one another (Arthur and Vassilvitskii, k-means++, SODA 2007).

    Greedy, as in scikit-learn: of a few vectors drawn each time, the one that serves best.
    """
    generator = torch.Generator().manual_seed(seed)
    some = torch.randperm(len(vectors), generator=generator)[: SEEDING * size]
    vectors = vectors[some.to(vectors.device)]
    squares = vectors.square().sum(-1)
    # The sample is in random order already.
    chosen = torch.zeros(size, dtype=torch.long, device=vectors.device)
    distances = _distances(vectors, squares, chosen[:1])[:, 0]
    draws = torch.rand(size, 2 + int(math.log(size)), generator=generator, dtype=torch.float64)
    for place, draw in enumerate(draws.to(vectors.device)[1:], 1):
        total = distances.double().cumsum(0)
        candidates = torch.searchsorted(total, draw * total[-1]).clamp(max=len(vectors) - 1)
        nearer = _distances(vectors, squares, candidates).minimum(distances[:, None])
        best = nearer.sum(0).argmin()
        chosen[place], distances = candidates[best], nearer[:, best]
    return vectors[chosen]


def _distances(vectors: Tensor, squares: Tensor, rows: Tensor) -> Tensor:
    """Squared distances of all vectors to some of them."""
    products = vectors @ vectors[rows].T
    return (squares[:, None] - 2 * products + squares[rows]).clamp(min=0)
