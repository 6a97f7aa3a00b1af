"""Features of modalities: values where they are flat, encodings of any form."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin

from sklearn_mmfusion import InTenseRegressor, LinearEncoder, MKLRegressor
from sklearn_mmfusion._relevance.modality_features import modality_features

N = 40
FAST = {
    "lr": 0.05,
    "latent_dim": 2,
    "early_stopping": False,
    "max_epochs": 3,
    "encoders": LinearEncoder(),
    "random_state": 0,
}

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion.RelevanceWarning"),
]


class Zero(RegressorMixin, BaseEstimator):
    """An additive estimator of others."""

    def contributions(self, X):
        return np.zeros((len(X["a"]), 1, 1))


def rows(seed=0):
    rng = np.random.default_rng(seed)
    return {"a": rng.normal(5, 3, size=(N, 3)), "b": rng.normal(size=(N, 2))}, rng.normal(size=N)


def test_flat_values_come_first_and_are_standardised():
    X, y = rows()
    expected = (X["a"] - X["a"].mean(axis=0)) / X["a"].std(axis=0)
    of_others = modality_features(Zero(), X)
    np.testing.assert_allclose(of_others["a"], expected)
    of_kernels = modality_features(MKLRegressor().fit(X, y), X)
    np.testing.assert_allclose(of_kernels["a"], expected)
    found = modality_features(InTenseRegressor(**FAST).fit(X, y), X)
    np.testing.assert_allclose(found["a"][:, :3], expected)
    # A linear encoding of three columns is in their span.
    encoded = found["a"][:, 3:]
    assert encoded.shape[1] == 3
    left = encoded - expected @ np.linalg.lstsq(expected, encoded, rcond=None)[0]
    np.testing.assert_allclose(left, 0, atol=1e-4)


def test_more_columns_than_32_are_components():
    X, _ = rows()
    wide = np.random.default_rng(1).normal(size=(100, 50))
    assert modality_features(Zero(), {"a": wide})["a"].shape == (100, 32)
    assert modality_features(Zero(), {"a": X["a"][:, :1] * np.ones(50)})["a"].shape == (N, 1)


@pytest.mark.parametrize("n_bags", [1, 2])
def test_sequences_have_their_encodings_alone(n_bags):
    X, y = rows()
    X["s"] = np.random.default_rng(2).normal(size=(N, 5, 2))
    fast = {**FAST, "encoders": "auto", "n_bags": n_bags}
    found = modality_features(InTenseRegressor(**fast).fit(X, y), X)
    assert 0 < found["s"].shape[1] <= 16
    np.testing.assert_allclose(found["s"].std(axis=0), 1)
    assert modality_features(Zero(), X)["s"].shape == (N, 0)


def test_rows_without_a_modality_are_0():
    X, y = rows()
    X["b"][:9] = np.nan
    found = modality_features(InTenseRegressor(**FAST, missing="mask").fit(X, y), X)["b"]
    assert not found[:9].any()
    np.testing.assert_allclose(found[9:].std(axis=0), 1)
