"""How much sums of scores with flipped signs vary: against many draws of the errors."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression

from sklearn_mmfusion._fitting.held_out import HeldOut
from sklearn_mmfusion._relevance.p_values import sign_flip_test
from sklearn_mmfusion._rows.effective_scores import EffectiveScores

N, N_TERMS = 14, 5


class Columns:
    """An additive model whose contributions are the columns of X."""

    def __init__(self, n_outputs=1):
        self.n_outputs = n_outputs

    def fit(self, classes=None):
        self.term_names_ = [str(t) for t in range(N_TERMS)]
        self.intercept_ = np.zeros(self.n_outputs)
        if classes is not None:
            self.classes_ = np.asarray(classes)
        return self

    def contributions(self, x):
        return x["columns"].reshape(len(x["columns"]), N_TERMS, self.n_outputs)


class ColumnsRegressor(RegressorMixin, Columns, BaseEstimator):
    pass


class ColumnsClassifier(ClassifierMixin, Columns, BaseEstimator):
    pass


def columns(n=N, n_outputs=1, seed=0):
    return {"columns": np.random.default_rng(seed).normal(size=(n, N_TERMS * n_outputs))}


def some_signs(n, n_draws=6, seed=1):
    signs = 2.0 * np.random.default_rng(seed).integers(0, 2, size=(n_draws, n)) - 1
    signs[0] = 1
    return signs


@pytest.mark.parametrize("weighted", [False, True])
def test_std_of_a_regression_is_that_of_the_flipped_residuals(weighted):
    X = columns()
    rng = np.random.default_rng(2)
    weight = rng.integers(1, 4, size=N).astype(float) if weighted else np.ones(N)
    signs = some_signs(N)
    rows = HeldOut(ColumnsRegressor().fit(), X, rng.normal(size=N), weight)
    found = rows.effective_scores(0).relative_std(signs)
    # By hand: residuals of weighted regressions on many draws of the errors, all at once.
    others, own = X["columns"][:, 1:], X["columns"][:, 0]
    left = own - LinearRegression().fit(others, own, weight).predict(others)
    errors = rng.normal(size=(N, 40_000))
    residuals = errors - LinearRegression().fit(others, errors, weight).predict(others)
    sums = (signs * weight * left) @ residuals
    expected = sums.std(axis=1)
    assert found[0] == pytest.approx(1)
    np.testing.assert_allclose(found, expected / expected[0], rtol=0.02)
    assert found[1:].mean() < 0.9  # of five terms and fourteen rows it matters


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_std_of_classes_is_that_of_the_linear_model_in_the_metric_of_the_information(kind):
    n_outputs = 1 if kind == "binary" else 3
    X = columns(40, n_outputs)
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2 if kind == "binary" else 3, size=40)
    est = ColumnsClassifier(n_outputs).fit(np.unique(y))
    rows = HeldOut(est, X, y)
    signs = some_signs(40)
    found = rows.effective_scores(0).relative_std(signs)
    # The same by matrices over all rows and outputs.
    c = rows.contributions / rows.term_std[:, None]
    design = np.concatenate(
        [np.tile(np.eye(n_outputs), (40, 1)), c[:, 1:].transpose(0, 2, 1).reshape(-1, 4)], axis=1
    )
    theta = rows._newton(
        design.reshape(40, n_outputs, -1), np.zeros(design.shape[1]), rows.response
    )
    mean = rows._mean((design @ theta).reshape(40, n_outputs))
    variance = np.zeros((40 * n_outputs, 40 * n_outputs))
    for i, m in enumerate(mean):
        block = slice(i * n_outputs, (i + 1) * n_outputs)
        variance[block, block] = (
            np.diag(m * (1 - m)) if kind == "binary" else np.diag(m) - np.outer(m, m)
        )
    hat = design @ np.linalg.pinv(design.T @ variance @ design) @ design.T @ variance
    own = c[:, 0].reshape(-1)
    left = own - hat @ own
    flipped = np.repeat(signs, n_outputs, axis=1) * left
    u = flipped - flipped @ hat.T
    expected = np.sqrt(np.einsum("si,ij,sj->s", u, variance, u))
    np.testing.assert_allclose(found, expected / expected[0], rtol=1e-4)


def test_groups_are_rows_that_change_their_signs_together():
    X, y = columns(30), np.random.default_rng(5).normal(size=30)
    scores = HeldOut(ColumnsRegressor().fit(), X, y).effective_scores(0)
    label = np.random.default_rng(6).integers(0, 8, size=30)
    label[:8] = np.arange(8)
    groups = scores.of_groups(label)
    np.testing.assert_allclose(groups.values, np.bincount(label, weights=scores.values))
    signs = some_signs(8)
    np.testing.assert_allclose(groups.relative_std(signs), scores.relative_std(signs[:, label]))


def test_level_is_held_with_few_rows_for_each_term():
    # Nothing but noise: fifteen rows, an intercept and four other terms.
    rng = np.random.default_rng(4)
    p, plain = [], []
    for seed in range(400):
        rows = HeldOut(ColumnsRegressor().fit(), columns(15, seed=seed), rng.normal(size=15))
        terms = [rows.effective_scores(t) for t in range(N_TERMS)]
        p.append(sign_flip_test(terms, 199, np.random.RandomState(seed))[1])
        bare = [EffectiveScores(term.values) for term in terms]  # as if nothing had been fitted
        plain.append(sign_flip_test(bare, 199, np.random.RandomState(seed))[1])
    assert 0.03 <= np.mean(np.array(p) <= 0.05) <= 0.065
    assert np.mean(np.array(plain) <= 0.05) > 0.075


def test_as_many_terms_as_rows_can_show_nothing():
    rows = HeldOut(ColumnsRegressor().fit(), columns(5), np.arange(5.0))
    terms = [rows.effective_scores(t) for t in range(N_TERMS)]
    assert (sign_flip_test(terms, 199, np.random.RandomState(0))[1] > 0.05).all()
