"""Classifiers of the transfer experiment.

A classifier is fitted with every setting of its grid on the same training set, and reuses
intermediate results: a support vector machine uses the same kernel for all costs, nearest
neighbours use the same distances for all numbers of neighbours. ``benchmarks/transfer_sweep.py``
measures the speed-up over ``GridSearchCV``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import SVC, SVR

from mgc.errors import MgcError
from mgc.task import Task
from mgc.transfer.linear_svr import LinearSVR

Setting = dict[str, Any]


@dataclass
class Decision:
    """Predictions of a classifier.

    Attributes:
        value: Classes of shape (tracks,) for multiclass, else values of shape (tracks, outputs).
        scores: Scores of each class or tag, of shape (tracks, outputs); None for regression, or if
            not requested.
        are_probabilities: Whether the scores are probabilities.
    """

    value: np.ndarray
    scores: np.ndarray | None = None
    are_probabilities: bool = False


class Classifier(Protocol):
    """Classifier with a grid of settings."""

    def settings(self, width: int) -> list[Setting]:
        """Return the settings to try for this number of features."""

    def sweep(
        self,
        settings: list[Setting],
        train: np.ndarray,
        test: np.ndarray,
        targets: np.ndarray,
        task: Task,
        *,
        scores: bool = False,
    ) -> Iterator[tuple[int, Decision]]:
        """Fit every setting and predict the test tracks.

        Args:
            settings: Settings to fit.
            train: Features of shape (training tracks, width).
            test: Features of shape (test tracks, width).
            targets: Class indices of shape (training tracks,), or values of shape
                (training tracks, outputs).
            task: Task of the targets.
            scores: Whether to compute scores of each class as well.

        Yields:
            Index of a setting and its predictions, in any order.
        """


@dataclass(frozen=True)
class SupportVectorMachine:
    """Support vector machine with a linear or an RBF kernel.

    One machine is fitted per tag or quantity. Linear regression uses
    :class:`~mgc.transfer.linear_svr.LinearSVR`, everything else libsvm with precomputed kernels.
    A gamma of None is 1 / number of features.

    Source of the grid: Choi et al. (2017), section 4.1.
    """

    costs: tuple[float, ...] = (0.1, 2.0, 8.0, 32.0)
    gammas: tuple[float | None, ...] = (2**-3, 2**-5, 2**-7, 2**-9, 2**-11, 2**-13, None)
    linear: bool = True

    def settings(self, width: int) -> list[Setting]:
        """Return the settings to try (see :class:`Classifier`)."""
        gammas = [1 / width if gamma is None else gamma for gamma in self.gammas]
        grid: list[Setting] = [
            {"kernel": "rbf", "gamma": gamma, "C": cost}
            for gamma in dict.fromkeys(gammas)  # 1 / width may be in the list
            for cost in self.costs
        ]
        if self.linear:
            grid += [{"kernel": "linear", "gamma": np.nan, "C": cost} for cost in self.costs]
        return grid

    def sweep(
        self,
        settings: list[Setting],
        train: np.ndarray,
        test: np.ndarray,
        targets: np.ndarray,
        task: Task,
        *,
        scores: bool = False,
    ) -> Iterator[tuple[int, Decision]]:
        """Fit every setting and predict (see :class:`Classifier`)."""
        if task == "multiclass":
            # libsvm fits pairs of classes, which is faster if each class is contiguous in memory.
            order = np.argsort(targets, kind="stable")
            train, targets = train[order], targets[order]
        radial: dict[float, list[int]] = {}
        for i, setting in enumerate(settings):
            if setting["kernel"] == "rbf":
                radial.setdefault(setting["gamma"], []).append(i)
        linear = [i for i, setting in enumerate(settings) if setting["kernel"] == "linear"]
        if radial:
            distance, test_distance = (
                squared_distances(train, train),
                squared_distances(test, train),
            )
            kernel, test_kernel = np.empty_like(distance), np.empty_like(test_distance)
            for gamma, chosen in radial.items():
                for source, result in ((distance, kernel), (test_distance, test_kernel)):
                    np.multiply(source, -gamma, out=result)
                    np.exp(result, out=result)
                yield from self._sweep_costs(
                    settings, chosen, kernel, test_kernel, targets, task, scores
                )
            del distance, test_distance, kernel, test_kernel
        if linear and task == "regression":
            for i in linear:
                yield i, _linear_regression(settings[i]["C"], train, test, targets)
        elif linear:
            products = train @ train.T, test @ train.T
            yield from self._sweep_costs(settings, linear, *products, targets, task, scores)

    def _sweep_costs(
        self,
        settings: list[Setting],
        chosen: list[int],
        kernel: np.ndarray,
        test_kernel: np.ndarray,
        targets: np.ndarray,
        task: Task,
        scores: bool,
    ) -> Iterator[tuple[int, Decision]]:
        chosen = sorted(chosen, key=lambda i: settings[i]["C"])
        costs = [settings[i]["C"] for i in chosen]
        if task == "multiclass":
            yield from zip(
                chosen, _sweep_classes(costs, kernel, test_kernel, targets, scores), strict=True
            )
            return
        model = SVR if task == "regression" else SVC
        outputs = [
            _sweep_outputs(model, costs, kernel, test_kernel, column) for column in targets.T
        ]
        for i, *columns in zip(chosen, *outputs, strict=True):
            value = np.stack(columns, 1)
            yield i, Decision(value, value if task == "multilabel" else None)


def squared_distances(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return squared Euclidean distances, of shape (rows, columns)."""
    result = rows @ columns.T
    result *= -2
    result += (rows**2).sum(1)[:, None]
    result += (columns**2).sum(1)
    np.maximum(result, 0, out=result)
    if rows is columns:
        np.fill_diagonal(result, 0)
    return result


