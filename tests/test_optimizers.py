"""Tests of the optimisers as parameter objects."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_mmfusion import SGD, AdamW, MNLRegressor


def steps(optimizer, n=5):
    """Minimise (x - 3)^2 + y from (0, 0) and return the points."""
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    built = optimizer([{"params": [x], "weight_decay": 0.1}], lr=0.05)
    points = []
    for _ in range(n):
        built.zero_grad()
        ((x[0] - 3) ** 2 + x[1]).backward()
        built.step()
        points.append(x.detach().clone())
    return torch.stack(points).numpy()


def test_adamw_steps_equal_the_paper():
    b1, b2, eps, lr, decay = 0.8, 0.95, 1e-6, 0.05, 0.1
    x, m, v, expected = np.zeros(2), np.zeros(2), np.zeros(2), []
    for t in range(1, 6):
        g = np.array([2 * (x[0] - 3), 1.0])
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        x = x - lr * decay * x
        x = x - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        expected.append(x)
    np.testing.assert_allclose(steps(AdamW(betas=(b1, b2), eps=eps).build), expected, rtol=1e-8)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_steps_equal_the_formula(nesterov):
    x, velocity, expected = np.zeros(2), None, []
    for _ in range(5):
        g = np.array([2 * (x[0] - 3), 1.0]) + 0.1 * x
        velocity = g if velocity is None else 0.7 * velocity + g
        x = x - 0.05 * (g + 0.7 * velocity if nesterov else velocity)
        expected.append(x)
    found = steps(SGD(momentum=0.7, nesterov=nesterov).build)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_sgd_without_momentum_is_plain():
    # torch refuses nesterov without momentum; the default asks for it.
    np.testing.assert_allclose(steps(SGD(momentum=0.0).build)[0], [0.3, -0.05])


def test_adamw_takes_the_fused_step():
    built = AdamW().build([{"params": [torch.zeros(1, requires_grad=True)]}], lr=0.1)
    assert built.defaults["fused"] is True


@pytest.mark.parametrize(
    "optimizer", [AdamW(eps=0.0), AdamW(betas=0.9), SGD(momentum=1.0), SGD(momentum="a")]
)
def test_invalid_parameters_are_refused_by_fit(optimizer):
    X, y = {"a": np.arange(20.0).reshape(10, 2)}, np.arange(10.0)
    with pytest.raises(ValueError, match="parameter of (AdamW|SGD) must be"):
        MNLRegressor(optimizer=optimizer, max_epochs=2, random_state=0).fit(X, y)


def test_optimizers_are_parameter_objects():
    for optimizer in (AdamW(betas=(0.5, 0.9)), SGD(momentum=0.5)):
        copied = clone(optimizer)
        assert copied is not optimizer
        assert copied.get_params() == optimizer.get_params()
    est = MNLRegressor(optimizer=SGD())
    est.set_params(optimizer__momentum=0.3)
    assert est.optimizer.momentum == 0.3
