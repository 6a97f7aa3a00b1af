"""Weights in fits of the user's estimators, with scikit-learn's metadata routing and without."""

import numpy as np
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import AdaBoostClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion import EstimatorEncoder, InputError, LateVotingClassifier, MNLClassifier
from sklearn_mmfusion._stacking.weighted_fits import fit_weighted

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 80
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
Y = (X[:, 0] + RNG.normal(size=N) > 0).astype(int)
WEIGHT = RNG.integers(1, 4, N).astype(float)
ROWS = np.repeat(np.arange(N), WEIGHT.astype(int))


@pytest.fixture(params=[False, True], ids=["plain", "routing"])
def routing(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param


def logistic():
    return LogisticRegression(tol=1e-10)


@pytest.mark.parametrize(
    "make",
    [
        logistic,
        lambda: make_pipeline(StandardScaler(), logistic()),
        lambda: make_pipeline("passthrough", logistic()),
        lambda: make_pipeline(make_pipeline(StandardScaler()), make_pipeline(logistic())),
    ],
)
def test_weights_are_repetitions_whatever_the_nesting(make, routing):
    weighted = fit_weighted(make(), X, Y, WEIGHT)
    repeated = make().fit(X[ROWS], Y[ROWS])
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-5)


def test_estimators_that_take_no_weights_are_fitted_without(routing):
    found = fit_weighted(KNeighborsClassifier(), X, Y, WEIGHT).predict_proba(X)
    np.testing.assert_array_equal(found, KNeighborsClassifier().fit(X, Y).predict_proba(X))


def test_estimators_of_estimators_hand_weights_on(routing):
    calibrated = CalibratedClassifierCV(logistic(), cv=2)
    direct = fit_weighted(calibrated, X, Y, WEIGHT).predict_proba(X)
    plain = CalibratedClassifierCV(logistic(), cv=2).fit(X, Y).predict_proba(X)
    assert np.abs(direct - plain).max() > 1e-3


def test_estimator_that_cannot_be_routed_to_is_named():
    data, boosted = {"a": X}, AdaBoostClassifier(n_estimators=3)
    with sklearn.config_context(enable_metadata_routing=True):
        for model in (boosted, make_pipeline(boosted)):
            late = LateVotingClassifier(model, random_state=0)
            with pytest.raises(InputError, match="'a': .* refuses it: scikit-learn does not route"):
                late.fit(data, Y, WEIGHT)
            late.fit(data, Y)
    late.fit(data, Y, WEIGHT)


def test_search_with_routing_fits_and_scores_with_weights():
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(logistic(), {"C": [1.0]}, cv=2)
        found = fit_weighted(search, X, Y, WEIGHT)
        best = logistic().fit(X, Y, WEIGHT)
        np.testing.assert_allclose(found.predict_proba(X), best.predict_proba(X), rtol=1e-6)


def test_what_the_user_requests_comes_first():
    with sklearn.config_context(enable_metadata_routing=True):
        model = logistic().set_fit_request(sample_weight=False)
        unweighted = logistic().fit(X, Y).coef_
        np.testing.assert_array_equal(fit_weighted(model, X, Y, WEIGHT).coef_, unweighted)
        piped = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), logistic())
        fitted = fit_weighted(piped, X, Y, WEIGHT)
        np.testing.assert_allclose(fitted[0].mean_, X.mean(0), rtol=1e-12)
        scaled = (X - X.mean(0)) / X.std(0)
        expected = logistic().fit(scaled, Y, WEIGHT).coef_
        np.testing.assert_allclose(fitted[1].coef_, expected, rtol=1e-6)


def test_late_voting_and_encoders_take_weights_with_routing_as_without():
    data = {"a": X[:, :2], "b": X[:, 2:]}
    encoder = EstimatorEncoder(make_pipeline(StandardScaler(), logistic()), cv=2)
    found = []
    for on in (False, True):
        with sklearn.config_context(enable_metadata_routing=on):
            late = LateVotingClassifier(random_state=0).fit(data, Y, WEIGHT)
            fusion = MNLClassifier(
                encoders=encoder, max_epochs=2, early_stopping=False, random_state=0
            ).fit(data, Y, WEIGHT)
            found.append((late.decision_function(data), fusion.decision_function(data)))
    np.testing.assert_array_equal(found[0], found[1])
    # Nothing is left on the user's own.
    assert encoder.estimator[1]._get_metadata_request().fit.requests["sample_weight"] is None
