"""Tests of relevance on rows that the model has not seen."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion import (
    GAMClassifier,
    InputError,
    InputTypeError,
    InTenseRegressor,
    LateFusionClassifier,
    LinearEncoder,
    MKLClassifier,
    MNLClassifier,
    MNLRegressor,
    MROClassifier,
    RelevanceWarning,
    RoutingClassifier,
    relevance_scores,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 300
RNG = np.random.default_rng(0)
X = {name: RNG.normal(size=(N, 2)) for name in ("a", "b", "leak")}
WEIGHT = RNG.integers(0, 3, size=N)


class ByHand(BaseEstimator):
    """Contributions 1.0, 0.5 and 2.0 times the first feature of a, b and leak."""

    factors = (1.0, 0.5, 2.0)

    def fit(self, X=None, y=None):
        self.term_names_ = list(X)
        self.intercept_ = np.zeros(1)
        return self

    def contributions(self, x):
        parts = [f * x[name][:, 0] for f, name in zip(self.factors, self.term_names_, strict=True)]
        return np.stack(parts, axis=1)[..., None]


class HandRegressor(RegressorMixin, ByHand):
    pass


class HandClassifier(ClassifierMixin, ByHand):
    def fit(self, X=None, y=None):
        self.classes_ = np.array([0, 1])
        return super().fit(X)


SIGNAL = X["a"][:, 0] + 0.5 * X["b"][:, 0]
NUMBERS = SIGNAL + 0.3 * RNG.normal(size=N)
LABELS = (RNG.uniform(size=N) < 1 / (1 + np.exp(-3 * SIGNAL))).astype(int)


def test_contribution_without_target_is_the_share_of_standard_deviation():
    found = relevance_scores(HandRegressor().fit(X), X)
    stds = [f * X[name][:, 0].std() for f, name in zip((1.0, 0.5, 2.0), X, strict=True)]
    np.testing.assert_allclose(list(found.values()), np.array(stds) / sum(stds), rtol=1e-12)
    assert list(found) == ["a", "b", "leak"]


@pytest.mark.parametrize("kind", ["regression", "multiclass", "multilabel"])
def test_rows_of_training_have_the_relevance_of_the_fit(kind):
    rng = np.random.default_rng(3)
    signals = np.stack([X["a"][:, 0], X["a"][:, 1] + X["b"][:, 0], X["b"][:, 1]], axis=1)
    noisy = signals + 0.5 * rng.normal(size=signals.shape)
    y = {"multiclass": noisy.argmax(1), "multilabel": (noisy > 0).astype(int)}.get(kind, noisy)
    cls = MNLRegressor if kind == "regression" else MNLClassifier
    est = cls(encoders=LinearEncoder(), random_state=0).fit(X, y)
    # Without targets a number counts in units of its predictions, a little less than its own.
    tolerance = 0.005 if kind == "regression" else 1e-6
    assert relevance_scores(est, X) == pytest.approx(est.relevance_scores_, abs=tolerance)


def test_contribution_does_not_count_what_does_not_go_along_with_the_target():
    # leak has the largest contribution of all, and these targets know nothing of it.
    for est, y in ((HandRegressor(), NUMBERS), (HandClassifier(), LABELS)):
        found = relevance_scores(est.fit(X), X, y)
        assert found["leak"] < 0.08
        assert found["a"] == pytest.approx(2 / 3, abs=0.07)
        assert sum(found.values()) == pytest.approx(1, rel=1e-12)


def test_whole_weights_equal_repeated_rows():
    repeated = {name: np.repeat(v, WEIGHT, axis=0) for name, v in X.items()}
    est = HandClassifier().fit(X)
    weighted = relevance_scores(est, X, LABELS, sample_weight=WEIGHT)
    doubled = relevance_scores(est, repeated, np.repeat(LABELS, WEIGHT))
    np.testing.assert_allclose(list(weighted.values()), list(doubled.values()), atol=1e-5)


def test_permutation_is_the_rise_of_the_loss_by_hand():
    est = HandClassifier().fit(X)
    found, stds = relevance_scores(
        est, X, LABELS, kind="permutation", n_repeats=3, return_std=True, random_state=5
    )
    parts = est.contributions(X)[..., 0]

    def loss(logits):
        return log_loss(LABELS, 1 / (1 + np.exp(-logits)))

    rng = np.random.RandomState(5)
    rises = []
    for _ in range(3):
        order = rng.permutation(N)
        moved = [parts.sum(1) - part + part[order] for part in parts.T]
        rises.append([loss(logits) - loss(parts.sum(1)) for logits in moved])
    np.testing.assert_allclose(list(found.values()), np.mean(rises, axis=0), rtol=1e-9)
    np.testing.assert_allclose(list(stds.values()), np.std(rises, axis=0), rtol=1e-9)
    assert found["a"] > found["b"] > 0 > found["leak"] - 0.2


def test_permutation_of_a_regression_is_twice_the_covariance():
    # Expected rise of a squared error when c is permuted: 2 cov(c, y - the other terms).
    est = HandRegressor().fit(X)
    found = relevance_scores(est, X, NUMBERS, kind="permutation", n_repeats=200, random_state=0)
    parts = est.contributions(X)[..., 0]
    for i, name in enumerate(X):
        rest = NUMBERS - np.delete(parts, i, axis=1).sum(1)
        expected = 2 * np.cov(parts[:, i], rest, bias=True)[0, 1] / NUMBERS.var()
        assert found[name] == pytest.approx(expected, abs=0.05 + 0.02 * abs(expected))


def test_deviation_of_contributions_falls_with_the_rows():
    est = HandRegressor().fit(X)
    big = {name: np.tile(v, (9, 1)) for name, v in X.items()}
    _, few = relevance_scores(est, X, NUMBERS, n_repeats=30, return_std=True, random_state=0)
    _, many = relevance_scores(
        est, big, np.tile(NUMBERS, 9), n_repeats=30, return_std=True, random_state=0
    )
    assert many["a"] == pytest.approx(few["a"] / 3, rel=0.5)


SMALL = {"encoders": "auto", "max_epochs": 2, "early_stopping": False, "random_state": 0}
MODELS = {
    "MNL": (MNLClassifier(**SMALL, reg=0.01), np.digitize(NUMBERS, [-0.5, 0.5])),
    "InTense": (
        InTenseRegressor(**SMALL, reg=0.01, latent_dim=2),
        np.column_stack([NUMBERS, -NUMBERS]),
    ),
    "MRO": (MROClassifier(**SMALL), LABELS),
    "routing": (
        RoutingClassifier(**SMALL, feature_dim=4, concept_dim=4),
        np.column_stack([LABELS, 1 - LABELS, NUMBERS > 1]).astype(int),
    ),
    "GAM": (GAMClassifier(**SMALL, feature_dim=4), LABELS),
    "late fusion": (LateFusionClassifier(**SMALL), LABELS),
    "MKL": (MKLClassifier(), np.digitize(NUMBERS, [-0.5, 0.5])),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_additive_estimator_has_relevance_on_held_out_rows(name):
    est, y = MODELS[name]
    train, test = slice(0, 60), slice(60, 120)
    est.fit({m: v[train] for m, v in X.items()}, y[train])
    rows = {m: v[test] for m, v in X.items()}
    shares = relevance_scores(est, rows, y[test])
    assert list(shares) == list(est.term_names_)
    assert sum(shares.values()) == pytest.approx(1, rel=1e-9)
    assert min(shares.values()) >= 0
    rises = relevance_scores(est, rows, y[test], kind="permutation", random_state=0)
    assert np.isfinite(list(rises.values())).all()


@pytest.mark.filterwarnings("error::sklearn_mmfusion._errors.RelevanceWarning")
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_rows_that_show_nothing_are_warned_of(kind):
    est = HandRegressor() if kind == "regression" else HandClassifier()
    known = NUMBERS if kind == "regression" else LABELS
    relevance_scores(est.fit(X), X, known)
    unknown = np.random.default_rng(3).permutation(known)
    with pytest.warns(RelevanceWarning, match=r"these 300 rows .*\(gain 0\.0.*may mean nothing"):
        relevance_scores(est, X, unknown)
    # Scores of this kind are about 0, and say so.
    relevance_scores(est, X, unknown, kind="permutation", random_state=0)
    relevance_scores(est, X)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["contribution", "permutation"])
def test_target_that_is_no_number_is_refused(kind, bad):
    y = NUMBERS.copy()
    y[7] = bad
    with pytest.raises(InputError, match="y contains NaN or infinity, first in row 7"):
        relevance_scores(HandRegressor().fit(X), X, y, kind=kind)


def test_columns_of_the_target_are_those_of_fit():
    pd = pytest.importorskip("pandas")
    y = pd.DataFrame({"happy": LABELS, "sad": 1 - LABELS})
    est = MNLClassifier(max_epochs=3, random_state=0).fit(X, y)
    for call in (
        lambda new: relevance_scores(est, X, new),
        lambda new: est.explain_local(X, new),
        lambda new: est.partial_fit(X, new),
        lambda new: MNLClassifier(max_epochs=2, random_state=0).fit(X, y, X_val=X, y_val=new),
    ):
        with pytest.raises(InputError, match=r"y: expected the columns \['happy', 'sad'\] of fit"):
            call(y[["sad", "happy"]])
        call(y)


def test_wrong_arguments_are_refused():
    est = HandRegressor().fit(X)
    with pytest.raises(InputError, match="kind is 'shap'"):
        relevance_scores(est, X, NUMBERS, kind="shap")
    with pytest.raises(InputError, match="needs y"):
        relevance_scores(est, X, kind="permutation")
    with pytest.raises(InputError, match="n_repeats is 0"):
        relevance_scores(est, X, NUMBERS, n_repeats=0)


def test_fitted_pipeline_is_told_to_transform_and_not_to_fit_again():
    pipeline = make_pipeline(StandardScaler(), HandRegressor())
    with pytest.raises(InputTypeError, match=r"pipeline\[:-1\]\.transform\(X\)$"):
        relevance_scores(pipeline, X, NUMBERS)
