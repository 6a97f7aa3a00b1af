"""Small fits that run side by side, and how to see it and to keep them from it."""

from contextlib import contextmanager

import numpy as np
import pytest

from sklearn_mmfusion import MLPEncoder, _base
from sklearn_mmfusion._fitting import stacked_training as stacked_training_module
from sklearn_mmfusion._fitting import together as together_module

N = 90
RNG = np.random.default_rng(0)
X = {name: RNG.normal(size=(N, d)) for name, d in [("a", 4), ("b", 4), ("c", 3)]}
SIGNAL = X["a"][:, 0] + X["b"][:, 0] * X["c"][:, 1] + 0.3 * RNG.normal(size=N)
CLASSES = (SIGNAL > 0).astype(int)


def params(**changes):
    """Small settings; without the polish, which answers round-off with its tolerance."""
    return {
        "encoders": MLPEncoder(hidden_dim=6, output_dim=4, dropout=0.3, skip=True),
        "max_epochs": 3,
        "batch_size": 20,
        "early_stopping": True,
        "polish": False,
        "random_state": 0,
        "n_bags": 3,
    } | changes


def count_companies(monkeypatch):
    """Return a list that gets the size of every stack that is trained."""
    sizes = []
    train_stack = together_module.train_stack

    def counted(trainings):
        sizes.append(len(trainings))
        return train_stack(trainings)

    monkeypatch.setattr(together_module, "train_stack", counted)
    return sizes


@contextmanager
def one_by_one():
    """Run every fit alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_base, "may_run_beside_others", lambda *args: False)
        yield


def interrupt_at(monkeypatch, step):
    """Let the user press Ctrl-C at some forward pass of a stack in training."""
    forward, count = stacked_training_module.NetworkStack.forward, [0]

    def interrupted(self, batch, *, training):
        count[0] += training
        if training and count[0] == step:
            raise KeyboardInterrupt
        return forward(self, batch, training=training)

    monkeypatch.setattr(stacked_training_module.NetworkStack, "forward", interrupted)


def assert_same_results(found, expected, tol=1e-9):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.plan.terms == other.plan.terms
        for name in ("n_epochs", "best_epoch", "stopped", "interrupted", "used_held_out"):
            assert getattr(one.training, name) == getattr(other.training, name), name
        for epoch, wanted in zip(one.training.history, other.training.history, strict=True):
            assert epoch == pytest.approx(wanted, rel=tol, abs=tol)
        assert one.state.keys() == other.state.keys()
        for name, value in other.state.items():
            np.testing.assert_allclose(one.state[name], value, rtol=tol, atol=tol, err_msg=name)
        for name in ("reg", "gain", "gain_error", "polish_gap"):
            wanted = pytest.approx(getattr(other, name), rel=1e-6, abs=1e-9, nan_ok=True)
            assert getattr(one, name) == wanted, name
