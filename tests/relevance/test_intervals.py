"""Tests of intervals and nulls from refits, and of the result objects."""

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from sklearn_mmfusion import (
    InputError,
    InputTypeError,
    InTenseRegressor,
    LateFusionClassifier,
    LinearEncoder,
    MKLRegressor,
    MROClassifier,
    RelevanceIntervals,
    RelevanceTest,
    RelevanceWarning,
    relevance_intervals,
)
from sklearn_mmfusion._relevance.intervals import _drawn_weight, _folds

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 120
COEFFICIENTS = np.array([1.0, 0.5, 0.4])
TRUTH = COEFFICIENTS / COEFFICIENTS.sum()


class LeastSquares(RegressorMixin, BaseEstimator):
    """Terms a, b and a x b by weighted least squares: relevance without training, for many fits."""

    def __init__(self, interactions=2, random_state=None):
        self.interactions = interactions
        self.random_state = random_state

    def _features(self, X):
        a, b = (np.asarray(X[name])[:, 0] for name in ("a", "b"))
        return np.column_stack([a, b, a * b][: 2 if self.interactions == 1 else 3])

    def fit(self, X, y, sample_weight=None):
        self.model_ = LinearRegression().fit(self._features(X), y, sample_weight)
        self.term_names_ = ["a", "b", "a x b"][: 2 if self.interactions == 1 else 3]
        self.term_modalities_ = [("a",), ("b",), ("a", "b")][: len(self.term_names_)]
        size = np.abs(self.model_.coef_)
        self.relevance_scores_ = dict(zip(self.term_names_, size / size.sum(), strict=True))
        return self

    def predict(self, X):
        return self.model_.predict(self._features(X))


class Logistic(ClassifierMixin, LeastSquares):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, np.unique(y, return_inverse=True)[1], sample_weight)
        self.model_ = LogisticRegression().fit(self._features(X), y, sample_weight)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(self._features(X))


def draw(rng, n=N):
    X = {name: rng.choice([-1.0, 1.0], size=(n, 1)) for name in "ab"}
    a, b = X["a"][:, 0], X["b"][:, 0]
    return X, np.column_stack([a, b, a * b]) @ COEFFICIENTS + rng.normal(size=n)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bootstrap", "cv"])
def test_interval_covers_the_truth_as_often_as_it_says(method):
    rng = np.random.default_rng(0)
    inside = []
    for run in range(60):
        X, y = draw(rng)
        found = relevance_intervals(
            LeastSquares(), X, y, method=method, null=False, random_state=run
        )
        inside.append((found.low <= TRUTH) & (found.high >= TRUTH))
    # 180 intervals: 0.95 less three standard errors is 0.90.
    assert 0.9 <= np.mean(inside) < 1


def test_interval_is_students_around_the_estimate():
    X, y = draw(np.random.default_rng(1))
    found = relevance_intervals(LeastSquares(), X, y, n_refits=10, null=False, random_state=0)
    whole = LeastSquares().fit(X, y)
    np.testing.assert_allclose(found.estimate, list(whole.relevance_scores_.values()))
    size = student.ppf(0.975, 10) * np.sqrt(((found.scores - found.estimate) ** 2).mean(0))
    np.testing.assert_allclose(found.low, np.clip(found.estimate - size, 0, 1))
    np.testing.assert_allclose(found.high, np.clip(found.estimate + size, 0, 1))
    folds = relevance_intervals(
        LeastSquares(), X, y, n_refits=10, method="cv", null=False, random_state=0
    )
    # Fits to four fifths of the rows: squared deviations count four times.
    wide = student.ppf(0.975, 10) * 2 * np.sqrt(((folds.scores - folds.estimate) ** 2).mean(0))
    np.testing.assert_allclose(folds.high, np.clip(folds.estimate + wide, 0, 1))
    assert folds.scores.shape == (10, 3)


def test_seeds_of_an_estimator_without_chance_give_no_width():
    X, y = draw(np.random.default_rng(2))
    found = relevance_intervals(LeastSquares(), X, y, n_refits=5, method="seeds", random_state=0)
    np.testing.assert_allclose(found.low, found.high)
    np.testing.assert_allclose(found.std, 0, atol=1e-15)


