import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)

from sklearn_mmfusion import MNLClassifier, MNLRegressor
from sklearn_mmfusion.inspection import _many_scores
from sklearn_mmfusion.inspection._many_scores import many_scores
from sklearn_mmfusion.inspection._response import choose_response, score_outputs

RNG = np.random.default_rng(0)
N = 30
X = {"a": RNG.normal(size=(N, 2)), "b": RNG.normal(size=(N, 2))}
WEIGHT = RNG.uniform(size=N)
NUMBERS = 50 * X["a"][:, 0] + RNG.normal(size=N)
TARGETS = {
    "binary": np.where(NUMBERS > 0, "yes", "no"),
    "multiclass": np.digitize(NUMBERS, [-20, 20]),
    "labels": np.c_[NUMBERS > 0, X["b"] > 0].astype(int),
    "numbers": NUMBERS,
    "two numbers": np.c_[NUMBERS, X["b"][:, 0]],
}


class OwnScore(MNLClassifier):
    def score(self, X, y, sample_weight=None):
        return 2 * super().score(X, y, sample_weight)


@pytest.fixture(scope="module")
def fitted():
    def fit(kind):
        estimator = MNLRegressor if "numbers" in kind else MNLClassifier
        with pytest.warns(UserWarning):  # two epochs do not converge
            return estimator(max_epochs=2, random_state=0).fit(X, TARGETS[kind])

    return {kind: fit(kind) for kind in TARGETS}


def scores_of(model, scoring, y, weight, outputs):
    """Scores, and for how many sets of outputs the scorer was asked."""
    response = choose_response(model, "auto")
    score = score_outputs(response, scoring)
    asked = []

    def one(some):
        asked.append(len(some))
        return score(some, X, y, weight)

    return many_scores(response, scoring, y, weight, one)(outputs), len(asked)


def mean_squares(y, predicted, sample_weight=None):
    return -mean_squared_error(y, predicted, sample_weight=sample_weight)


def mean_absolutes(y, predicted, sample_weight=None):
    return -mean_absolute_error(y, predicted, sample_weight=sample_weight)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
@pytest.mark.parametrize(
    ("kind", "scoring", "metric", "n_asked"),
    [
        ("binary", None, accuracy_score, 1),
        ("binary", "accuracy", accuracy_score, 1),
        ("multiclass", None, accuracy_score, 1),
        ("labels", None, accuracy_score, 4),
        ("numbers", None, r2_score, 1),
        ("numbers", "r2", r2_score, 1),
        ("numbers", "neg_mean_squared_error", mean_squares, 1),
        ("numbers", "neg_mean_absolute_error", mean_absolutes, 1),
        ("two numbers", None, r2_score, 4),
    ],
)
def test_scores_of_many_outputs_are_those_of_each(fitted, kind, scoring, metric, n_asked, weight):
    model, y = fitted[kind], TARGETS[kind]
    own = model._raw_outputs(X)
    permutations = [np.arange(N), *(RNG.permutation(N) for _ in range(3))]
    outputs = np.concatenate([own[rows] for rows in permutations])
    found, asked = scores_of(model, scoring, y, weight, outputs)
    predicted = model.predict(X)
    expected = [metric(y, predicted[rows], sample_weight=weight) for rows in permutations]
    assert np.abs(np.array(found) - expected).max() < 1e-12 * max(1.0, np.abs(expected).max())
    assert np.ptp(expected) > 0
    assert asked == n_asked


def test_score_of_the_users_own_class_is_asked_for_each(fitted):
    model = OwnScore(max_epochs=2, random_state=0)
    with pytest.warns(UserWarning):  # two epochs do not converge
        model.fit(X, TARGETS["binary"])
    own = model._raw_outputs(X)
    outputs = np.concatenate([own, own[::-1]])
    found, asked = scores_of(model, None, TARGETS["binary"], None, outputs)
    expected = [2 * np.mean(model.predict(X)[::step] == TARGETS["binary"]) for step in (1, -1)]
    assert found == pytest.approx(expected)
    assert asked == 2


def test_formula_that_says_something_else_than_the_scorer_is_not_used(fitted, monkeypatch):
    wrong = {"accuracy": lambda y, predictions, weight: np.zeros(len(predictions))}
    monkeypatch.setattr(_many_scores, "_FORMULAS", wrong)
    model, y = fitted["binary"], TARGETS["binary"]
    own = model._raw_outputs(X)
    found, asked = scores_of(model, None, y, None, np.concatenate([own, own[::-1]]))
    expected = [np.mean(model.predict(X)[::step] == y) for step in (1, -1)]
    assert found == pytest.approx(expected)
    assert asked == 2


def test_target_that_the_scorer_refuses_is_refused(fitted):
    outputs = np.tile(fitted["numbers"]._raw_outputs(X), (2, 1))
    with pytest.raises(ValueError, match="contains NaN"):
        scores_of(fitted["numbers"], None, np.full(N, np.nan), None, outputs)
