"""Data and comparisons that the checks of multimodal estimators share."""

import copy

import numpy as np
from sklearn.base import clone, is_classifier

from sklearn_mmfusion.data import ModalityFrame

__all__ = ["assert_same", "expect_error", "fit", "frozen", "make_data", "outputs", "with_layout"]

N_SAMPLES = 40
METHODS = ("predict", "predict_proba", "decision_function")


def make_data(estimator):
    """Return three modalities that carry the target, as a dict, and the target."""
    rng = np.random.default_rng(0)
    widths = {"text": 4, "audio": 3, "video": 2}
    X = {name: rng.normal(size=(N_SAMPLES, width)) for name, width in widths.items()}
    signal = X["text"][:, 0] - X["audio"][:, 1] + 0.5 * X["video"][:, 0]
    signal += 0.1 * rng.normal(size=N_SAMPLES)
    if is_classifier(estimator):
        return X, np.where(signal > np.median(signal), "yes", "no")
    return X, signal


def fit(estimator, X, y):
    """Fit a clone."""
    return clone(estimator).fit(X, y)


def outputs(estimator, X):
    """Return what every prediction method of the estimator gives."""
    return {name: getattr(estimator, name)(X) for name in METHODS if hasattr(estimator, name)}


def assert_same(got, expected, what, atol=None):
    """Compare two results of :func:`outputs`: bit for bit, or to ``atol`` where one is given.

    With a tolerance labels are not compared: a tie may fall to either side.
    """
    assert got.keys() == expected.keys(), f"{what}: other methods"
    for method, values in expected.items():
        message = f"{method} differs {what}"
        if atol is None:
            np.testing.assert_array_equal(got[method], values, err_msg=message)
        elif np.asarray(values).dtype.kind == "f":
            np.testing.assert_allclose(got[method], values, rtol=0, atol=atol, err_msg=message)


def with_layout(estimator, modalities):
    """Return a clone that reads the modalities from the columns of a matrix."""
    return clone(estimator).set_params(modalities=modalities)


def expect_error(call, words, what):
    """Check that a call raises a ValueError whose message holds all of the words."""
    try:
        call()
    except ValueError as error:
        absent = [word for word in words if word not in str(error)]
        assert not absent, f"{what}: the error should say {absent}, got: {error}"
    else:
        raise AssertionError(f"{what}: expected a ValueError, got none")


def frozen(X, y):
    """Return deep copies, to compare with later."""
    return ModalityFrame(copy.deepcopy(dict(X))), copy.deepcopy(y)
