"""Fits codebooks by k-means clustering, on the device of the vectors."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mgc.errors import MgcError

#: Number of distances to compute at a time, small enough for a CPU's cache, large enough for a GPU.
CPU_SCORES = 2**20
GPU_SCORES = 2**26

#: Number of vectors to sum in single precision before the sums are added in double precision.
SUM_BLOCK = 2**16

#: Number of vectors per centre from which the initial centres are drawn.
SEEDING_VECTORS = 32

#: Numbers of vectors per centre in the samples that are clustered before all vectors.
SAMPLE_VECTORS = (64, 256)

#: Stop criteria of a sample: gain of a step as a share of the inertia, and number of steps.
SAMPLE_TOLERANCE = 1e-3
SAMPLE_STEPS = 30

#: Maximum number of rounds of splitting and merging in a sample.
MAX_ROUNDS = 8

#: Number of steps of 2-means when splitting a cluster.
SPLIT_STEPS = 5

#: Maximum share of a centre's last move that is added to the next one.
MAX_MOMENTUM = 0.7


@dataclass
class Codebook:
    """Centres of shape (centres, width); inertia is the mean squared distance to the nearest."""

    centres: Tensor
    inertia: float


def nearest_centre(vectors: Tensor, centres: Tensor) -> Tensor:
    """Return the nearest centre of each vector of shape (..., width); the first one in a tie."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    # The nearest centre has the largest v·c - |c|²/2.
    scores = torch.addmm(-centres.square().sum(-1) / 2, flat, centres.T)
    return scores.argmax(-1).view(vectors.shape[:-1])


def check_enough(vectors: int, size: int) -> None:
    """Raise an ``MgcError`` if there are fewer vectors than words."""
    if vectors < size:
        raise MgcError(
            f"{vectors} vectors are too few for {size} audio words. Use more or longer "
            "training tracks, or a smaller codebook_size."
        )


@torch.no_grad()
def fit_codebook(
    vectors: Tensor, size: int, seed: int = 0, iterations: int = 100, tolerance: float = 1e-4
) -> Codebook:
    """Cluster vectors by k-means: most steps on samples, the last ones on all vectors.

    The initial centres are chosen by k-means++ from 32 vectors per centre. Lloyd's algorithm then
    clusters a sample of 64 vectors per centre, and one of 256, where clusters are split and merged
    as long as that lowers the inertia. Lloyd's algorithm on all vectors thus starts close to
    convergence. Steps have momentum; a step that raises the inertia is undone. A centre without
    vectors moves to the vector that is farthest from its own centre. The result is deterministic
    for a device, vectors of shape (vectors, width) and a seed.

    Source: splitting and merging as in Kaukoranta, Fränti and Nevalainen, "Iterative
    split-and-merge algorithm for vector quantization codebook generation", Optical Engineering 37
    (10), 1998. benchmarks/audio_words.py compares it with other implementations.

    Raises:
        MgcError: If there are fewer vectors than centres.
    """
    check_enough(len(vectors), size)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(vectors), generator=generator)[: SAMPLE_VECTORS[-1] * size]
    sample = vectors[order.to(vectors.device)]
    centres = _first_centres(sample[: SEEDING_VECTORS * size], size, generator)
    for each in SAMPLE_VECTORS:
        part = _Vectors(sample[: each * size])
        for _ in range(MAX_ROUNDS):
            centres = _lloyd(part, centres, SAMPLE_STEPS, SAMPLE_TOLERANCE).centres
            swapped = _split_and_merge(part, centres, generator)
            if swapped is None:
                break
            centres = swapped
        if each * size >= len(vectors):
            break
    return _lloyd(_Vectors(vectors), centres, iterations, tolerance)


@dataclass
class _Clusters:
    """Nearest centre of each vector, and number and mean of the vectors of each centre."""

    labels: Tensor
    counts: Tensor
    means: Tensor
    inertia: float


