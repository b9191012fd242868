import numpy as np
import pytest
from sklearn.svm import SVR

from mgc.errors import MgcError
from mgc.transfer import linear_svr
from mgc.transfer.linear_svr import LinearSVR


def data(tracks=80, width=6, noise=0.3, seed=0):
    random = np.random.default_rng(seed)
    features = random.normal(size=(tracks, width))
    return features, features @ random.normal(size=width) + noise * random.normal(size=tracks) + 3


def objective(weights, intercept, features, targets, cost, epsilon=0.1):
    errors = np.maximum(0, np.abs(targets - features @ weights - intercept) - epsilon)
    return weights @ weights / 2 + cost * errors.sum()


@pytest.mark.parametrize("cost", [0.1, 2.0, 32.0])
@pytest.mark.parametrize("width", [1, 6, 120])  # 120 is more than the number of tracks
def test_finds_the_minimum_of_libsvm(cost, width):
    features, targets = data(width=width)
    ours = LinearSVR(cost).fit(features, targets)
    theirs = SVR(kernel="linear", C=cost, tol=1e-7).fit(features, targets)
    np.testing.assert_allclose(ours.predict(features), theirs.predict(features), atol=1e-3)
    lowest = objective(theirs.coef_[0], theirs.intercept_[0], features, targets, cost)
    found = objective(ours.weights, ours.intercept, features, targets, cost)
    assert found <= lowest * (1 + 1e-5)


def test_errors_below_epsilon_have_no_loss():
    features = np.linspace(0, 1, 20)[:, None]
    model = LinearSVR(1.0, epsilon=0.5).fit(features, np.sin(features[:, 0]) * 0.1)
    assert abs(model.weights[0]) < 1e-3


@pytest.mark.filterwarnings("ignore:Solver terminated early")  # libsvm would take minutes
def test_scales_of_features_may_differ_by_a_thousand():
    features, targets = data()
    features *= np.array([1e-2, 1, 10, 1, 3, 1])
    ours = LinearSVR(8.0).fit(features, targets)
    theirs = SVR(kernel="linear", C=8.0, max_iter=200_000).fit(features, targets)
    assert objective(ours.weights, ours.intercept, features, targets, 8.0) <= objective(
        theirs.coef_[0], theirs.intercept_[0], features, targets, 8.0
    ) * (1 + 1e-5)


def test_a_failure_to_converge_is_an_error(monkeypatch):
    monkeypatch.setattr(linear_svr, "MAX_STEPS", 2)
    with pytest.raises(MgcError, match=r"did not converge in 2 steps \(C=2\)"):
        LinearSVR(2.0).fit(*data())
