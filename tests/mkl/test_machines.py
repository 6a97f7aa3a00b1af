"""Tests of the machines for fixed kernel weights: finite differences, a linear program."""

import numpy as np
import pytest
from scipy.optimize import linprog
from sklearn.metrics.pairwise import rbf_kernel

from sklearn_mmfusion._mkl import machines as machines_module
from sklearn_mmfusion._mkl.machines import Problem, best_intercept, fit_machines


def test_second_derivatives_equal_finite_differences():
    rng = np.random.default_rng(0)
    centre = np.eye(80) - 1 / 80
    blocks = rng.normal(size=(4, 80, 3))
    kernels = np.array([centre @ rbf_kernel(block) @ centre for block in blocks])
    kernels = 40 * (kernels + kernels.transpose(0, 2, 1))
    kernels /= np.trace(kernels, axis1=1, axis2=2)[:, None, None]
    signal = blocks[0, :, 0] + 0.6 * blocks[1, :, 1] + 0.4 * rng.normal(size=80)
    of_label = np.digitize(signal, np.quantile(signal, [0.3, 0.6]))[:, None] == np.arange(3)
    lower, upper = np.where(of_label, 1.0, -np.inf), np.where(of_label, np.inf, -1.0)
    problem = Problem(kernels, lower, upper, np.ones(80), 2.0)
    weights = np.array([0.5, 0.6, 0.3, 0.4])
    machines = fit_machines(problem, weights)
    step = 1e-5

    def strengths(shift):
        return fit_machines(problem, weights + shift).strengths

    # The first derivative is -S / 2.
    expected = [-(strengths(step * e) - strengths(-step * e)) / (4 * step) for e in np.eye(4)]
    np.testing.assert_allclose(machines.curvature, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("has_lower, has_upper", [(True, True), (True, False), (False, True)])
def test_intercept_is_that_of_a_linear_program(has_lower, has_upper):
    n = 25
    rng = np.random.default_rng(1)
    values, cost = rng.normal(size=n), rng.uniform(0.1, 2, size=n)
    positive = rng.random(n) < 0.5
    lower = np.where(positive & has_lower, 1.0, -np.inf)
    upper = np.where(~positive & has_upper, -1.0, np.inf)
    b = best_intercept(values, lower, upper, cost)
    sides = [(1.0, lower), (-1.0, upper)]
    rows = [(s, i) for s, ends in sides for i in np.flatnonzero(np.isfinite(ends))]
    matrix, right = np.zeros((len(rows), n + 1)), np.zeros(len(rows))
    for j, (s, i) in enumerate(rows):
        matrix[j, 0], matrix[j, 1 + i] = -s, -1
        right[j] = s * values[i] - (lower[i] if s > 0 else -upper[i])
    best = linprog(
        np.concatenate([[0], cost]), matrix, right, bounds=[(None, None)] + [(0, None)] * n
    )
    outputs = values + b
    got = cost @ (np.maximum(lower - outputs, 0) + np.maximum(outputs - upper, 0))
    assert got == pytest.approx(best.fun, abs=1e-9)


def test_corrections_that_grow_are_given_up_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    target = np.sign(x[:, 0] + rng.normal(size=400))
    lower = np.where(target > 0, 1.0, -np.inf)
    upper = np.where(target < 0, -1.0, np.inf)
    rounds = []
    factor = machines_module.cho_factor
    monkeypatch.setattr(machines_module, "cho_factor", lambda a: rounds.append(len(a)) or factor(a))
    # All rows inside their bounds, of a kernel of rank two: they can stand in for each other.
    start = 0.5 * (target - target.mean())
    found = machines_module._refine(x @ x.T, lower, upper, np.ones(400), start, careful=False)
    assert found is None
    assert len(rounds) <= 3
