"""Streams of batches: what the first one lacks, weights, copies."""

import copy
import pickle

import numpy as np
import pytest

from sklearn_mmfusion import (
    GAMClassifier,
    InputError,
    LateFusionClassifier,
    LateFusionRegressor,
    MLPEncoder,
    MNLClassifier,
    MROClassifier,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]


def rows(n, rng):
    values = rng.normal(size=(n, 3))
    return {"a": values}, values.argmax(axis=1)


def stream(estimator, first, labels, n_batches, seed=1):
    rng = np.random.default_rng(seed)
    estimator.partial_fit(*first, classes=labels)
    for _ in range(n_batches):
        X, y = rows(64, rng)
        estimator.partial_fit(X, np.minimum(y, len(labels) - 1))
    return estimator


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("cls", [LateFusionClassifier, GAMClassifier, MROClassifier, MNLClassifier])
def test_class_that_the_first_batch_lacks_is_learned_later(cls, n_classes):
    X, y = rows(200, np.random.default_rng(0))
    y = np.minimum(y, n_classes - 1)
    lacking = np.flatnonzero(y < n_classes - 1)[:64]
    first = {"a": X["a"][lacking]}, y[lacking]
    estimator = cls(encoders=MLPEncoder(), lr=0.01, random_state=0)
    stream(estimator, first, list(range(n_classes)), 60)
    new, truth = rows(1000, np.random.default_rng(9))
    truth = np.minimum(truth, n_classes - 1)
    assert estimator.score(new, truth) > 0.85
    assert (estimator.predict(new) == n_classes - 1).mean() == pytest.approx(
        (truth == n_classes - 1).mean(), abs=0.08
    )


def test_label_that_the_first_batch_lacks_is_rare_and_not_impossible():
    X, y = rows(64, np.random.default_rng(0))
    labels = np.column_stack([y == 0, np.zeros(64)]).astype(int)
    estimator = LateFusionClassifier(random_state=0).partial_fit(X, labels, classes=[0, 1])
    expected = np.log([(y == 0).mean() / (1 - (y == 0).mean()), 1 / 9])
    np.testing.assert_allclose(estimator.intercept_, expected, atol=0.02)  # after one step


@pytest.mark.parametrize("read", [pickle.dumps, copy.deepcopy])
def test_copying_changes_nothing(read):
    rng = np.random.default_rng(2)
    X = {"a": rng.normal(size=(60, 4))}
    y = X["a"][:, 0]
    some, others = (LateFusionRegressor(random_state=0) for _ in range(2))
    for _ in range(3):
        some.partial_fit(X, y)
        others.partial_fit(X, y)
    read(others)
    np.testing.assert_array_equal(
        some.partial_fit(X, y).predict(X), others.partial_fit(X, y).predict(X)
    )


def test_weights_have_one_unit_over_all_calls():
    # A batch of nearly no weight leaves things as they are.
    rng = np.random.default_rng(3)
    X, other = ({"a": rng.normal(size=(60, 4))} for _ in range(2))
    y = X["a"][:, 0]
    estimators = [LateFusionRegressor(random_state=0) for _ in range(2)]
    for estimator, weight in zip(estimators, (1.0, 1e-6), strict=True):
        for _ in range(40):
            estimator.partial_fit(X, y, sample_weight=np.ones(60))
            estimator.partial_fit(other, -other["a"][:, 0], sample_weight=np.full(60, weight))
    confused, sure = (np.corrcoef(e.predict(X), y)[0, 1] for e in estimators)
    assert sure > 0.9
    assert abs(confused) < 0.6


def test_class_weights_that_need_all_rows_are_refused():
    X, y = rows(30, np.random.default_rng(4))
    with pytest.raises(InputError, match="class_weight='balanced' needs the frequencies"):
        LateFusionClassifier(class_weight="balanced").partial_fit(X, y)
    LateFusionClassifier(class_weight={0: 2.0, 1: 1.0, 2: 1.0}, random_state=0).partial_fit(X, y)
