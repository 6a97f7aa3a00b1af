"""What is the same in all training rows counts for nothing in new ones, whatever is there."""

import numpy as np
import pytest

from sklearn_mmfusion import (
    EarlyFusionClassifier,
    InTenseClassifier,
    LateFusionClassifier,
    MKLClassifier,
    MNLClassifier,
    RoutingClassifier,
    TensorFusionClassifier,
    load,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

CLASSIFIERS = [
    EarlyFusionClassifier,
    InTenseClassifier,
    LateFusionClassifier,
    MNLClassifier,
    RoutingClassifier,
    TensorFusionClassifier,
]
RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(80, 4)), "b": RNG.normal(size=(80, 3))}
Y = X["a"][:, 0] > 0
X["a"][:, 2] = 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cls", CLASSIFIERS)
def test_constant_feature_says_nothing_in_new_rows(cls, dtype):
    train = {name: values.astype(dtype) for name, values in X.items()}
    estimator = cls(max_epochs=8, random_state=0).fit(train, Y)
    other = {name: values.copy() for name, values in train.items()}
    other["a"][:, 2] = 1e6 * RNG.normal(size=80)
    np.testing.assert_array_equal(
        estimator.decision_function(other), estimator.decision_function(train)
    )


@pytest.mark.draws_from_numpy  # libsvm's seed
@pytest.mark.parametrize("kernel", ["rbf", "linear", "poly"])
def test_constant_feature_says_nothing_to_kernels(kernel):
    estimator = MKLClassifier(kernel=kernel).fit(X, Y)
    other = {name: values.copy() for name, values in X.items()}
    other["a"][:, 2] = 1e6 * RNG.normal(size=80)
    np.testing.assert_array_equal(
        estimator.decision_function(other), estimator.decision_function(X)
    )


def test_constant_channel_of_sequences_says_nothing():
    steps = RNG.normal(size=(80, 5, 2))
    steps[:, :, 1] = 7.0
    estimator = MNLClassifier(max_epochs=8, random_state=0).fit({"s": steps}, steps[:, 0, 0] > 0)
    other = steps.copy()
    other[:, :, 1] = RNG.normal(size=(80, 5))
    np.testing.assert_array_equal(
        estimator.decision_function({"s": other}), estimator.decision_function({"s": steps})
    )


def test_constant_feature_survives_a_file(tmp_path):
    estimator = MNLClassifier(max_epochs=8, random_state=0).fit(X, Y)
    estimator.save(tmp_path / "model")
    again = load(tmp_path / "model")
    other = {"a": X["a"] + np.eye(4)[2] * 50, "b": X["b"]}
    np.testing.assert_array_equal(again.decision_function(other), estimator.decision_function(X))


def test_stream_may_begin_with_a_constant_feature():
    estimator = LateFusionClassifier(random_state=0, lr=0.02)
    estimator.partial_fit(X, Y, classes=[False, True])
    later = {name: RNG.normal(size=values.shape) for name, values in X.items()}
    for _ in range(60):
        estimator.partial_fit(later, later["a"][:, 2] > 0)
    assert estimator.score(later, later["a"][:, 2] > 0) > 0.9


@pytest.mark.parametrize(
    ("n_present", "n", "warns"), [(5, 80, True), (9, 95, True), (9, 80, False), (10, 800, False)]
)
def test_modality_of_a_handful_of_many_rows_is_warned_of(n_present, n, warns):
    rng = np.random.default_rng(1)
    rows = {"a": rng.normal(size=(n, 2)), "rare": rng.normal(size=(n, 2))}
    rows["rare"][n_present:] = np.nan
    estimator = LateFusionClassifier(missing="mask", max_epochs=2, random_state=0)
    if warns:
        with pytest.warns(UserWarning, match=f"modality 'rare': {n_present} of {n} training rows"):
            estimator.fit(rows, rows["a"][:, 0] > 0)
    else:
        estimator.fit(rows, rows["a"][:, 0] > 0)
