"""Encoders without hidden layers in estimators whose fusion is trained by steps.

Each step moves a weight by about the learning rate, and up to 1000 rows there is one step an epoch.
"""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import log_loss

from sklearn_mmfusion import (
    EstimatorEncoder,
    IdentityEncoder,
    LateFusionClassifier,
    LateFusionRegressor,
    LinearEncoder,
    MLPEncoder,
    MNLRegressor,
    UnimodalRegressor,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def rows(n, seed):
    rng = np.random.default_rng(seed)
    X = {"a": rng.normal(size=(n, 4)), "b": rng.normal(size=(n, 3))}
    return X, X["a"][:, 0] + X["b"][:, 0]


X, Y = rows(300, 0)
NEW, TRUTH = rows(1000, 1)


@pytest.mark.parametrize(
    "encoder", [EstimatorEncoder(Ridge()), IdentityEncoder(), LinearEncoder()], ids=repr
)
def test_linear_truth_is_fitted_whole(encoder):
    estimator = LateFusionRegressor(encoders=dict.fromkeys("ab", encoder), random_state=0).fit(X, Y)
    slope = LinearRegression().fit(TRUTH[:, None], estimator.predict(NEW)).coef_[0]
    assert estimator.score(NEW, TRUTH) > 0.97
    assert slope == pytest.approx(1, abs=0.1)


def test_represented_modality_is_fitted_beside_one_with_hidden_layers():
    encoders = {"a": EstimatorEncoder(Ridge()), "b": MLPEncoder(hidden_dim=32)}
    estimator = LateFusionRegressor(encoders=encoders, random_state=0).fit(X, Y)
    assert estimator.score(NEW, TRUTH) > 0.97


def test_one_modality_is_what_its_estimator_says():
    encoders = {"a": EstimatorEncoder(Ridge())}
    estimator = UnimodalRegressor("a", encoders=encoders, random_state=0)
    assert estimator.fit(X, 3 * X["a"][:, 0]).score(NEW, 3 * NEW["a"][:, 0]) > 0.99


def test_probabilities_are_as_sure_as_those_of_a_joint_model():
    encoders = dict.fromkeys("ab", EstimatorEncoder(LogisticRegression()))
    estimator = LateFusionClassifier(encoders=encoders, random_state=0).fit(X, Y > 0)
    joint = LogisticRegression().fit(np.hstack(list(X.values())), Y > 0)
    sure = log_loss(TRUTH > 0, joint.predict_proba(np.hstack(list(NEW.values()))))
    assert log_loss(TRUTH > 0, estimator.predict_proba(NEW)) < 2.5 * sure


def first_lr(estimator):
    return estimator.history_[0]["lr"]


def test_longer_steps_are_tried_for_encoders_without_hidden_layers_alone():
    linear = dict.fromkeys("ab", LinearEncoder())
    few = {"max_epochs": 20, "random_state": 0}  # the fewer, the more longer steps help
    assert first_lr(LateFusionRegressor(encoders=linear, **few).fit(X, Y)) == 0.03
    assert first_lr(LateFusionRegressor(**few).fit(X, Y)) == 0.003
    own = LateFusionRegressor(encoders=linear, lr=0.004, **few)
    assert first_lr(own.fit(X, Y)) == 0.004
    # Where the weights are solved for at the end, nothing has to travel.
    assert first_lr(MNLRegressor(encoders=linear, **few).fit(X, Y)) == 0.01


def test_steps_stay_short_where_held_out_rows_say_so(monkeypatch):
    monkeypatch.setattr(LateFusionRegressor, "_long_lr", 1e-6)  # of steps that lead nowhere
    linear = dict.fromkeys("ab", LinearEncoder())
    estimator = LateFusionRegressor(encoders=linear, random_state=0).fit(X, Y)
    assert first_lr(estimator) == 0.003


def test_second_fit_takes_the_steps_of_the_first():
    # Four fifths of these rows count as few, all of them do not.
    X, y = rows(1100, 3)
    estimator = MNLRegressor(max_epochs=20, random_state=0).fit(X, y)
    assert estimator.validation_history_[0]["lr"] == first_lr(estimator) == 0.01
    assert estimator._result.n_rows == 1100  # with shorter ones it lagged, and was not kept
