"""Checks of scikit-learn's contract, replayed on mappings."""

import copy
import pickle
import random

import joblib
import numpy as np
import torch
from sklearn.base import clone

from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.utils._check_helpers import (
    assert_same,
    expect_error,
    fit,
    frozen,
    make_data,
    outputs,
)

__all__ = ["CONTRACT_CHECKS"]

# The tolerance of scikit-learn's own check_methods_subset_invariance.
ATOL = 1e-7


def check_fit_changes_nothing(estimator):
    """Check that fit leaves X, y and the parameters as they were."""
    X, y = make_data(estimator)
    X_before, y_before = frozen(X, y)
    order = list(X)
    params = joblib.hash(estimator.get_params())
    model = copy.deepcopy(estimator).fit(X, y)
    assert list(X) == order and X_before == X, "fit changed X"
    np.testing.assert_array_equal(y, y_before, err_msg="fit changed y")
    assert joblib.hash(model.get_params()) == params, "fit changed parameters"


def check_predict_changes_nothing(estimator):
    """Check that predicting leaves X as it was, and adds no attribute."""
    X, y = make_data(estimator)
    model = fit(estimator, X, y)
    X_before, _ = frozen(X, y)
    attributes = set(vars(model))
    outputs(model, X)
    assert X_before == X, "predict changed X"
    changed = sorted(attributes ^ set(vars(model)))
    assert not changed, f"predict added or removed the attributes {changed}"


def check_fit_attributes(estimator):
    """Check that fit sets scikit-learn's attributes, with modalities for features."""
    X, y = make_data(estimator)
    model = clone(estimator)
    assert model.fit(X, y) is model, "fit does not return self"
    assert model.n_features_in_ == len(X), "n_features_in_ should count modalities"
    names = list(model.feature_names_in_)
    assert sorted(names) == sorted(X), f"feature_names_in_ should be the modalities, got {names}"


def check_idempotent(estimator):
    """Check that fitting again gives the same bits, whatever was fitted or predicted before."""
    X, y = make_data(estimator)
    model = fit(estimator, X, y)
    first = outputs(model, X)
    assert_same(outputs(model, X), first, "when called twice")
    assert_same(outputs(model.fit(X, y), X), first, "after fitting again")


def check_pickle(estimator):
    """Check that a pickled estimator predicts the same bits."""
    X, y = make_data(estimator)
    model = fit(estimator, ModalityFrame(X), y)
    # Our own bytes, of a moment ago.
    restored = pickle.loads(pickle.dumps(model))  # noqa: S301, TID251
    assert_same(outputs(restored, X), outputs(model, X), "after pickling")


def check_clone(estimator):
    """Check that a clone of a fitted estimator is unfitted, and fits to the same bits."""
    X, y = make_data(estimator)
    model = fit(estimator, X, y)
    copied = clone(model)
    left = sorted(name for name in vars(copied) if name.endswith("_") and name[0] != "_")
    assert not left, f"clone kept the fitted attributes {left}"
    assert_same(outputs(copied.fit(X, y), X), outputs(model, X), "after cloning")


def check_sample_order(estimator):
    """Check that predictions do not depend on the order of the rows, to 1e-7."""
    X, y = make_data(estimator)
    model = fit(estimator, X, y)
    order = np.random.default_rng(1).permutation(len(y))
    expected = {method: values[order] for method, values in outputs(model, X).items()}
    assert_same(outputs(model, ModalityFrame(X)[order]), expected, "in another order", ATOL)


def check_subsets(estimator):
    """Check that predictions do not depend on which rows come together, to 1e-7."""
    X, y = make_data(estimator)
    model = fit(estimator, X, y)
    frame = ModalityFrame(X)
    parts = [outputs(model, frame[start : start + 7]) for start in range(0, len(y), 7)]
    got = {method: np.concatenate([part[method] for part in parts]) for method in parts[0]}
    assert_same(got, outputs(model, X), "in batches of 7", ATOL)


def check_one_row(estimator):
    """Check that one row is predicted as it is among others, to 1e-7."""
    X, y = make_data(estimator)
    model = fit(estimator, X, y)
    for row in (0, len(y) - 1):
        one = {name: value[row : row + 1] for name, value in X.items()}
        expected = {method: values[row : row + 1] for method, values in outputs(model, X).items()}
        assert_same(outputs(model, one), expected, f"for row {row} alone", ATOL)


def check_failed_fit(estimator):
    """Check that a fit that fails leaves the model of the fit before."""
    X, y = make_data(estimator)
    model = fit(estimator, X, y)
    expected = outputs(model, X)
    infinite = X["text"].copy()
    infinite[3, 1] = np.inf
    bad_inputs = {
        "rows that differ": (X | {"audio": X["audio"][1:]}, y),
        "an infinite value": (X | {"text": infinite}, y),
        "a target that is too short": (X, y[1:]),
    }
    for what, (bad_X, bad_y) in bad_inputs.items():
        expect_error(lambda X=bad_X, y=bad_y: model.fit(X, y), [], what)
        assert_same(outputs(model, X), expected, f"after a fit that failed for {what}")


def check_global_random_state(estimator):
    """Check that fit and predict leave the random states of random, numpy and torch alone."""

    def states():
        return joblib.hash(
            [random.getstate(), np.random.get_state(), torch.get_rng_state().numpy()]  # noqa: NPY002
        )

    X, y = make_data(estimator)
    before = states()
    model = fit(estimator, X, y)
    assert states() == before, "fit changed a global random state"
    outputs(model, X)
    assert states() == before, "predict changed a global random state"


CONTRACT_CHECKS = (
    check_fit_changes_nothing,
    check_predict_changes_nothing,
    check_fit_attributes,
    check_idempotent,
    check_pickle,
    check_clone,
    check_sample_order,
    check_subsets,
    check_one_row,
    check_failed_fit,
    check_global_random_state,
)
