"""Tests of what the rows of a fit count for."""

import warnings

import numpy as np
import pytest

from sklearn_mmfusion import LinearEncoder, MNLClassifier
from sklearn_mmfusion._rows.weights import n_counted

WEIGHT = np.random.default_rng(0).uniform(0.1, 3, size=50)


def test_whole_weights_count_as_rows_and_others_by_kish():
    assert n_counted(None, 7) == 7
    assert n_counted(np.full(50, 1000.0), 50) == 50_000
    assert n_counted(np.full(50, 1000.5), 50) == pytest.approx(50)
    mean, variance = WEIGHT.mean(), WEIGHT.var()
    assert n_counted(WEIGHT, 50) == pytest.approx(50 / (1 + variance / mean**2))


@pytest.mark.parametrize("factor", [1e-320, 1e-300, 1e-200, 1e-3, 1e200, 1e300])
def test_a_factor_common_to_all_weights_does_not_matter(factor):
    weight = WEIGHT * factor
    if (weight == np.round(weight)).all():  # 1e200 is a whole number, and so are its multiples
        weight = np.append(weight, 0.5)
    digits = 2e-3 if factor < 1e-307 else 1e-12  # of subnormal numbers few are left
    assert n_counted(weight, 50) == pytest.approx(n_counted(WEIGHT, 50), rel=digits)


@pytest.mark.parametrize("factor", [1e-200, 1000.5])
def test_fit_with_weights_of_any_size_knows_its_standard_error(factor):
    rng = np.random.default_rng(1)
    X = {"a": rng.normal(size=(100, 3)), "b": rng.normal(size=(100, 3))}
    y = X["a"][:, 0] + 0.3 * rng.normal(size=100) > 0
    few = {"max_epochs": 60, "lr": 0.05, "early_stopping": True, "random_state": 0}
    est = MNLClassifier(encoders=LinearEncoder(), **few)
    plain = est.fit(X, y)._result.gain_error
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est.fit(X, y, np.full(100, factor))
    assert est._result.gain_error == pytest.approx(plain, rel=1e-6)
