"""Sparse coding of segments with a learned dictionary."""

import warnings
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from sklearn.decomposition import MiniBatchDictionaryLearning
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from mgc.core.ranges import Epochs, Range, Width
from mgc_segment_codes.base import SegmentCoder


def soft_threshold(values: Tensor, threshold: Tensor) -> Tensor:
    """Shrink values towards zero by the threshold."""
    return values.sign() * (values.abs() - threshold).clamp(min=0)


def lasso(vectors: Tensor, atoms: Tensor, alpha: float, steps: int) -> Tensor:
    """Return codes z of shape (..., atoms) that minimise ½‖x - zD‖² + α‖z‖₁, by FISTA.

    Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse
    problems", SIAM Journal on Imaging Sciences, 2009.

    Args:
        vectors: x, of shape (..., dimensions).
        atoms: D, of shape (atoms, dimensions).
        alpha: α.
        steps: Number of iterations.
    """
    gram, right = atoms @ atoms.T, vectors @ atoms.T
    # Lipschitz constant of the gradient: the squared largest singular value.
    slope = torch.linalg.matrix_norm(atoms, 2).square().clamp(min=1e-12)
    codes = ahead = torch.zeros_like(right)
    momentum = 1.0
    for _ in range(steps):
        before, codes = codes, soft_threshold(ahead - (ahead @ gram - right) / slope, alpha / slope)
        last, momentum = momentum, (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = codes + (last - 1) / momentum * (codes - before)
    return codes


class SparseCoding(SegmentCoder):
    """Sparse coding of segments with a learned dictionary, and max-pooling of magnitudes.

    It uses scikit-learn's mini-batch dictionary learning (Mairal, Bach, Ponce and Sapiro, "Online
    dictionary learning for sparse coding", ICML 2009) in place of SPAMS, which implements the same
    paper. The dictionary is learned before the first epoch; epochs only train the linear layer.
    ``val/…_nonzero`` is the mean share of nonzero atoms in a code.
    """

    def __init__(
        self,
        atoms: Width = 256,
        alpha: Annotated[float, Range(0, 1000, closed="right")] = 1.0,
        dictionary_segments: Annotated[int, Range(1, 10**7)] = 16384,
        passes: Epochs = 4,
        steps: Annotated[int, Range(1, 10**5)] = 100,
        **kwargs: Any,
    ) -> None:
        """Initialize the model.

        Args:
            atoms: Number of atoms for each feature.
            alpha: Weight of the L1 norm; larger values give sparser codes.
            dictionary_segments: Number of training segments for dictionary learning.
            passes: Number of passes over these segments.
            steps: Number of iterations to find a code; 100 come within 0.1 % of the minimum for 256
                atoms.
            **kwargs: Arguments of :class:`mgc_segment_codes.base.SegmentCoder`.

        Raises:
            MgcError: If a setting is out of range.
        """
        super().__init__(**kwargs)
        self.make_head(atoms)
        self.alpha = alpha
        self.dictionary_segments = dictionary_segments
        self.passes = passes
        self.steps = steps
        for name, width in self.segments.dimensions.items():
            self.register_buffer(f"atoms_{name}", torch.zeros(atoms, width))

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Learn the dictionaries."""
        for name, vectors in samples.items():
            atoms = self.get_buffer(f"atoms_{name}")
            learner = MiniBatchDictionaryLearning(
                len(atoms),
                alpha=self.alpha,
                max_iter=self.passes,
                fit_algorithm="cd",
                random_state=self.sample_seed,
            )
            # In float32 the solver does not reach its tolerance.
            sample = vectors[: self.dictionary_segments].cpu().double().numpy()
            with warnings.catch_warnings():
                # Approximate codes suffice to update the dictionary.
                warnings.simplefilter("ignore", ConvergenceWarning)
                found = learner.fit(sample).components_
            atoms.copy_(torch.from_numpy(found))

    def signed_code(self, feature: str, vectors: Tensor) -> Tensor:
        """Return codes with signs, as needed for reconstruction."""
        atoms = self.get_buffer(f"atoms_{feature}")
        # The last steps are too small for half precision.
        dtype = torch.promote_types(vectors.dtype, torch.float32)
        with torch.autocast(vectors.device.type, enabled=False):
            codes = lasso(vectors.to(dtype), atoms.to(dtype), self.alpha, self.steps)
        return codes.to(vectors.dtype)

    def code(self, feature: str, vectors: Tensor) -> Tensor:
        """Return the magnitudes of the codes."""
        return self.signed_code(feature, vectors).abs()

    def measures(self, feature: str, vectors: Tensor) -> dict[str, Tensor]:
        """Return the mean share of nonzero atoms in a code."""
        return {"nonzero": (self.signed_code(feature, vectors) != 0).float().mean()}

    def error(self, feature: str, vectors: Tensor) -> Tensor:
        """Return the reconstruction error."""
        atoms = self.get_buffer(f"atoms_{feature}").to(vectors.dtype)
        return (self.signed_code(feature, vectors) @ atoms - vectors).square().mean()
