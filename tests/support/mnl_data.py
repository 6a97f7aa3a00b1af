"""Rows and targets of every kind, and MNL settings for few epochs."""

import numpy as np

from sklearn_mmfusion import (
    LinearEncoder,
    MNLClassifier,
    MNLRegressor,
)

N = 90
RNG = np.random.default_rng(0)
X = {
    "text": RNG.normal(size=(N, 4)),
    "audio": 100 + 10 * RNG.normal(size=(N, 3)),
    "noise": RNG.normal(size=(N, 3)),
}
SIGNAL = X["text"][:, 0] + (X["audio"][:, 1] - 100) / 10
# With noise, so that no classes are separable and their weights are finite.
NOISY = SIGNAL + 0.5 * RNG.normal(size=N)
NUMBERS = 50 + 7 * NOISY
BINARY = np.where(NOISY > 0, "yes", "no")
THREE = np.array(["low", "mid", "top"])[np.digitize(NOISY, [-0.8, 0.8])]
LABELS = np.column_stack([NOISY > 0, X["text"][:, 1] + 0.5 * RNG.normal(size=N) > 0]).astype(int)
PAIR = np.column_stack([NUMBERS, -3 * X["text"][:, 2]])


def params(**changes):
    return {
        "encoders": LinearEncoder(),
        "reg": 0.001,
        "max_epochs": 30,
        "early_stopping": True,  # one fit, with held-out rows
        "polish": False,  # which takes most of the time on few rows
        "lr": 0.02,
        "random_state": 0,
    } | changes


CASES = {
    "binary": (MNLClassifier, BINARY),
    "multiclass": (MNLClassifier, THREE),
    "multilabel": (MNLClassifier, LABELS),
    "regression": (MNLRegressor, NUMBERS),
    "multi-output": (MNLRegressor, PAIR),
}
