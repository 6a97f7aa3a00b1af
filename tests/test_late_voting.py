"""Late voting where a modality knows nothing of a class, and parameters of named classifiers."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.svm import LinearSVC

from sklearn_mmfusion import InputTypeError, LateVotingClassifier, ModalityFrame

N = 150
RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(N, 3)), "b": RNG.normal(size=(N, 2))}
THREE = np.digitize(X["a"][:, 0] + 0.5 * RNG.normal(size=N), [-0.5, 0.5])
PI = np.bincount(THREE) / N


def missing_where(rows):
    return X | {"b": np.where(rows[:, None], np.nan, X["b"])}


def softmax(values):
    p = np.exp(values - values.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def with_intercept(est, parts):
    return softmax(parts + est.intercept_)


def test_modality_does_not_vote_on_a_class_that_it_has_not_seen():
    rows = THREE != 2
    est = LateVotingClassifier(LogisticRegression(), missing="mask", random_state=0)
    est.fit(missing_where(~rows), THREE)
    pa = LogisticRegression().fit(X["a"], THREE).predict_proba(X["a"])
    pb = LogisticRegression().fit(X["b"][rows], THREE[rows]).predict_proba(X["b"])
    pb = np.column_stack([pb * (1 - PI[2]), np.full(N, PI[2])])
    expected = pa * pb / PI
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(est.predict_proba(X), expected, rtol=1e-6)
    # The modality alone leaves the odds of that class against all others as they were.
    alone = with_intercept(est, est.contributions(X)[:, 1])
    np.testing.assert_allclose(alone[:, 2], PI[2], rtol=1e-9)
    assert np.ptp(alone[:, 0]) > 0.01
    assert set(est.predict(X)) == {0, 1, 2}
    total = est.contributions(X).sum(1) + est.intercept_
    np.testing.assert_allclose(total, est.decision_function(X), rtol=1e-9)


@pytest.mark.parametrize("model", [LogisticRegression(), RandomForestClassifier(5, random_state=0)])
@pytest.mark.parametrize("y", [THREE, THREE > 0], ids=["multiclass", "binary"])
def test_modality_with_rows_of_one_class_does_not_vote(model, y):
    est = LateVotingClassifier(model, missing="mask", random_state=0)
    est.fit(missing_where(THREE != 0), y)
    assert (est.contributions(X)[:, 1] == 0).all()
    alone = clone(model).fit(X["a"], y).predict_proba(X["a"])
    np.testing.assert_allclose(est.predict_proba(X), alone, rtol=1e-6, atol=1e-9)


def test_modality_does_not_vote_on_a_label_in_which_its_rows_are_alike():
    labels = np.column_stack([THREE > 0, X["b"][:, 0] > 0]).astype(int)
    for model in (RandomForestClassifier(5, random_state=0), LogisticRegression()):
        est = LateVotingClassifier(model, missing="mask", random_state=0)
        parts = est.fit(missing_where(THREE == 0), labels).contributions(X)
        assert (parts[:, 1, 0] == 0).all() and np.ptp(parts[:, 1, 1]) > 1


def test_weights_decide_what_a_class_is_worth():
    rows = THREE != 2
    weight = RNG.integers(1, 4, N).astype(float)
    est = LateVotingClassifier(LogisticRegression(), missing="mask", random_state=0)
    est.fit(missing_where(~rows), THREE, weight)
    alone = with_intercept(est, est.contributions(X)[:, 1])
    np.testing.assert_allclose(alone[:, 2], weight[~rows].sum() / weight.sum(), rtol=1e-9)


# -- parameters -------------------------------------------------------------------------------


def test_parameters_of_named_classifiers_are_searchable():
    given = {"a": RandomForestClassifier(3, random_state=0), "b": LogisticRegression()}
    est = LateVotingClassifier(given, random_state=0)
    assert est.get_params()["estimators__a__n_estimators"] == 3
    assert "estimators__a" not in est.get_params(deep=False)
    grid = {"estimators__a__max_depth": [1, 4], "estimators__b__C": [1.0]}
    search = GridSearchCV(est, grid, cv=2).fit(ModalityFrame(X), THREE)
    best = search.best_estimator_.estimators_["a"]
    assert best.max_depth == search.best_params_["estimators__a__max_depth"]
    assert given["a"].max_depth is None and given["b"].C == 1.0


def test_named_classifiers_are_replaced_and_come_from_the_default():
    given = {"a": LogisticRegression()}
    est = LateVotingClassifier(given, random_state=0)
    other = RandomForestClassifier(3, random_state=0)
    est.set_params(estimators__a=other, estimators__b__logisticregression__C=0.1)
    assert given == {"a": given["a"]} and est.estimators["a"] is other
    est.fit(X, THREE)
    assert est.estimators_["b"][1].C == 0.1
    assert est.estimators_["a"].n_estimators == 3
    fresh = LateVotingClassifier().set_params(estimators__a__logisticregression__C=0.5)
    assert list(fresh.estimators) == ["a"]


def test_parameters_of_one_classifier_for_all_are_its_own():
    est = LateVotingClassifier(LogisticRegression()).set_params(estimators__C=0.3)
    assert est.estimators.C == 0.3
    est.set_params(estimators=RandomForestClassifier(3), estimators__max_depth=2)
    assert est.estimators.max_depth == 2
    for wrong in ("estimators__a__C", "estimators__depth"):
        with pytest.raises(ValueError, match="Invalid parameter"):
            est.set_params(**{wrong: 1})
    named = LateVotingClassifier({"a": LogisticRegression()})
    for wrong in ("estimators__a__depth", "estimators__a"):
        with pytest.raises(ValueError, match="Invalid parameter"):
            named.set_params(**{wrong: 1})


def test_class_in_place_of_a_classifier_is_refused():
    mine = r"'a': expected a classifier, got the class LogisticRegression; write Log.*\(\)"
    for given in (LogisticRegression, {"a": LogisticRegression}):
        with pytest.raises(InputTypeError, match=mine):
            LateVotingClassifier(given, random_state=0).fit(X, THREE)


class _Duck:
    """What scikit-learn asks of an estimator, and no more."""

    def get_params(self, deep=True):
        return {}

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        p = 1 / (1 + np.exp(-X[:, 0]))
        return np.column_stack([1 - p, p])


def test_classifiers_may_be_no_base_estimators_or_have_probabilities_once_they_are_fitted():
    y = THREE > 0
    est = LateVotingClassifier(_Duck(), random_state=0).fit(X, y)
    expected = X["a"][:, 0] + X["b"][:, 0] - est.intercept_[0]
    np.testing.assert_allclose(est.decision_function(X), expected, rtol=1e-9, atol=1e-12)
    stack = StackingClassifier([("one", LogisticRegression())], cv=2)
    assert LateVotingClassifier(stack, random_state=0).fit(X, y).score(X, y) > 0.7


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([LogisticRegression()], r"got \[Log.*\]; give one for all modalities, or a mapping"),
        (Ridge(), r"got the regressor Ridge\(\)"),
        (GaussianMixture(2), "got the density_estimator GaussianMixture"),
        (LinearSVC(random_state=0), "got LinearSVC.*; wrap it in CalibratedClassifierCV"),
    ],
)
def test_what_is_no_classifier_with_probabilities_is_refused(given, message):
    labels = np.column_stack([THREE > 0, X["b"][:, 0] > 0]).astype(int)
    for y in (THREE, labels):
        with pytest.raises(InputTypeError, match=f"'a': expected a classifier .* {message}"):
            LateVotingClassifier(given, random_state=0).fit(X, y)
