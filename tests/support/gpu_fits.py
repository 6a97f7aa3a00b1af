"""Rows, parameters and fits of the tests that need a GPU."""

import numpy as np
import pytest

from sklearn_mmfusion import (
    Conv1dEncoder,
    Conv2dEncoder,
    GRUEncoder,
    InTenseClassifier,
    LSTMEncoder,
    MLPEncoder,
    SummaryEncoder,
    TransformerEncoder,
)

N = 150
RNG = np.random.default_rng(0)
FLAT = {name: RNG.normal(size=(N, 4)) for name in "abc"}
LABELS = (FLAT["a"][:, 0] * FLAT["b"][:, 0] + FLAT["c"][:, 0] > 0).astype(int)
LENGTHS = RNG.integers(1, 9, N)
STEPS = RNG.normal(size=(N, 8, 3))
STEPS[np.arange(8) >= LENGTHS[:, None]] = np.nan
CODES = np.where(np.arange(8) < LENGTHS[:, None], RNG.integers(0, 5, (N, 8)), -1)
IMAGES = RNG.normal(size=(N, 1, 12, 12))
PARAMS = {
    "encoders": MLPEncoder(dropout=0.0, input_dropout=0.0),
    "batch_size": 32,
    "max_epochs": 3,
    "early_stopping": True,
    "random_state": 0,
}


def fit(X=FLAT, y=LABELS, cls=InTenseClassifier, **changes):
    return cls(**(PARAMS | {"device": "cuda"} | changes)).fit(X, y)


def assert_same(one, other, tolerance=1e-8):
    a, b = one._result.state, other._result.state
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_allclose(b[name], value, rtol=tolerance, atol=tolerance, err_msg=name)
    for mine, theirs in zip(one.history_, other.history_, strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=tolerance)


ENCODERS = {
    "GRU": (STEPS, GRUEncoder(hidden_dim=4, dropout=0.0, batch_norm=True, bidirectional=True)),
    "LSTM": (STEPS, LSTMEncoder(hidden_dim=4, dropout=0.0)),
    "Conv1d": (STEPS, Conv1dEncoder(dropout=0.0, batch_norm=True)),
    "Transformer": (STEPS, TransformerEncoder(hidden_dim=4, n_heads=2, n_layers=1, dropout=0.0)),
    "Summary": (STEPS, SummaryEncoder()),
    "codes": (CODES, GRUEncoder(vocabulary_size=5, hidden_dim=3, dropout=0.0)),
    "codes, Conv1d": (CODES, Conv1dEncoder(vocabulary_size=5, dropout=0.0)),
    "Conv2d": (IMAGES, Conv2dEncoder(dropout=0.0)),
}
