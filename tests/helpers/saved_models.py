"""Models that are saved: small ones of every kind."""

import inspect

import numpy as np
from sklearn.base import is_classifier

import sklearn_mmfusion


def small_data(n=40, n_classes=3):
    """Return sequences, a table and labels."""
    rng = np.random.default_rng(0)
    X = {"b": rng.normal(size=(n, 3, 5)), "a": rng.normal(size=(n, 4))}
    return X, rng.integers(0, n_classes, n)


def fitted(name, **params):
    """Return an estimator of the package, fitted in a few epochs."""
    kind = getattr(sklearn_mmfusion, name)
    if not name.startswith("MKL"):
        params = {"max_epochs": 2, "random_state": 0} | params
    if "early_stopping" in inspect.signature(kind).parameters:
        params = {"early_stopping": True} | params  # one fit, where there would be two
    if name.startswith("Unimodal"):
        params = {"modality": "a"} | params
    X, y = small_data()
    return kind(**params).fit(X, y if is_classifier(kind()) else np.column_stack([y, 2.5 * y]))
