"""Huber's loss and the absolute error: units that outliers of the target do not move."""

import numpy as np
import pytest
import torch

from sklearn_mmfusion import IdentityEncoder, LateFusionRegressor, MNLRegressor
from sklearn_mmfusion._fitting.data import FitInput
from sklearn_mmfusion._fitting.scales import target_scale

N = 400
RNG = np.random.default_rng(0)
X = {name: RNG.normal(size=(N, 5)) for name in "ab"}
CLEAN = X["a"][:, 0] + X["b"][:, 1] + 0.3 * RNG.normal(size=N)


def _units(target, loss="huber", weight=None, **params):
    target = np.asarray(target, dtype=float).reshape(len(target), -1)
    return target_scale(FitInput(None, target, weight, "regression"), loss, **params)


def test_units_are_median_and_spread_of_a_normal_distribution():
    y = np.random.default_rng(1).normal(3.0, 2.0, size=20_000)
    found = _units(y)
    assert found.mean[0] == pytest.approx(3.0, abs=0.05)
    assert found.scale[0] == pytest.approx(2.0, abs=0.05)
    assert _units(y, "absolute_error").scale[0] == found.scale[0]
    plain = _units(y, "squared_error")
    assert plain.mean[0] == pytest.approx(y.mean())
    assert plain.scale[0] == pytest.approx(y.std())


def test_outliers_leave_the_units_of_each_output():
    y = np.stack([CLEAN, 10 * CLEAN], 1)
    before = _units(y)
    y[::20, 0] += 1e4
    after = _units(y)
    np.testing.assert_allclose(after.mean[1], before.mean[1])
    np.testing.assert_allclose(after.scale[1], before.scale[1])
    assert abs(after.mean[0] - before.mean[0]) < 0.2
    assert abs(after.scale[0] / before.scale[0] - 1) < 0.2


def test_weights_are_repetitions():
    weight = np.random.default_rng(2).integers(0, 4, size=N)
    one = _units(CLEAN, weight=weight.astype(float))
    other = _units(np.repeat(CLEAN, weight))
    np.testing.assert_allclose([one.mean, one.scale], [other.mean, other.scale], rtol=1e-12)


def test_a_target_that_is_mostly_one_value_has_a_spread():
    y = np.zeros(N)
    y[:50] = CLEAN[:50] + 4
    found = _units(y)
    assert found.mean[0] == 0.0
    assert found.scale[0] == pytest.approx(1.2533 * np.abs(y).mean())


def test_constants_keep_their_units():
    constant = np.full(N, 7.5)
    for more_to_come in (False, True):
        found = _units(constant, more_to_come=more_to_come)
        expected = _units(constant, "squared_error", more_to_come=more_to_come)
        np.testing.assert_array_equal(found.mean, expected.mean)
        np.testing.assert_array_equal(found.scale, expected.scale)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
@pytest.mark.parametrize("size", [50, 5000])
@pytest.mark.slow
def test_gross_outliers_leave_the_predictions(size, loss):
    y = CLEAN.copy()
    y[::20] += size
    truth = X["a"][:, 0] + X["b"][:, 1]
    est = MNLRegressor(encoders=IdentityEncoder(), loss=loss, random_state=0).fit(X, y)
    error = np.mean((est.predict(X) - truth) ** 2)
    assert error < 0.1 * truth.var()
    scores = est.relevance_scores_
    assert abs(scores["a"] - scores["b"]) < 0.15


def test_the_first_outputs_are_the_median(monkeypatch):
    y = CLEAN.copy()
    y[::20] += 1e6
    est = LateFusionRegressor(
        encoders=IdentityEncoder(), loss="huber", max_epochs=1, lr=1e-9, early_stopping=False,
        random_state=0,
    )  # fmt: skip
    with pytest.warns(match="training had not converged|the model is not shown"):
        found = est.fit(X, y).predict({k: torch.zeros(3, 5).numpy() for k in X})
    assert np.abs(found - np.median(y)).max() < 1.0
