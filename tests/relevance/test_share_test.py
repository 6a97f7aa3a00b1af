"""The test that rows contradict given shares of the terms."""

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss

from sklearn_mmfusion._fitting.held_out import HeldOut
from sklearn_mmfusion._relevance.share_test import contradiction


class Columns(BaseEstimator):
    """Contributions are the columns of X."""

    def fit(self, X, y=None):
        self.term_names_ = [f"t{i}" for i in range(X.shape[1])]
        self.intercept_, self.classes_ = np.zeros(1), np.array([0, 1])
        return self

    def contributions(self, X):
        return X[:, :, None]


class Classifier(ClassifierMixin, Columns):
    pass


class Regressor(RegressorMixin, Columns):
    pass


def rows(kind, weights, n=400, seed=0, noise=1.0):
    """Return standardised columns, and a target that they make with some weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, len(weights)))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    signal = X @ weights
    if kind == "regression":
        return X, signal + noise * rng.normal(size=n)
    return X, (rng.uniform(size=n) < 1 / (1 + np.exp(-signal))).astype(int)


def test_p_value_is_that_of_two_logistic_regressions():
    X, y = rows("binary", [1.0, 0.6, 0.4])
    shares = np.array([0.2, 0.4, 0.4])
    plain = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    free = log_loss(y, plain.fit(X, y).predict_proba(X))
    common = X @ shares[:, None]
    held = log_loss(y, plain.fit(common, y).predict_proba(common))
    expected = chi2.sf(2 * len(y) * (held - free), 2)
    found = contradiction(HeldOut(Classifier().fit(X), X, y), shares)
    assert 1e-12 < expected < 0.01
    assert found == pytest.approx(expected, rel=0.05)  # the weak pull to the model moves it a bit


def test_p_value_of_numbers_is_that_of_two_linear_regressions():
    X, y = rows("regression", [1.0, 0.7, 0.5], noise=3.0)
    shares = np.array([0.3, 0.3, 0.4])
    common = X @ shares[:, None]
    free, held = (
        np.square(y - LinearRegression().fit(part, y).predict(part)).mean() for part in (X, common)
    )
    expected = chi2.sf(len(y) * np.log(held / free), 2)
    found = contradiction(HeldOut(Regressor().fit(X), X, y), shares)
    assert 1e-20 < expected < 0.01
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("n", [50, 200])
def test_true_shares_are_contradicted_about_as_often_as_the_level_says(kind, n):
    weights = np.array([1.2, 0.8, 0.4])
    est = (Classifier if kind == "binary" else Regressor)().fit(np.zeros((1, 3)))
    p = [
        contradiction(HeldOut(est, *rows(kind, weights, n, seed)), weights / weights.sum())
        for seed in range(200)
    ]
    # Binomial: 200 at 0.05 are 10, with a standard deviation of 3; bounds hold factors back.
    assert np.mean(np.array(p) < 0.05) < 0.10


def test_two_that_say_the_same_contradict_no_split_between_them():
    X, y = rows("binary", [1.0])
    twice = np.hstack([X, X])
    est = Classifier().fit(twice)
    for shares in ([1.0, 0.0], [0.5, 0.5], [0.1, 0.9]):
        assert contradiction(HeldOut(est, twice, y), np.array(shares)) > 0.9


def test_one_term_that_varies_has_nothing_to_be_split():
    X, y = rows("binary", [1.0, 0.0])
    X[:, 1] = 0.0
    assert contradiction(HeldOut(Classifier().fit(X), X, y), np.array([0.5, 0.5])) == 1.0


def test_outputs_of_one_row_count_as_one():
    X, y = rows("binary", [1.0, 0.5])

    class Labels(Classifier):
        def fit(self, X, y=None):
            super().fit(X)
            self.intercept_ = np.zeros(3)
            return self

        def contributions(self, X):
            return np.repeat(X[:, :, None], 3, axis=2)

    shares = np.array([0.4, 0.6])
    one = contradiction(HeldOut(Classifier().fit(X), X, y), shares)
    three = contradiction(HeldOut(Labels().fit(X), X, np.column_stack([y] * 3)), shares)
    assert three == pytest.approx(one, rel=1e-2)