#: Limit of a fit, LIBSVM's own. scikit-learn has none by default, so that it would not end with
#: large features that are not standardised. It warns if a fit does not converge.
MAX_ITERATIONS = 10_000_000


def _is_bounded(machine: SVC | SVR, cost: float) -> bool:
    """Return whether a coefficient is at its bound. If none is, larger costs change nothing."""
    return bool(np.abs(machine.dual_coef_).max(initial=0) >= cost)


def _sweep_classes(
    costs: list[float],
    kernel: np.ndarray,
    test_kernel: np.ndarray,
    targets: np.ndarray,
    scores: bool,
) -> Iterator[Decision]:
    bounded = True
    for cost in costs:
        if bounded:
            machine = SVC(C=cost, kernel="precomputed", max_iter=MAX_ITERATIONS).fit(
                kernel, targets
            )
            bounded = _is_bounded(machine, cost)
            decision = Decision(machine.predict(test_kernel))
            if scores:
                values = machine.decision_function(test_kernel)
                if values.ndim == 1:
                    values = np.stack([-values, values], 1)
                decision.scores = np.full((len(values), int(targets.max()) + 1), -np.inf)
                decision.scores[:, machine.classes_] = values
        yield decision


def _sweep_outputs(
    model: type[SVC] | type[SVR],
    costs: list[float],
    kernel: np.ndarray,
    test_kernel: np.ndarray,
    targets: np.ndarray,
) -> Iterator[np.ndarray]:
    if model is SVC and targets.min() == targets.max():  # the tag applies to all or none
        yield from (np.full(len(test_kernel), targets[0]) for _ in costs)
        return
    bounded = True
    for cost in costs:
        if bounded:
            machine = model(C=cost, kernel="precomputed", max_iter=MAX_ITERATIONS)
            machine.fit(kernel, targets)
            bounded = _is_bounded(machine, cost)
            value = (machine.predict if model is SVR else machine.decision_function)(test_kernel)
        yield value


def _linear_regression(
    cost: float, train: np.ndarray, test: np.ndarray, targets: np.ndarray
) -> Decision:
    columns = [LinearSVR(cost).fit(train, column).predict(test) for column in targets.T]
    return Decision(np.stack(columns, 1))


@dataclass(frozen=True)
class NearestNeighbours:
    """Vote or mean of the nearest tracks by Euclidean distance."""

    neighbours: tuple[int, ...] = (1, 2, 8, 12, 16)

    def settings(self, width: int) -> list[Setting]:
        """Return the settings to try (see :class:`Classifier`)."""
        return [{"n_neighbors": count} for count in self.neighbours]

    def sweep(
        self,
        settings: list[Setting],
        train: np.ndarray,
        test: np.ndarray,
        targets: np.ndarray,
        task: Task,
        *,
        scores: bool = False,
    ) -> Iterator[tuple[int, Decision]]:
        """Fit every setting and predict (see :class:`Classifier`)."""
        nearest = np.argsort(squared_distances(test, train), axis=1, kind="stable")
        if task == "multiclass":
            targets = np.eye(int(targets.max()) + 1)[targets]
        for i, setting in enumerate(settings):
            value = targets[nearest[:, : setting["n_neighbors"]]].mean(1)
            if task == "multiclass":
                yield i, Decision(value.argmax(1), value, are_probabilities=True)
            elif task == "multilabel":
                yield i, Decision(value, value, are_probabilities=True)
            else:
                yield i, Decision(value)


