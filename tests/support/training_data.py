"""Small fits that the tests of the training loop share."""

import numpy as np

from sklearn_mmfusion import (
    LinearEncoder,
)

N = 161  # early stopping holds out 32 of them and trains on 129 = 2 * 64 + 1
RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(N, 3)), "b": RNG.normal(size=(N, 2))}
SIGNAL = X["a"][:, 0] + X["b"][:, 0]
NUMBERS = SIGNAL + 0.5 * RNG.normal(size=N)
CLASSES = (NUMBERS > 0).astype(int)
ENCODERS = {"a": LinearEncoder(output_dim=2), "b": LinearEncoder()}


def params(**changes):
    """One fit with held-out rows, six epochs of batches of 64, without the polish."""
    return {
        "encoders": ENCODERS,
        "reg": 0.001,
        "max_epochs": 6,
        "batch_size": 64,
        "polish": False,
        "early_stopping": True,
        "validation_fraction": 0.2,
        "random_state": 0,
    } | changes


def encoder_weights(state):
    return {k: np.asarray(v) for k, v in state.items() if k.startswith("encoders.")}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key], err_msg=key)
