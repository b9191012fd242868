"""Codebooks by k-means clustering, on the device that the vectors are on."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mgc.errors import MgcError

#: Distances that are computed at a time: what a processor's cache holds, and what keeps a GPU busy.
CPU_SCORES = 2**20
GPU_SCORES = 2**26

#: Vectors that are summed in single precision before they are added in double precision.
SUMMED = 2**16

#: Vectors for each centre that the first centres are drawn from.
SEEDING = 32

#: Vectors for each centre in the samples that are clustered before all vectors are.
SAMPLES = (64, 256)

#: Gain of a step, as a share of the inertia, below which a sample is done, and its most steps.
SAMPLE_TOLERANCE = 1e-3
SAMPLE_STEPS = 30

#: Most rounds of splitting and merging in a sample.
ROUNDS = 8

#: Steps of 2-means in which a cluster is split.
SPLIT_STEPS = 5

#: Largest share of a centre's last move that is added to the next one.
MOMENTUM = 0.7


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
    flat = vectors.reshape(-1, vectors.shape[-1])
    # Largest for the nearest centre: v·c - |c|²/2.
    scores = torch.addmm(-centres.square().sum(-1) / 2, flat, centres.T)
    return scores.argmax(-1).view(vectors.shape[:-1])


def check_enough(vectors: int, size: int) -> None:
    """Check that there are as many vectors as words.

    Args:
        vectors: Number of vectors.
        size: Number of words.

    Raises:
        MgcError: If there are fewer.
    """
    if vectors < size:
        raise MgcError(
            f"{vectors} vectors to make {size} audio words of: use more or longer training "
            "tracks, or a smaller codebook_size."
        )


@torch.no_grad()
def fit_codebook(
    vectors: Tensor, size: int, seed: int = 0, iterations: int = 100, tolerance: float = 1e-4
) -> Codebook:
    """Cluster vectors by k-means: most of the work on samples, the last steps on all vectors.

    The first centres are chosen by k-means++ among 32 vectors a centre. A sample of 64 vectors a
    centre, then one of 256, is clustered by Lloyd's algorithm; clusters are split and merged where
    that lowers the inertia, and it goes on, until nothing is left to gain. So Lloyd's algorithm on
    all vectors starts near its end, and in a better optimum than it finds by itself. Steps have
    momentum; one that makes things worse is taken back. A centre that loses all its vectors moves
    to the vector that is farthest from its own.

    Memory beside the vectors: 24 bytes a vector, a sample of 256 vectors a centre, and distances of
    a few thousand vectors.

    Source: splitting and merging as in Kaukoranta, Fränti and Nevalainen, "Iterative
    split-and-merge algorithm for vector quantization codebook generation", Optical Engineering 37
    (10), 1998.

    Args:
        vectors: Of shape (vectors, width), float32.
        size: Number of centres.
        seed: Seed of the samples and the first centres.
        iterations: Largest number of steps on all vectors.
        tolerance: Stop when a step lowers the inertia by less than this share of it.

    Returns:
        The codebook. On one device the same vectors and the same seed always give the same one.

    Raises:
        MgcError: If there are fewer vectors than centres.
    """
    check_enough(len(vectors), size)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(vectors), generator=generator)[: SAMPLES[-1] * size]
    sample = vectors[order.to(vectors.device)]
    centres = _first_centres(sample[: SEEDING * size], size, generator)
    for each in SAMPLES:
        some = _Vectors(sample[: each * size])
        for _ in range(ROUNDS):
            centres = _lloyd(some, centres, SAMPLE_STEPS, SAMPLE_TOLERANCE).centres
            swapped = _split_and_merge(some, centres, generator)
            if swapped is None:
                break
            centres = swapped
        if each * size >= len(vectors):
            break
    return _lloyd(_Vectors(vectors), centres, iterations, tolerance)


@dataclass
class _Clusters:
    """Vectors shared out among the nearest centres.

    Attributes:
        labels: Nearest centre of each vector.
        counts: Vectors of each centre.
        means: Their means in double precision, of shape (centres, width). The place of a centre
            that has none is the vector farthest from its own centre.
        inertia: Mean squared distance to the nearest centre.
    """

    labels: Tensor
    counts: Tensor
    means: Tensor
    inertia: float


class _Vectors:
    """Vectors that are clustered."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.squares = torch.cat([part.square().sum(-1) for part in values.split(SUMMED)])

    def cluster(self, centres: Tensor) -> _Clusters:
        """Share the vectors out among centres."""
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
        """Means of the vectors of each label in double precision, and how many they are."""
        counts = torch.bincount(labels, minlength=size)
        sums = self.values.new_zeros((size, self.values.shape[1]), dtype=torch.float64)
        for values, some in zip(self.values.split(SUMMED), labels.split(SUMMED), strict=True):
            # In order of the labels, so that nothing depends on which thread adds first.
            ends = torch.bincount(some, minlength=size).cumsum(0)
            begins = F.pad(ends[:-1], (1, 0))
            sums += F.embedding_bag(some.argsort(stable=True), values, begins, mode="sum")
        return sums / counts.clamp(min=1)[:, None], counts

    def halves(self, clusters: _Clusters, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Split each cluster in two by 2-means.

        Returns:
            Means of the halves in double precision, of shape (centres, 2, width), and by how much
            each split lowers the sum of squared distances.
        """
        size, width = clusters.means.shape
        across = torch.randn(size, width, generator=generator).to(self.values.device)
        middle = (across * clusters.means).sum(-1).float()
        for _ in range(SPLIT_STEPS):
            side = [
                (values * across[label]).sum(-1) > middle[label]
                for values, label in zip(
                    self.values.split(SUMMED), clusters.labels.split(SUMMED), strict=True
                )
            ]
            means, counts = self.means(2 * clusters.labels + torch.cat(side), 2 * size)
            means, counts = means.view(size, 2, width), counts.view(size, 2)
            across = (means[:, 1] - means[:, 0]).float()
            middle = ((means[:, 1].square() - means[:, 0].square()).sum(-1) / 2).float()
        shares = counts.prod(-1) / counts.sum(-1).clamp(min=1)
        return means, shares * (means[:, 1] - means[:, 0]).square().sum(-1)


def _lloyd(vectors: _Vectors, centres: Tensor, steps: int, tolerance: float) -> Codebook:
    """Lloyd's algorithm with momentum (Nesterov's, as far as the steps go well)."""
    found = vectors.cluster(centres)
    best = Codebook(centres, found.inertia)
    means = before = found.means
    age = 0
    for _ in range(steps):
        momentum = min(MOMENTUM, age / (age + 3))
        centres = (means + momentum * (means - before)).to(centres.dtype)
        found = vectors.cluster(centres)
        gain = best.inertia - found.inertia
        if gain < 0 and age:
            # A plain step from the best centres cannot make things worse.
            before, age = means, 0
            continue
        if gain > 0:
            best = Codebook(centres, found.inertia)
        if gain <= tolerance * best.inertia:
            break
        before, means = means, found.means
        # What jumped to a far vector has no direction.
        before = torch.where(found.counts[:, None] > 0, before, means)
        age += 1
    return best


def _split_and_merge(
    vectors: _Vectors, centres: Tensor, generator: torch.Generator
) -> Tensor | None:
    """Merge pairs of clusters and split others, where the gain is larger than the loss.

    Gain and loss are those with the labels as they are, so that the inertia falls at least by their
    difference.

    Returns:
        New centres, or nothing if there is nothing to gain.
    """
    clusters = vectors.cluster(centres)
    means, counts = clusters.means, clusters.counts.double()
    halves, gain = vectors.halves(clusters, generator)
    # Ward's distance: by how much merging raises the sum of squared distances.
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
    """Draw centres far from one another (Arthur and Vassilvitskii, k-means++, SODA 2007).

    Greedy, as in scikit-learn: of a few vectors drawn each time, the one that serves best.

    Args:
        vectors: In random order.
        size: Number of centres.
        generator: Draws.
    """
    squares = vectors.square().sum(-1)
    chosen = torch.zeros(size, dtype=torch.long, device=vectors.device)
    distances = _distances(vectors, squares, chosen[:1])[:, 0]
    for place in range(1, size):
        # The smallest of exponential waiting times: a draw with the distances as probabilities
        # that has no running sum, which a GPU does not add in the same order every time.
        waiting = torch.empty(len(vectors)).exponential_(generator=generator).to(vectors.device)
        candidates = (distances / waiting).topk(min(2 + int(math.log(size)), len(vectors))).indices
        nearer = _distances(vectors, squares, candidates).minimum(distances[:, None])
        best = nearer.sum(0).argmin()
        chosen[place], distances = candidates[best], nearer[:, best]
    return vectors[chosen]


def _distances(vectors: Tensor, squares: Tensor, rows: Tensor) -> Tensor:
    """Squared distances of all vectors to some of them."""
    products = vectors @ vectors[rows].T
    return (squares[:, None] - 2 * products + squares[rows]).clamp(min=0)