def test_bootstrap_weights_are_exponential_and_shared_by_groups():
    rng = np.random.RandomState(0)
    drawn = _drawn_weight(None, None, 4000, rng)
    assert drawn.mean() == pytest.approx(1)
    assert drawn.std() == pytest.approx(1, abs=0.1)
    groups = np.repeat(np.arange(50), 3)
    given = np.linspace(1, 2, 150)
    shared = _drawn_weight(given, groups, 150, rng) / given
    assert np.ptp(shared.reshape(50, 3), axis=1).max() < 1e-12
    assert len(np.unique(shared.round(9))) == 50


def test_folds_are_repeated_and_keep_groups_together():
    X, y = draw(np.random.default_rng(3))
    groups = np.arange(N) % 12
    rng = np.random.RandomState(0)
    parts, scale = _folds(LeastSquares(), N, y, groups, 4, 8, rng)
    assert len(parts) == 8
    assert scale == pytest.approx(3)
    for rows in parts:
        left = np.setdiff1d(np.arange(N), rows)
        assert not set(groups[rows]) & set(groups[left])
    given, scale = _folds(LeastSquares(), N, y, groups, GroupKFold(3), 8, rng)
    assert len(given) == 3
    assert scale == pytest.approx(2)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_null_is_low_and_a_real_interaction_is_above_it(kind):
    X, y = draw(np.random.default_rng(4), n=300)
    est = LeastSquares()
    if kind == "classification":
        est, y = Logistic(), np.where(y > 0, "yes", "no")
    found = relevance_intervals(est, X, y, n_refits=20, random_state=0)
    assert found.null_scores.shape == (20, 3)
    assert np.isnan(found.null_scores[:, :2]).all()
    assert list(found.above_null) == [False, False, True]
    assert 0 < found.null_quantile[2] < TRUTH[2]
    assert found.null_quantile[2] in found.null_scores[:, 2]


def test_without_a_null_nothing_is_said_of_it():
    X, y = draw(np.random.default_rng(4), n=60)
    found = relevance_intervals(LeastSquares(), X, y, n_refits=3, null=False, random_state=0)
    assert found.above_null is None


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
def test_pair_of_noise_beside_a_real_one_is_not_above_its_null():
    # With the default strength fits to null targets leave all interactions out: 0 is no null for
    # what a fit has that keeps them.
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(200, 2)) for name in "abc"}
    y = X["a"][:, 0] * X["b"][:, 0] + 0.3 * rng.normal(size=200)
    est = InTenseRegressor(encoders=LinearEncoder(), max_epochs=40, lr=0.03, early_stopping=True)
    found = relevance_intervals(est, X, y, n_refits=4, random_state=0)
    above = dict(zip(found.term_names, found.above_null, strict=True))
    assert above == {name: name == "a x b" for name in found.term_names}
    assert np.nanmin(found.null_quantile[3:]) > 0


@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")  # five epochs
def test_trained_estimator_refits_with_weights_and_with_folds():
    X, y = draw(np.random.default_rng(5), n=60)
    est = InTenseRegressor(
        encoders=LinearEncoder(),
        latent_dim=2,
        max_epochs=3,
        early_stopping=True,
        polish=False,
        reg=0.01,
        lr=0.1,
    )
    for method in ("bootstrap", "cv", "seeds"):
        found = relevance_intervals(
            est, X, y, n_refits=2, cv=2, method=method, null=method == "seeds", random_state=0
        )
        assert found.term_names == ["a", "b", "a x b"]
        assert np.ptp(found.scores, axis=0).max() > 0
        np.testing.assert_allclose(found.scores.sum(axis=1), 1)
        assert (found.low <= found.high).all()
        assert found.low.min() >= 0
        assert found.high.max() <= 1
    assert not hasattr(est, "relevance_scores_")
    again = relevance_intervals(est, X, y, n_refits=2, method="seeds", random_state=0)
    np.testing.assert_array_equal(again.null_scores, found.null_scores)


