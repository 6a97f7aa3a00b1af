"""A target that is the same in all rows is predicted as it is, by every regressor."""

import numpy as np
import pytest

from sklearn_mmfusion import (
    EarlyFusionRegressor,
    InTenseRegressor,
    LateFusionRegressor,
    MNLRegressor,
    MRORegressor,
    MulTRegressor,
    TensorFusionRegressor,
    load,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

REGRESSORS = [
    EarlyFusionRegressor,
    InTenseRegressor,
    LateFusionRegressor,
    MNLRegressor,
    MRORegressor,
    MulTRegressor,
    TensorFusionRegressor,
]
RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(60, 4)), "b": RNG.normal(size=(60, 3))}
NEW = {name: 5 * RNG.normal(size=(200, values.shape[1])) for name, values in X.items()}


@pytest.mark.parametrize("constant", [1000.0, 0.0, -7.5, 1e-30])
@pytest.mark.parametrize("cls", REGRESSORS)
def test_constant_target_is_predicted_exactly(cls, constant):
    estimator = cls(max_epochs=4, random_state=0).fit(X, np.full(60, constant))
    np.testing.assert_array_equal(estimator.predict(NEW), constant)
    if hasattr(estimator, "contributions"):
        assert not estimator.contributions(NEW).any()
        assert not estimator.contribution_std_.any()


@pytest.mark.parametrize("cls", REGRESSORS)
def test_constant_output_leaves_the_others_alone(cls):
    y = X["a"][:, 0]
    estimator = cls(max_epochs=4, random_state=0).fit(X, np.column_stack([y, np.full(60, 1e3)]))
    found = estimator.predict(NEW)
    np.testing.assert_array_equal(found[:, 1], 1e3)
    assert found[:, 0].std() > 0


def test_what_rounding_leaves_of_a_constant_is_no_target():
    y = np.full(60, 0.3)
    y[::2] = 0.1 + 0.2
    estimator = TensorFusionRegressor(max_epochs=4, random_state=0).fit(X, y)
    np.testing.assert_allclose(estimator.predict(NEW), 0.3, rtol=1e-15)


def test_constant_target_survives_a_file(tmp_path):
    estimator = MNLRegressor(max_epochs=4, random_state=0).fit(X, np.full(60, 3.25))
    estimator.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").predict(NEW), 3.25)


def test_stream_that_begins_with_a_constant_learns_on():
    estimator = LateFusionRegressor(random_state=0, lr=0.02)
    estimator.partial_fit(X, np.full(60, 1.0))
    for _ in range(60):
        estimator.partial_fit(X, X["a"][:, 0])
    assert np.corrcoef(estimator.predict(X), X["a"][:, 0])[0, 1] > 0.9
