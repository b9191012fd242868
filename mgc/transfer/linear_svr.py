"""Linear support vector regression by an interior-point method.

With a few hundred features, the kernel of a linear SVR has low rank. For large ``C``, libsvm's
sequential minimal optimisation then takes millions of steps. A primal-dual interior-point method
finds the same minimum in about twenty steps. Each step solves one linear system; its size is the
number of features.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, qr

from mgc.errors import MgcError

MAX_STEPS = 200
#: Weight of the proximal term, which bounds the condition number.
PROXIMAL = 1e-8
#: Signs of errors above and below the tube.
SIGN = np.array([[1.0], [-1.0]])


@dataclass
class LinearSVR:
    """Support vector regression with a linear kernel and an unpenalised intercept.

    Minimises ``|w|² / 2 + cost * sum(max(0, |y - x w - b| - epsilon))``, like
    ``sklearn.svm.SVR(kernel="linear")``. (``sklearn.svm.LinearSVR`` penalises the intercept.)

    Source: S. Mehrotra, On the implementation of a primal-dual interior point method (1992), for
    the dual; M. Ferris, T. Munson, Interior-point methods for massive support vector machines
    (2002), for the reduction to one system in ``w`` and ``b``.

    Attributes:
        cost: Weight of the errors (``C``).
        epsilon: Maximum error without loss.
        tolerance: Maximum violation of the optimality conditions, and maximum duality gap, relative
            to the scale of the targets, the weights and the objective.
    """

    cost: float = 1.0
    epsilon: float = 0.1  # default of scikit-learn, used by Choi et al. (2017)
    tolerance: float = 1e-7

    def fit(self, features: np.ndarray, targets: np.ndarray) -> "LinearSVR":
        """Fit weights and intercept to features (tracks, width) and targets (tracks,).

        Raises:
            MgcError: If the method does not converge.
        """
        # The optimum only depends on inner products, so a rotation can reduce the width to the
        # number of tracks.
        rotation = None
        if features.shape[1] > len(features):
            rotation, triangle = qr(features.T, mode="economic")
            features = triangle.T
        centre = features.mean(0)  # improves conditioning; moved to the intercept below
        self.intercept, self.weights = self._solve(features - centre, targets)
        self.intercept -= float(centre @ self.weights)
        if rotation is not None:
            self.weights = rotation @ self.weights
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return predictions of shape (tracks,)."""
        return features @ self.weights + self.intercept

    def _solve(self, x: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        n, width = x.shape
        # Each track has two dual coefficients between 0 and cost, for errors above (row 0) and
        # below (row 1) the tube. `low` and `high` are the multipliers of these bounds.
        dual = np.full((2, n), self.cost / 2)
        low, high = np.ones((2, n)), np.ones((2, n))
        weights, intercept = np.zeros(width), float(np.median(targets))
        scale = 1.0 + float(np.abs(targets).max())

        for _ in range(MAX_STEPS):
            room = self.cost - dual
            slope = self.epsilon + SIGN * (x @ weights + intercept - targets)
            balance = (SIGN * dual).sum(0)
            gap = float((dual * low + room * high).sum()) / (2 * n)
            primal = float(weights @ weights) / 2 + self.cost * float(np.maximum(-slope, 0).sum())
            worst = max(
                float(np.abs(slope - low + high).max()) / scale,
                float(np.abs(weights - balance @ x).max()) / (1.0 + float(np.abs(weights).max())),
                2 * n * gap / (1.0 + primal),
            )
            if worst < self.tolerance:
                return intercept, weights

            newton = _Newton(x, weights, slope, balance, dual, room, low, high, scale / self.cost)
            # Mehrotra's predictor aims at gap 0. The gap it reaches sets the corrector's target.
            _, d_dual, d_low, d_high = newton.step(0.0, 0.0)
            length = newton.reach(d_dual, d_low, d_high)
            ahead = (dual + length * d_dual) * (low + length * d_low)
            ahead += (room - length * d_dual) * (high + length * d_high)
            aim = gap * (float(ahead.sum()) / (2 * n) / gap) ** 3
            move, d_dual, d_low, d_high = newton.step(aim - d_dual * d_low, aim + d_dual * d_high)
            length = min(1.0, 0.995 * newton.reach(d_dual, d_low, d_high))
            weights = weights + length * move[:width]
            intercept += length * float(move[width])
            dual = dual + length * d_dual
            low, high = low + length * d_low, high + length * d_high
        raise MgcError(
            f"Linear SVR did not converge in {MAX_STEPS} steps (C={self.cost:g}). Standardise "
            "features and targets."
        )


class _Newton:
    """Computes Newton steps from one iterate, which share a factorisation."""

    def __init__(
        self,
        x: np.ndarray,
        weights: np.ndarray,
        slope: np.ndarray,
        balance: np.ndarray,
        dual: np.ndarray,
        room: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        unit: float,
    ) -> None:
        self.x, self.weights, self.slope, self.balance = x, weights, slope, balance
        self.dual, self.room, self.low, self.high = dual, room, low, high
        # The proximal term bounds the condition number. It shortens steps without changing the
        # solution.
        self.inverse = 1.0 / (low / dual + high / room + PROXIMAL * unit)
        width = x.shape[1]
        weight = self.inverse.sum(0)
        system = np.empty((width + 1, width + 1))
        system[:width, :width] = (x.T * weight) @ x
        system[:width, :width].flat[:: width + 1] += 1.0
        system[:width, width] = system[width, :width] = weight @ x
        system[width, width] = weight.sum()
        self.factor = cho_factor(system, check_finite=False)

    def step(
        self, low_aim: np.ndarray | float, high_aim: np.ndarray | float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Step towards ``dual * low = low_aim`` and ``room * high = high_aim``.

        Returns:
            Changes of weights and intercept, of the dual coefficients, of `low` and of `high`.
        """
        force = self.slope - low_aim / self.dual + high_aim / self.room
        fixed = self.balance - (SIGN * force * self.inverse).sum(0)
        right = np.append(fixed @ self.x - self.weights, fixed.sum())
        move = cho_solve(self.factor, right, check_finite=False)
        d_dual = -(force + SIGN * (self.x @ move[:-1] + move[-1])) * self.inverse
        d_low = (low_aim - self.low * d_dual) / self.dual - self.low
        d_high = (high_aim + self.high * d_dual) / self.room - self.high
        return move, d_dual, d_low, d_high

    def reach(self, d_dual: np.ndarray, d_low: np.ndarray, d_high: np.ndarray) -> float:
        """Return the longest step, up to 1, that keeps all bounded values positive."""
        shrinking = max(
            float((-d_dual / self.dual).max()),
            float((d_dual / self.room).max()),
            float((-d_low / self.low).max()),
            float((-d_high / self.high).max()),
        )
        return 1.0 / max(1.0, shrinking)