def test_refits_that_learn_nothing_are_reported_once():
    rng = np.random.default_rng(6)
    X, _ = draw(rng, n=60)
    est = InTenseRegressor(encoders=LinearEncoder(), latent_dim=2, max_epochs=2)
    with pytest.warns(RelevanceWarning, match="of 3 refits are not shown to predict held-out"):
        relevance_intervals(est, X, rng.normal(size=60), n_refits=2, null=False, random_state=0)


@pytest.mark.slow
def test_processes_give_the_same_numbers():
    X, y = draw(np.random.default_rng(7), n=60)
    est = InTenseRegressor(encoders=LinearEncoder(), latent_dim=2, max_epochs=3, reg=0.01)
    one, two = (
        relevance_intervals(est, X, y, n_refits=4, n_jobs=n_jobs, random_state=0)
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one.scores, two.scores)
    np.testing.assert_array_equal(one.null_scores, two.null_scores)


class Scoreless(LeastSquares):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        del self.relevance_scores_
        return self


def test_wrong_arguments_are_refused():
    X, y = draw(np.random.default_rng(8))
    with pytest.raises(InputError, match="method is 'jackknife'"):
        relevance_intervals(LeastSquares(), X, y, method="jackknife")
    with pytest.raises(InputError, match="n_refits=1"):
        relevance_intervals(LeastSquares(), X, y, n_refits=1)
    with pytest.raises(InputError, match="n_refits a multiple"):
        relevance_intervals(LeastSquares(), X, y, n_refits=7, method="cv", random_state=0)
    with pytest.raises(InputError, match="MKLRegressor has no random_state"):
        relevance_intervals(MKLRegressor(), X, y, method="seeds")
    with pytest.raises(InputTypeError, match="has no relevance_scores_"):
        relevance_intervals(Scoreless(), X, y, null=False, random_state=0)
    with pytest.raises(InputTypeError, match=r"Pipeline has no relev.*pipeline\[:-1\]\.fit_transf"):
        relevance_intervals(make_pipeline(LeastSquares()), X, y)
    with pytest.raises(InputError, match=r"groups: expected one label .* shape \(3,\)"):
        relevance_intervals(LeastSquares(), X, y, groups=[0, 1, 2])


@pytest.mark.parametrize("cls", [MROClassifier, LateFusionClassifier])
def test_estimators_without_relevance_are_refused_before_a_fit(cls, monkeypatch):
    X, y = draw(np.random.default_rng(8))
    monkeypatch.setattr(cls, "fit", None)
    with pytest.raises(InputTypeError, match=f"{cls.__name__} has no relevance_scores_; take"):
        relevance_intervals(cls(), X, y, random_state=0)


# -- result objects ---------------------------------------------------------------------------


def result(**changes):
    data = {
        "term_names": ["<b>", "a x b"],
        "estimate": [0.7, 0.3],
        "scores": [[0.7, 0.3]],
        "mean": [0.6, 0.4],
        "std": [0.1, 0.1],
        "low": [0.5, 0.1],
        "high": [0.9, 0.5],
        "null_scores": None,
        "null_quantile": [np.nan, 0.05],
        "method": "cv",
        "confidence": 0.9,
        "n_refits": 5,
    }
    return RelevanceIntervals(data | changes)


def test_result_is_a_table_and_escaped_html():
    found = result()
    assert repr(found) == "RelevanceIntervals(method='cv', confidence=0.9, n_refits=5, n_terms=2)"
    frame = found.to_frame()
    assert list(frame["term"]) == ["<b>", "a x b"]
    assert list(frame["high"]) == [0.9, 0.5]
    np.testing.assert_array_equal(found.interval, [[0.5, 0.9], [0.1, 0.5]])
    html = found._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert str(found).splitlines()[2].split() == ["<b>", "0.7", "0.5", "0.9", "0.6", "0.1", "-"]


def test_result_refuses_numbers_that_do_not_fit_its_terms():
    with pytest.raises(InputError, match=r"low has shape \(3,\); expected \(2,\)"):
        result(low=[0, 0, 0])
    with pytest.raises(InputError, match="needs term_names"):
        RelevanceTest({"statistic": [1.0]})
    with pytest.raises(AttributeError, match="no attribute 'p_values'"):
        _ = result().p_values