@dataclass(frozen=True)
class LinearModel:
    """Logistic regression, or ridge regression with penalty 1 / C for quantities."""

    costs: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0)

    def settings(self, width: int) -> list[Setting]:
        """Return the settings to try (see :class:`Classifier`)."""
        return [{"C": cost} for cost in self.costs]

    def sweep(
        self,
        settings: list[Setting],
        train: np.ndarray,
        test: np.ndarray,
        targets: np.ndarray,
        task: Task,
        *,
        scores: bool = False,
    ) -> Iterator[tuple[int, Decision]]:
        """Fit every setting and predict (see :class:`Classifier`)."""
        for i, setting in enumerate(settings):
            if task == "regression":
                yield i, Decision(Ridge(1 / setting["C"]).fit(train, targets).predict(test))
            elif task == "multiclass":
                model = LogisticRegression(C=setting["C"], max_iter=5000).fit(train, targets)
                values = np.zeros((len(test), int(targets.max()) + 1))
                values[:, model.classes_] = model.predict_proba(test)
                yield i, Decision(values.argmax(1), values, are_probabilities=True)
            else:
                columns = []
                for column in targets.T:
                    if column.min() == column.max():
                        columns.append(np.full(len(test), column[0]))
                    else:
                        model = LogisticRegression(C=setting["C"], max_iter=5000)
                        columns.append(model.fit(train, column).predict_proba(test)[:, 1])
                value = np.stack(columns, 1)
                yield i, Decision(value, value, are_probabilities=True)


#: Number of folds of the training tracks for calibrating probabilities.
CALIBRATION_FOLDS = 5


def calibrated_probabilities(
    setting: Setting, train: np.ndarray, test: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """Fit a support vector machine on all training tracks and return calibrated probabilities.

    Sigmoids map its one-vs-rest scores to probabilities, which are normalised to a sum of 1. They
    are fitted to the scores of held-out tracks in five folds of the training tracks. libsvm's
    pairwise method is not used, because it may contradict the decisions and is deprecated in
    scikit-learn. Isotonic regression needs more tracks than most music datasets have.

    Source: Platt (1999), "Probabilistic outputs for support vector machines"; for several classes
    Zadrozny and Elkan (2002), "Transforming classifier scores into accurate multiclass probability
    estimates".

    Args:
        setting: One of :meth:`SupportVectorMachine.settings`.
        train: Features of shape (training tracks, width).
        test: Features of shape (test tracks, width).
        targets: Class indices of shape (training tracks,).

    Returns:
        Probabilities of shape (test tracks, largest class index + 1).

    Raises:
        MgcError: If a class has a single training track.
    """
    members = np.unique(targets, return_counts=True)[1]
    folds = min(CALIBRATION_FOLDS, int(np.min(members)))
    if folds < 2:
        raise MgcError(
            "A class has only 1 training track; calibrating a support vector machine needs at "
            "least 2 of each class. Use --classifier logistic or add tracks."
        )
    gamma = "scale" if np.isnan(setting["gamma"]) else setting["gamma"]
    machine = SVC(kernel=setting["kernel"], gamma=gamma, C=setting["C"], max_iter=MAX_ITERATIONS)
    model = CalibratedClassifierCV(machine, method="sigmoid", cv=folds, ensemble=False)
    model.fit(train, targets)
    result = np.zeros((len(test), int(targets.max()) + 1))
    result[:, model.classes_] = model.predict_proba(test)
    return result


CLASSIFIERS: dict[str, Classifier] = {
    "svm": SupportVectorMachine(),
    "svm_rbf": SupportVectorMachine(linear=False),
    "knn": NearestNeighbours(),
    "logistic": LinearModel(),
}


def get_classifier(name: str) -> Classifier:
    """Return a classifier by name; an unknown name raises an MgcError."""
    if name not in CLASSIFIERS:
        raise MgcError(f"Unknown classifier {name!r}. Choose from {', '.join(CLASSIFIERS)}.")
    return CLASSIFIERS[name]
