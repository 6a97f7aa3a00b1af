"""Standardised columns: scikit-learn's where squares are finite, and numbers where they are not."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion._stacking.standardizer import Standardizer

RNG = np.random.default_rng(0)
X = RNG.normal(3.0, [1.0, 20.0, 0.1], size=(30, 3))


@pytest.mark.parametrize("weight", [None, RNG.integers(0, 3, 30).astype(float)])
def test_agrees_with_standard_scaler(weight):
    constant = np.column_stack([X, np.full(30, 7.0), np.zeros(30)])
    found = Standardizer().fit(constant, sample_weight=weight).transform(constant)
    expected = StandardScaler().fit(constant, sample_weight=weight).transform(constant)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("factor", [1e300, 1e-300])
def test_scale_of_a_column_is_irrelevant(factor):
    plain = Standardizer().fit(X).transform(X)
    scaled = Standardizer().fit(X * factor).transform(X * factor)
    np.testing.assert_allclose(scaled, plain, rtol=1e-12)


def test_rows_very_far_away_are_finite_and_on_their_side():
    found = Standardizer().fit(X * 1e-300).transform(np.array([[1e300, -1e300, 0.0]]))
    assert np.isfinite(np.square(found)).all()
    assert found[0, 0] > 1e99 and found[0, 1] < -1e99


def test_nothing_is_shared_by_clones_and_the_input_is_kept():
    before = X.copy()
    model = Standardizer().fit(X)
    model.transform(X)[:] = 0
    np.testing.assert_array_equal(X, before)
    assert not hasattr(clone(model), "mean_")