class _Vectors:
    """Vectors to cluster."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.squares = torch.cat([part.square().sum(-1) for part in values.split(SUM_BLOCK)])

    def cluster(self, centres: Tensor) -> _Clusters:
        """Assign the vectors to their nearest centres."""
        at_a_time = CPU_SCORES if centres.device.type == "cpu" else GPU_SCORES
        rows = max(1, at_a_time // len(centres))
        scores = centres.new_empty(min(rows, len(self.values)), len(centres))
        best = torch.empty_like(self.squares)
        labels = torch.empty_like(self.squares, dtype=torch.long)
        offset = -centres.square().sum(-1) / 2
        for start in range(0, len(self.values), rows):
            part = slice(start, start + rows)
            values = self.values[part]
            score = torch.addmm(offset, values, centres.T, out=scores[: len(values)])
            torch.max(score, 1, out=(best[part], labels[part]))
        distances = best.mul_(-2).add_(self.squares).clamp_(min=0)
        means, counts = self.means(labels, len(centres))
        lost = counts == 0
        if lost.any():
            means[lost] = self.values[distances.topk(int(lost.sum())).indices].double()
        return _Clusters(labels, counts, means, float(distances.mean(dtype=torch.float64)))

    def means(self, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return the mean of each label's vectors in double precision, and their number."""
        counts = torch.bincount(labels, minlength=size)
        sums = self.values.new_zeros((size, self.values.shape[1]), dtype=torch.float64)
        for values, part in zip(self.values.split(SUM_BLOCK), labels.split(SUM_BLOCK), strict=True):
            # Sum in order of the labels, to be deterministic with any number of threads.
            ends = torch.bincount(part, minlength=size).cumsum(0)
            begins = F.pad(ends[:-1], (1, 0))
            sums += F.embedding_bag(part.argsort(stable=True), values, begins, mode="sum")
        return sums / counts.clamp(min=1)[:, None], counts

    def halves(self, clusters: _Clusters, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Split each cluster in two by 2-means.

        Return the means of the halves in double precision, of shape (centres, 2, width), and the
        decrease of the sum of squared distances by each split.
        """
        size, width = clusters.means.shape
        across = torch.randn(size, width, generator=generator).to(self.values.device)
        middle = (across * clusters.means).sum(-1).float()
        for _ in range(SPLIT_STEPS):
            side = [
                (values * across[label]).sum(-1) > middle[label]
                for values, label in zip(
                    self.values.split(SUM_BLOCK), clusters.labels.split(SUM_BLOCK), strict=True
                )
            ]
            means, counts = self.means(2 * clusters.labels + torch.cat(side), 2 * size)
            means, counts = means.view(size, 2, width), counts.view(size, 2)
            across = (means[:, 1] - means[:, 0]).float()
            middle = ((means[:, 1].square() - means[:, 0].square()).sum(-1) / 2).float()
        shares = counts.prod(-1) / counts.sum(-1).clamp(min=1)
        return means, shares * (means[:, 1] - means[:, 0]).square().sum(-1)


def _lloyd(vectors: _Vectors, centres: Tensor, steps: int, tolerance: float) -> Codebook:
    """Run Lloyd's algorithm with Nesterov momentum, reset after a bad step."""
    found = vectors.cluster(centres)
    best = Codebook(centres, found.inertia)
    means = before = found.means
    age = 0
    for _ in range(steps):
        momentum = min(MAX_MOMENTUM, age / (age + 3))
        centres = (means + momentum * (means - before)).to(centres.dtype)
        found = vectors.cluster(centres)
        gain = best.inertia - found.inertia
        if gain < 0 and age:
            # Without momentum, a step from the best centres cannot raise the inertia.
            before, age = means, 0
            continue
        if gain > 0:
            best = Codebook(centres, found.inertia)
        if gain <= tolerance * best.inertia:
            break
        before, means = means, found.means
        # A centre that jumped to a far vector has no momentum.
        before = torch.where(found.counts[:, None] > 0, before, means)
        age += 1
    return best


def _split_and_merge(
    vectors: _Vectors, centres: Tensor, generator: torch.Generator
) -> Tensor | None:
    """Merge pairs of clusters and split others where the gain exceeds the loss, else return None.

    Gain and loss are computed with fixed labels, so the inertia falls by at least their difference.
    """
    clusters = vectors.cluster(centres)
    means, counts = clusters.means, clusters.counts.double()
    halves, gain = vectors.halves(clusters, generator)
    # Ward's distance: the increase of the sum of squared distances by merging.
    loss = torch.cdist(means, means).square()
    loss *= counts[:, None] * counts / (counts[:, None] + counts).clamp(min=1)
    loss.fill_diagonal_(math.inf)
    least, nearest = loss.min(1)
    pairs = least.argsort(stable=True).tolist()
    splits = gain.argsort(descending=True, stable=True).tolist()
    losses, partner, gains = least.tolist(), nearest.tolist(), gain.tolist()
    new = means.clone()
    used: set[int] = set()
    for one in pairs:
        other = partner[one]
        if one in used or other in used:
            continue
        used |= {one, other}
        while splits and splits[0] in used:
            splits.pop(0)
        if not splits or gains[splits[0]] <= losses[one]:
            break
        split = splits.pop(0)
        used.add(split)
        weights = counts[[one, other], None]
        new[one] = (weights * means[[one, other]]).sum(0) / weights.sum().clamp(min=1)
        new[split], new[other] = halves[split]
    return None if torch.equal(new, means) else new.to(centres.dtype)


def _first_centres(vectors: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Draw initial centres by k-means++ (Arthur and Vassilvitskii, SODA 2007).

    Greedy as in scikit-learn: of a few candidates, the one that lowers the inertia most is taken.
    """
    squares = vectors.square().sum(-1)
    chosen = torch.zeros(size, dtype=torch.long, device=vectors.device)
    distances = _distances(vectors, squares, chosen[:1])[:, 0]
    for position in range(1, size):
        # Draw with the distances as probabilities by exponential waiting times, since the order of
        # a cumulative sum is not deterministic on a GPU.
        waiting = torch.empty(len(vectors)).exponential_(generator=generator).to(vectors.device)
        candidates = (distances / waiting).topk(min(2 + int(math.log(size)), len(vectors))).indices
        nearer = _distances(vectors, squares, candidates).minimum(distances[:, None])
        best = nearer.sum(0).argmin()
        chosen[position], distances = candidates[best], nearer[:, best]
    return vectors[chosen]


def _distances(vectors: Tensor, squares: Tensor, rows: Tensor) -> Tensor:
    """Return the squared distances of all vectors to the vectors in ``rows``."""
    products = vectors @ vectors[rows].T
    return (squares[:, None] - 2 * products + squares[rows]).clamp(min=0)
