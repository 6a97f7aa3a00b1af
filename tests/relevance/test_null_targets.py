"""Targets without interactions: bent effects by hand, draws, and how often a pair is above them."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression

from sklearn_mmfusion import relevance_intervals
from sklearn_mmfusion._relevance.null_targets import Additive, draw_target, without_interactions

N = 300
FOLDS = [(np.flatnonzero(np.arange(N) % 3 != k), np.flatnonzero(np.arange(N) % 3 == k))
         for k in range(3)]  # fmt: skip


class LeastSquares(RegressorMixin, BaseEstimator):
    """Columns of two modalities, and all their products, by least squares."""

    def __init__(self, interactions=2):
        self.interactions = interactions

    def _blocks(self, X):
        a, b = (np.asarray(X[name], float) for name in "ab")
        products = np.einsum("nf,ng->nfg", a, b).reshape(len(a), -1)
        return [a, b, products][: 2 if self.interactions == 1 else 3]

    def _linear(self):
        return LinearRegression()

    def fit(self, X, y, sample_weight=None):
        blocks = self._blocks(X)
        self.model_ = self._linear().fit(np.hstack(blocks), y, sample_weight)
        cuts = np.cumsum([block.shape[1] for block in blocks])[:-1]
        weights = np.split(self.model_.coef_.ravel(), cuts)
        size = np.array([(z @ w).std() for z, w in zip(blocks, weights, strict=True)])
        self.term_names_ = ["a", "b", "a x b"][: len(blocks)]
        self.term_modalities_ = [("a",), ("b",), ("a", "b")][: len(blocks)]
        self.relevance_scores_ = dict(zip(self.term_names_, size / size.sum(), strict=True))
        return self

    def predict(self, X):
        return self.model_.predict(np.hstack(self._blocks(X)))


class Logistic(ClassifierMixin, LeastSquares):
    def _linear(self):
        return LogisticRegression(max_iter=500)

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(np.hstack(self._blocks(X)))


def features(seed=0):
    return {"a": np.random.default_rng(seed).normal(size=(N, 1)), "b": np.zeros((N, 0))}


def additive(values, z):
    return [Additive(values[test], z) for _, test in FOLDS]


def test_null_target_of_a_regression_keeps_predictions_and_residuals():
    rng = np.random.RandomState(0)
    y, predicted = rng.normal(size=50), rng.normal(size=50)
    drawn = draw_target(LeastSquares(), y, predicted, rng)
    np.testing.assert_allclose(np.sort(drawn - predicted), np.sort(y - predicted))
    assert np.abs(drawn - y).max() > 0.1


def test_null_target_of_classes_is_drawn_from_the_probabilities():
    rng = np.random.RandomState(0)
    y = np.array(["x", "y", "z"] * 1000)
    predicted = np.tile([0.2, 0.7, 0.1], (3000, 1))
    drawn = draw_target(Logistic(), y, predicted, rng)
    for label, chance in zip("xyz", (0.2, 0.7, 0.1), strict=True):
        assert (drawn == label).mean() == pytest.approx(chance, abs=0.03)
    never = np.tile([0.5, 0.5, 0.0], (30, 1))
    never[4:6, 2] = 1e-9
    assert list(np.flatnonzero(draw_target(Logistic(), y[:30], never, rng) == "z")) == [4, 5]
    labels = draw_target(Logistic(), np.zeros((3000, 2)), np.tile([0.1, 0.6], (3000, 1)), rng)
    np.testing.assert_allclose(labels.mean(axis=0), [0.1, 0.6], atol=0.03)


def test_a_square_that_the_additive_model_has_missed_is_predicted_from_other_rows():
    z = features()
    a = z["a"][:, 0]
    linear = 0.5 * a
    y = 7 * np.column_stack([linear + a**2, linear + 2 * a**2])
    found = without_interactions(
        LeastSquares(), y, additive(7 * np.column_stack([linear, linear]), z), FOLDS, None, None
    )
    # Columns are added until they leave a millionth of the variance of what they follow.
    assert (np.square(found - y).mean(axis=0) < 1e-5 * y.var(axis=0)).all()


def test_rows_of_a_fold_have_no_part_in_their_own_prediction():
    z, rng = features(), np.random.default_rng(1)
    y = z["a"][:, 0] ** 2 + rng.normal(size=N)
    changed = np.where(np.arange(N) % 3 == 0, 50 * rng.normal(size=N), y)
    zero = additive(np.zeros(N), z)
    weight = rng.uniform(0.5, 2, size=N)
    # The standard deviation of the target is a unit alone, and cancels.
    first, second = (
        without_interactions(LeastSquares(), t, zero, FOLDS, weight, None) for t in (y, changed)
    )
    np.testing.assert_allclose(first[::3], second[::3], atol=1e-6)
    assert np.abs(first[1::3] - second[1::3]).max() > 0.1


@pytest.mark.parametrize("kind", ["binary", "three classes", "two labels"])
def test_bent_log_odds_come_out_as_probabilities(kind):
    rng = np.random.default_rng(2)
    z = features(3)
    bent = 1.5 * (z["a"][:, 0] ** 2 - 1)
    truth = 1 / (1 + np.exp(-bent))
    if kind == "two labels":
        truth = np.column_stack([truth, 1 - truth])
        y = (rng.uniform(size=truth.shape) < truth).astype(int)
        plain = np.full((N, 2), 0.5)
    elif kind == "binary":
        y = np.where(rng.uniform(size=N) < truth, "yes", "no")
        truth = np.column_stack([1 - truth, truth])
        plain = np.full((N, 2), 0.5)
    else:
        odds = np.exp(np.column_stack([bent, -bent, 0 * bent]))
        truth = odds / odds.sum(axis=1, keepdims=True)
        y = (rng.uniform(size=(N, 1)) > truth.cumsum(axis=1)).sum(axis=1)
        plain = np.full((N, 3), 1 / 3)
    groups = np.arange(N) // 2
    found = without_interactions(Logistic(), y, additive(plain, z), FOLDS, None, groups)
    assert found.shape == truth.shape
    if kind != "two labels":
        np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.abs(found - truth).mean() < 0.1 < np.abs(plain - truth).mean()


@pytest.mark.parametrize("groups", [None, np.arange(N) % 9])
def test_without_bends_predictions_stay_as_they_are(groups):
    # A constant feature has none, and of six groups that train nothing can be learned.
    z = {"a": np.ones((N, 1))} if groups is None else features()
    plain = np.random.default_rng(4).normal(size=N)
    y = plain + features()["a"][:, 0] ** 2
    found = without_interactions(LeastSquares(), y, additive(plain, z), FOLDS, None, groups)
    np.testing.assert_array_equal(found, plain)


@pytest.mark.slow
@pytest.mark.parametrize(("correlation", "pair"), [(0.0, 0.0), (0.8, 0.0), (0.0, 1.0), (0.6, 1.0)])
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_bent_effects_are_not_above_the_null_and_a_pair_is(kind, correlation, pair):
    bends = (np.square, np.abs, lambda z: np.where(z > 0.3, 1.0, -1.0))
    above = []
    for run in range(30):
        rng = np.random.default_rng([run, 7])
        a, b = rng.normal(size=(2, 400, 2))
        b[:, 0] = correlation * a[:, 0] + np.sqrt(1 - correlation**2) * b[:, 0]
        # A share: beside squares that a product stands in for there is no room for more.
        bend = np.tanh if pair and correlation else bends[run % 3]
        signal = bend(a[:, 0]) + bend(b[:, 0]) + pair * a[:, 1] * b[:, 1]
        signal -= signal.mean()
        est, y = LeastSquares(), signal + rng.normal(size=400)
        if kind == "classification":
            est, y = Logistic(), rng.uniform(size=400) < 1 / (1 + np.exp(-1.5 * signal))
        found = relevance_intervals(
            est, {"a": a, "b": b}, y, n_refits=19, method="cv", cv=19, random_state=run
        )
        above.append(found.above_null[2])
    if pair:
        assert np.mean(above) >= 0.8
    else:  # 30 runs at 1/20 have 5 or fewer in 99.7 %
        assert np.sum(above) <= 5
