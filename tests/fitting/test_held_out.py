"""Tests of additive models on rows they have not seen: factors and effective scores."""

import numpy as np
import pytest
from scipy.optimize import minimize, nnls
from scipy.special import expit, log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression

from sklearn_mmfusion import InputError, InputTypeError
from sklearn_mmfusion._fitting.held_out import HeldOut
from sklearn_mmfusion._fitting.stand_ins import Products, stand_ins

N = 400
RNG = np.random.default_rng(0)
NAMES = ["a", "b", "c"]
X = {name: RNG.normal(size=(N, 2)) for name in NAMES}
WEIGHT = RNG.integers(0, 3, size=N).astype(float)
SCALES = np.array([1.0, 0.3, 2.0])


class Additive:
    """An additive model with given maps: no training, only contributions."""

    def __init__(self, n_outputs=1):
        self.n_outputs = n_outputs

    def fit(self, classes=None):
        self.term_names_ = list(NAMES)
        self.intercept_ = np.linspace(-0.4, 0.6, self.n_outputs)
        if classes is not None:
            self.classes_ = np.asarray(classes)
        return self

    def contributions(self, x):
        rng = np.random.default_rng(7)
        maps = rng.normal(size=(3, 2, self.n_outputs)) * SCALES[:, None, None]
        return np.stack([np.tanh(x[m]) @ w for m, w in zip(NAMES, maps, strict=True)], axis=1)


class AdditiveRegressor(RegressorMixin, Additive, BaseEstimator):
    pass


class AdditiveClassifier(ClassifierMixin, Additive, BaseEstimator):
    pass


SLOPES = [0.5, -2.0, 1.5]
NUMBERS = AdditiveRegressor().fit().contributions(X)[:, :, 0] @ SLOPES + RNG.normal(size=N)


def logistic_classes(factors):
    logits = AdditiveClassifier().fit([0, 1]).contributions(X)[:, :, 0] @ factors
    return (RNG.uniform(size=N) < expit(logits)).astype(int)


def test_factors_of_a_regression_are_the_non_negative_least_squares():
    est = AdditiveRegressor().fit()
    rows = HeldOut(est, X, NUMBERS, WEIGHT)
    root = np.sqrt(WEIGHT)
    c = est.contributions(X)[:, :, 0]
    # The free intercept is the difference of two non-negative ones.
    design = np.column_stack([c, np.ones(N), -np.ones(N)]) * root[:, None]
    expected = nnls(design, NUMBERS * root)[0][:3]
    assert expected[1] == 0
    np.testing.assert_allclose(rows.best_factors(), expected, atol=2e-3)


def test_factors_of_two_classes_are_those_of_logistic_regression():
    y = logistic_classes([0.6, 2.0, 0.8])
    est = AdditiveClassifier().fit([0, 1])
    c = est.contributions(X)[:, :, 0]
    expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(c, y).coef_[0]
    assert (expected > 0).all()
    np.testing.assert_allclose(HeldOut(est, X, y).best_factors(), expected, rtol=0.02)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_factors_of_several_outputs_minimise_the_log_loss(kind):
    est = AdditiveClassifier(3).fit([0, 1, 2])
    c = est.contributions(X)
    logits = c[:, 0] + 0.4 * c[:, 2]
    if kind == "multiclass":
        y = (logits + RNG.gumbel(size=(N, 3))).argmax(axis=1)
    else:
        y = (RNG.uniform(size=(N, 3)) < expit(logits)).astype(int)

    def loss(x):
        outputs = np.einsum("ntk,t->nk", c, x[:3]) + x[3:]
        if kind == "multiclass":
            return -log_softmax(outputs, axis=1)[np.arange(N), y].mean()
        return (np.logaddexp(0, outputs) - y * outputs).sum(axis=1).mean()

    bounds = [(0, None)] * 3 + [(None, None)] * 3
    expected = minimize(loss, np.ones(6), bounds=bounds, method="SLSQP", options={"ftol": 1e-12})
    found = HeldOut(est, X, y).best_factors()
    np.testing.assert_allclose(found, expected.x[:3], atol=0.02)


