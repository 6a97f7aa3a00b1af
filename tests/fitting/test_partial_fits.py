"""Streams of batches: what the first one lacks, weights, copies."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.metrics import log_loss

from sklearn_mmfusion import (
    GAMClassifier,
    InputError,
    InTenseClassifier,
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
@pytest.mark.slow
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


def apart(n, rng, n_classes=2, only=None):
    """Rows whose classes lie far apart: scaled by one of them, the others are out of sight."""
    y = rng.integers(0, n_classes, n) if only is None else np.full(n, only)
    X = {"a": rng.normal(size=(n, 6)), "b": rng.normal(size=(n, 4))}
    X["a"][:, 0] += 4 * y
    return X, y


def apart_stream(cls, firsts, n_classes=2, n_batches=30):
    """Return a stream of some batches, each of rows and one class or None, and mixed ones."""
    estimator = cls(random_state=0)
    for i, (n, only) in enumerate([*firsts, *[(64, None)] * n_batches]):
        mixed = i - len(firsts)
        batch = apart(n, np.random.default_rng(100 + mixed), n_classes, only)
        estimator.partial_fit(*batch, classes=list(range(n_classes)))
    return estimator


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("cls", [MNLClassifier, InTenseClassifier])
@pytest.mark.slow
def test_first_batch_of_one_class_costs_nothing_in_the_end(cls, n_classes):
    new, truth = apart(4000, np.random.default_rng(9), n_classes)
    losses, n_iter = [], []
    for firsts in ([(64, None)], [(64, 0)], [(64, n_classes - 1), (5, n_classes - 1)]):
        estimator = apart_stream(cls, firsts, n_classes)
        losses.append(log_loss(truth, estimator.predict_proba(new)))
        n_iter.append(estimator.n_iter_)
    assert losses[1] < losses[0] + 0.03
    assert losses[2] < losses[0] + 0.03
    assert n_iter == [31, 31, 32]


def test_stream_begins_anew_with_the_first_rows_of_two_classes():
    new, _ = apart(50, np.random.default_rng(9))
    fresh = apart_stream(MNLClassifier, [], n_batches=3)
    late = apart_stream(MNLClassifier, [(64, 1), (20, 1)], n_batches=3)
    assert np.array_equal(late.decision_function(new), fresh.decision_function(new))
    assert [epoch["epoch"] for epoch in late.history_] == [1, 2, 3, 4, 5]
    saved = pickle.loads(pickle.dumps(apart_stream(MNLClassifier, [(64, 1)], n_batches=0)))
    batch = apart(64, np.random.default_rng(100))
    once = apart_stream(MNLClassifier, [], n_batches=1)
    assert np.array_equal(
        saved.partial_fit(*batch).decision_function(new), once.decision_function(new)
    )


@pytest.mark.parametrize(
    "firsts",
    [
        [(64, 0), (64, 1)],  # sorted: something of both classes is known
        [(64, 0), (9, None)],  # too few rows to scale by, and none are thrown away later
        [(64, None)],
    ],
)
def test_stream_that_has_seen_two_classes_goes_on(firsts):
    new, _ = apart(50, np.random.default_rng(9))
    before = apart_stream(MNLClassifier, firsts, n_batches=0)
    mean = before._result.plan.scalings[0][0]
    after = apart_stream(MNLClassifier, firsts, n_batches=2)
    assert np.array_equal(after._result.plan.scalings[0][0], mean)


def test_fit_is_never_begun_anew():
    X, y = apart(60, np.random.default_rng(0))
    estimator = MNLClassifier(max_epochs=3, random_state=0).fit(X, y)
    mean = estimator._result.plan.scalings[0][0]
    estimator.partial_fit(*apart(20, np.random.default_rng(1), only=0))
    estimator.partial_fit(*apart(20, np.random.default_rng(2)))
    assert np.array_equal(estimator._result.plan.scalings[0][0], mean)


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