def test_effective_scores_of_a_regression_are_products_of_residuals():
    # Frisch and Waugh: what is left of the term, and of the target, after the others.
    est = AdditiveRegressor().fit()
    c = est.contributions(X)[:, :, 0]
    rows = HeldOut(est, X, NUMBERS, WEIGHT)
    for term in range(3):
        others = np.delete(c, term, axis=1)
        left = [
            v - LinearRegression().fit(others, v, sample_weight=WEIGHT).predict(others)
            for v in (c[:, term] / c[:, term].std(), NUMBERS / NUMBERS.std())
        ]
        expected = WEIGHT * left[0] * left[1]
        found = rows.effective_scores(term).values
        np.testing.assert_allclose(
            found / np.linalg.norm(found), expected / np.linalg.norm(expected), atol=1e-7
        )


def test_effective_scores_of_two_classes_follow_the_information_matrix():
    y = logistic_classes([0.6, 2.0, 0.8])
    est = AdditiveClassifier().fit([0, 1])
    c = est.contributions(X)[:, :, 0]
    others = c[:, [0, 2]]
    null = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(others, y)
    mean = null.predict_proba(others)[:, 1]
    design = np.column_stack([np.ones(N), others])
    variance = mean * (1 - mean)
    inner = np.linalg.inv(sum(v * np.outer(d, d) for v, d in zip(variance, design, strict=True)))
    left = c[:, 1] - design @ inner @ (design.T @ (variance * c[:, 1]))
    expected = left * (y - mean) / N / c[:, 1].std()
    np.testing.assert_allclose(
        HeldOut(est, X, y).effective_scores(1).values, expected, rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_sum_of_effective_scores_is_the_slope_of_the_log_likelihood(kind):
    est = AdditiveClassifier(3).fit([0, 1, 2])
    c = est.contributions(X)
    y = RNG.integers(0, 3, N) if kind == "multiclass" else RNG.integers(0, 2, (N, 3))
    rows = HeldOut(est, X, y)
    c = rows.contributions

    def best_loss(factor):
        def loss(x):
            return rows.mean_loss(
                np.einsum("ntk,t->nk", c[:, [0, 2]], x[:2]) + x[2:] + factor * c[:, 1]
            )

        return minimize(loss, np.zeros(5), options={"gtol": 1e-8}).fun

    step = 1e-3
    slope = -(best_loss(step) - best_loss(-step)) / (2 * step)
    found = rows.effective_scores(1).values.sum() * rows.term_std[1]
    assert found == pytest.approx(slope, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_best_gain_is_that_of_a_model_of_the_contributions(kind):
    if kind == "regression":
        est, y = AdditiveRegressor().fit(), NUMBERS
    else:
        est = AdditiveClassifier(3 if kind == "multiclass" else 1)
        est.fit([0, 1, 2] if kind == "multiclass" else [0, 1])
        y = logistic_classes([0.6, 2.0, 0.8])
        y = y + (y == 1) * (X["a"][:, 0] > 0.5) if kind == "multiclass" else y
    rows = HeldOut(est, X, y, WEIGHT)
    gain, error = rows.best_gain()
    c = rows.contributions
    share = WEIGHT / WEIGHT.sum()
    if kind == "regression":
        mean = share @ y
        constant = np.square(y - mean)
        outputs = c[:, :, 0] @ rows.best_factors() + share @ (
            rows.response[:, 0] - c[:, :, 0] @ rows.best_factors()
        )
        losses = np.square(rows.response[:, 0] - outputs)
        constant = constant / (share @ constant)
    else:
        classes = np.arange(3 if kind == "multiclass" else 2)
        shares = np.array([share @ (y == k) for k in classes])
        constant = -np.log(shares[y])
        logits = np.einsum("ntk,t->nk", c, rows.best_factors())
        logits = np.column_stack([np.zeros(N), logits]) if kind == "binary" else logits

        def of_rows(b):
            lifted = logits + np.concatenate([[0.0], b])
            return -log_softmax(lifted, axis=1)[np.arange(N), y]

        best = minimize(lambda b: share @ of_rows(b), np.zeros(len(classes) - 1))
        losses = of_rows(best.x)
    gains = constant - losses
    assert gain == pytest.approx(share @ gains, rel=1e-3)
    expected = np.std(np.repeat(gains, WEIGHT.astype(int))) / np.sqrt(WEIGHT.sum())
    assert error == pytest.approx(expected, rel=1e-3)


def test_term_that_contributes_nothing_has_no_scores_and_no_factor():
    class WithoutB(AdditiveRegressor):
        def contributions(self, x):
            parts = super().contributions(x)
            parts[:, 1] = 0.3
            return parts

    rows = HeldOut(WithoutB().fit(), X, NUMBERS)
    assert not rows.effective_scores(1).values.any()
    assert rows.best_factors()[1] == 0
    assert np.isfinite(rows.effective_scores(0).values).all()


def test_rows_that_are_told_apart_completely_give_finite_factors():
    est = AdditiveClassifier().fit([0, 1])
    y = (est.contributions(X)[:, 0, 0] > 0).astype(int)
    rows = HeldOut(est, X, y)
    assert np.isfinite(rows.best_factors()).all()
    assert np.isfinite(rows.effective_scores(0).values).all()


def test_targets_that_do_not_fit_are_refused():
    classifier = AdditiveClassifier().fit(["no", "yes"])
    with pytest.raises(InputError, match=r"labels \['maybe'\] were not there"):
        HeldOut(classifier, X, ["maybe"] * N)
    with pytest.raises(InputError, match="y has 2 columns; the estimator predicts 1"):
        HeldOut(AdditiveRegressor().fit(), X, np.zeros((N, 2)))
    with pytest.raises(InputError, match=f"X has {N} samples, y has 3"):
        HeldOut(AdditiveRegressor().fit(), X, np.zeros(3))
    with pytest.raises(InputTypeError, match="LinearRegression has no contributions"):
        HeldOut(LinearRegression(), X, NUMBERS)


def test_effective_scores_beside_bent_effects_are_products_of_residuals():
    est = AdditiveRegressor().fit()
    y = NUMBERS + X["b"][:, 0] ** 2
    rows = HeldOut(est, X, y, WEIGHT)
    z = np.column_stack([np.ones(N), X["b"]])
    products = [Products(z, z)]
    found = rows.effective_scores(0, products, N, 0.25).values
    # By hand: both choices one after the other, and residuals of least squares on all of it.
    share = WEIGHT / WEIGHT.sum()
    others = rows.contributions[:, 1:, 0] / rows.term_std[1:]
    design = np.column_stack([np.ones(N), others])
    own = rows.contributions[:, 0] / rows.term_std[0]
    response = rows.response

    def left(values):
        fit = LinearRegression(fit_intercept=False).fit(design, values, WEIGHT)
        return values - fit.predict(design)

    for followed, threshold in ((left(response), 1.0), (own, 0.25)):
        bent = stand_ins(followed, design[:, None], products, share, N, threshold)
        design = np.column_stack([design, bent[:, 0]])
    assert design.shape[1] > 3
    expected = share * left(own)[:, 0] * left(response)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "y", "share_of_rows"),
    [
        ("binary", np.arange(N) % 4 == 0, 0.5),
        ("multiclass", np.arange(N) % 4 // 2 * (1 + np.arange(N) % 2), 1.0),
        ("regression", NUMBERS, 1.0),
    ],
)
def test_informative_rows_are_twice_those_of_a_rare_class(kind, y, share_of_rows):
    est = AdditiveRegressor()
    if kind != "regression":
        est = AdditiveClassifier(3 if kind == "multiclass" else 1)
    est.fit(*([] if kind == "regression" else [np.unique(y)]))
    rows = HeldOut(est, X, y)
    assert rows.n_informative == pytest.approx(N * share_of_rows)
    half = HeldOut(est, X, y, np.tile([1.0] * 4 + [0.0] * 4, N // 8))
    assert half.n_informative == pytest.approx(N * share_of_rows / 2)
