"""Tests of the solver: a generic convex solver, scikit-learn's own machines, optimality conditions.

The generic solver works on the primal problem in explicit features, which has neither kernels nor
support vectors in it.
"""

import math
import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC, SVR

from sklearn_mmfusion._mkl import machines as machines_module
from sklearn_mmfusion._mkl import solver as solver_module
from sklearn_mmfusion._mkl.machines import Machines, Problem, fit_machines
from sklearn_mmfusion._mkl.solver import closed_form_weights, solve_mkl

TASKS = ["binary", "multiclass", "regression"]


def rng(seed=0):
    return np.random.default_rng(seed)


def zone(task, signal):
    """Return the free zones of a target made from a signal, (n, k) each."""
    if task == "regression":
        target = ((signal - signal.mean()) / signal.std())[:, None]
        return target - 0.1, target + 0.1
    if task == "binary":
        positive = (signal > np.median(signal))[:, None]
    else:
        positive = np.digitize(signal, np.quantile(signal, [0.3, 0.6]))[:, None] == np.arange(3)
    return np.where(positive, 1.0, -np.inf), np.where(positive, np.inf, -1.0)


def features(n=30, n_kernels=3, width=2, seed=0):
    """Return centred features of each kernel with unit variance, and a signal in the first two."""
    blocks = rng(seed).normal(size=(n_kernels, n, width))
    blocks -= blocks.mean(axis=1, keepdims=True)
    blocks /= np.sqrt(np.square(blocks).sum(axis=(1, 2), keepdims=True) / n)
    noise = rng(seed + 1).normal(size=n)
    return blocks, blocks[0, :, 0] + 0.6 * blocks[min(1, n_kernels - 1), :, 1] + 0.4 * noise


def gram(blocks):
    return blocks @ blocks.transpose(0, 2, 1)


def rbf_problem(task, n=80, n_kernels=4, seed=0):
    blocks, signal = features(n, n_kernels, 3, seed)
    centre = np.eye(n) - 1 / n
    kernels = np.array([centre @ rbf_kernel(block) @ centre for block in blocks])
    kernels *= n / np.trace(kernels, axis1=1, axis2=2)[:, None, None]
    return 0.5 * (kernels + kernels.transpose(0, 2, 1)), *zone(task, signal)


def loss(outputs, lower, upper, cost):
    return float(cost @ (np.maximum(lower - outputs, 0) + np.maximum(outputs - upper, 0)).sum(1))


def outputs_of(kernels, solution):
    mixed = np.tensordot(solution.weights, kernels, 1)
    return mixed @ solution.coefficients + solution.intercept


def solve_by_slsqp(blocks, lower, upper, cost, p):
    """Minimise 1/2 sum |w_m|^2 / b_m + cost * slack over (w, bias, slack, b) by SLSQP."""
    n_kernels, n, width = blocks.shape
    n_outputs = lower.shape[1]
    rows_low, rows_up = np.isfinite(lower), np.isfinite(upper)
    flat = blocks.transpose(1, 0, 2).reshape(n, -1)
    sizes = np.cumsum([n_kernels * width * n_outputs, n_outputs, n * n_outputs, n_kernels])

    def split(z):
        w, bias, slack, weights = np.split(z, sizes[:-1])
        return w.reshape(-1, n_outputs), bias, slack.reshape(n, n_outputs), weights

    def squares(w):
        return np.square(w).reshape(n_kernels, -1).sum(1)

    def value(z):
        w, _, slack, weights = split(z)
        return 0.5 * (squares(w) / weights).sum() + cost @ slack.sum(1)

    def slope(z):
        w, _, slack, weights = split(z)
        by_row = np.repeat(weights, width)[:, None]
        falls = -0.5 * squares(w) / weights**2
        parts = [w / by_row, np.zeros(n_outputs), np.broadcast_to(cost[:, None], slack.shape)]
        return np.concatenate([part.ravel() for part in [*parts, falls]])

    def jacobian(mask, sign):
        """Derivative of slack + sign * output in the rows of a mask."""
        result = np.zeros((mask.sum(), sizes[-1]))
        for j, (i, k) in enumerate(np.argwhere(mask)):
            result[j, : sizes[0]].reshape(-1, n_outputs)[:, k] = sign * flat[i]
            result[j, sizes[0] + k] = sign
            result[j, sizes[1] + i * n_outputs + k] = 1
        return result

    linear = np.vstack([jacobian(rows_low, 1.0), jacobian(rows_up, -1.0)])
    level = np.concatenate([-lower[rows_low], upper[rows_up]])
    constraints = [
        {"type": "ineq", "fun": lambda z: linear @ z + level, "jac": lambda z: linear},
        {
            "type": "ineq",
            "fun": lambda z: 1 - (z[sizes[2] :] ** p).sum(),
            "jac": lambda z: np.concatenate([np.zeros(sizes[2]), -p * z[sizes[2] :] ** (p - 1)]),
        },
    ]
    start = np.zeros(sizes[-1])
    slack = np.maximum(np.maximum(lower, -upper), 0)
    start[sizes[1] : sizes[2]] = slack.ravel() + 0.1
    start[sizes[2] :] = n_kernels ** (-1 / p)
    bounds = [(None, None)] * sizes[1] + [(0, None)] * n * n_outputs + [(1e-9, 1)] * n_kernels
    with warnings.catch_warnings():
        # It steps a rounding error over a bound, and says so.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = minimize(
            value,
            start,
            jac=slope,
            bounds=bounds,
            constraints=constraints,
            method="SLSQP",
            options={"maxiter": 2000, "ftol": 1e-13},
        )
    return found.fun, found.x[sizes[2] :]


# -- against other solvers --------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 1.5, 2, 6])
@pytest.mark.parametrize("task", TASKS)
def test_solution_equals_that_of_a_generic_convex_solver(task, p):
    blocks, signal = features()
    lower, upper = zone(task, signal)
    cost = rng(5).uniform(0.5, 1.5, size=len(signal))
    solution = solve_mkl(gram(blocks), lower, upper, cost, p=p, tol=1e-8)
    objective, weights = solve_by_slsqp(blocks, lower, upper, cost, p)
    assert solution.duality_gap <= 1e-8
    assert solution.objective == pytest.approx(objective, rel=1e-6)
    np.testing.assert_allclose(solution.weights, weights, atol=1e-4)


@pytest.mark.draws_from_numpy  # libsvm's seed
@pytest.mark.parametrize("cost", [0.1, 10.0])
@pytest.mark.parametrize("weight", [0.3, 1.0, 4.0])
def test_one_kernel_is_the_svc_of_that_kernel(weight, cost):
    (kernel, *_), lower, upper = rbf_problem("binary")
    costs = cost * rng(1).uniform(0.5, 2, size=len(kernel))
    solution = solve_mkl(weight * kernel[None], lower, upper, costs)
    machine = SVC(kernel="precomputed", tol=1e-8).fit(
        weight * kernel, np.isfinite(lower[:, 0]), sample_weight=costs
    )
    np.testing.assert_array_equal(solution.weights, [1.0])
    np.testing.assert_allclose(
        outputs_of(weight * kernel[None], solution)[:, 0],
        machine.decision_function(weight * kernel),
        atol=1e-5,
    )


@pytest.mark.draws_from_numpy  # libsvm's seed
def test_one_kernel_is_the_svr_of_that_kernel():
    (kernel, *_), lower, upper = rbf_problem("regression")
    solution = solve_mkl(kernel[None], lower, upper, np.full(len(kernel), 2.0))
    machine = SVR(kernel="precomputed", C=2.0, epsilon=0.1, tol=1e-8)
    machine.fit(kernel, 0.5 * (lower + upper)[:, 0])
    expected = machine.predict(kernel)
    np.testing.assert_allclose(outputs_of(kernel[None], solution)[:, 0], expected, atol=1e-5)


@pytest.mark.draws_from_numpy  # libsvm's seed
def test_infinite_p_is_one_machine_on_the_sum_of_the_kernels():
    kernels, lower, upper = rbf_problem("binary")
    solution = solve_mkl(kernels, lower, upper, np.ones(80), p=math.inf)
    machine = SVC(kernel="precomputed", tol=1e-8).fit(kernels.sum(0), np.isfinite(lower[:, 0]))
    np.testing.assert_array_equal(solution.weights, 1.0)
    assert solution.n_iter == 1
    np.testing.assert_allclose(
        outputs_of(kernels, solution)[:, 0], machine.decision_function(kernels.sum(0)), atol=1e-5
    )


def test_large_p_approaches_infinity():
    kernels, lower, upper = rbf_problem("binary")
    near = solve_mkl(kernels, lower, upper, np.ones(80), p=1e6)
    limit = solve_mkl(kernels, lower, upper, np.ones(80), p=math.inf)
    assert near.objective == pytest.approx(limit.objective, rel=1e-5)
    np.testing.assert_allclose(near.weights, 1, atol=1e-5)


# -- the certificate --------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 1.01, 1.3, 2, math.inf])
@pytest.mark.parametrize("cost", [0.02, 1.0, 50.0])
@pytest.mark.parametrize("task", TASKS)
def test_gap_closes_and_is_that_of_the_formulas(task, cost, p):
    kernels, lower, upper = rbf_problem(task)
    costs = np.full(len(lower), cost)
    solution = solve_mkl(kernels, lower, upper, costs, p=p)
    a, weights = solution.coefficients, solution.weights
    strengths = np.einsum("ik,mij,jk->m", a, kernels, a)
    norms = weights * np.sqrt(strengths)
    assert solution.duality_gap <= 1e-6
    # Feasible, so that the dual value is a bound ...
    np.testing.assert_allclose(a.sum(0), 0, atol=1e-8 * costs.sum())
    assert (np.abs(a) <= cost * (1 + 1e-9)).all()
    assert (a[np.isinf(lower)] <= 0).all() and (a[np.isinf(upper)] >= 0).all()
    dual = sum(lower[i, k] * a[i, k] for i, k in np.argwhere(a > 0))
    dual += sum(upper[i, k] * a[i, k] for i, k in np.argwhere(a < 0))
    dual -= 0.5 * np.linalg.norm(strengths, 1 / (1 - 1 / p) if p > 1 else math.inf)
    # ... which the primal value in its form without kernel weights reaches.
    q = 2.0 if math.isinf(p) else 2 * p / (p + 1)
    primal = 0.5 * np.linalg.norm(norms, q) ** 2
    primal += loss(outputs_of(kernels, solution), lower, upper, costs)
    assert primal >= dual - 1e-9 * primal
    assert primal - dual <= 2e-6 * primal
    assert solution.objective == pytest.approx(primal, rel=2e-6)
    np.testing.assert_allclose(solution.norms, norms, atol=1e-12)


@pytest.mark.parametrize("p", [1, 1.2, 2, 5])
def test_weights_are_the_closed_form_of_their_own_norms(p):
    kernels, lower, upper = rbf_problem("multiclass")
    solution = solve_mkl(kernels, lower, upper, np.ones(80), p=p, tol=1e-10)
    expected = solution.norms ** (2 / (p + 1))
    expected /= (solution.norms ** (2 * p / (p + 1))).sum() ** (1 / p)
    np.testing.assert_allclose(solution.weights, expected, atol=1e-5)
    np.testing.assert_allclose(closed_form_weights(solution.norms, p), expected, rtol=1e-12)
    assert np.linalg.norm(solution.weights, p) == pytest.approx(1, rel=1e-12)


def test_kernels_that_are_not_needed_get_exactly_zero_at_p_1():
    blocks, signal = features(60, 5, 2, seed=3)
    lower, upper = zone("binary", blocks[0, :, 0] + blocks[1, :, 0])
    kernels = gram(blocks)
    solution = solve_mkl(kernels, lower, upper, np.full(60, 0.05), p=1)
    strengths = np.einsum("ik,mij,jk->m", solution.coefficients, kernels, solution.coefficients)
    assert (solution.weights == 0).any() and (solution.weights > 0.01).sum() == 2
    # Optimality: the used kernels have the largest S, to the square root of the gap at worst.
    used = solution.weights > 0
    np.testing.assert_allclose(strengths[used], strengths.max(), rtol=1e-3)
    assert (strengths[~used] < strengths.max() * (1 - 1e-3)).all()


def test_kernel_weight_of_zero_can_come_back():
    # From all weight on a kernel of noise the others have to be let in again.
    blocks, signal = features(60, 3, 2)
    lower, upper = zone("binary", signal)
    problem = Problem(gram(blocks), lower, upper, np.ones(60), 1.0)
    corner = fit_machines(problem, np.array([0.0, 0.0, 1.0]))
    tried, goes_on = solver_module._update(problem, corner, 10)
    assert goes_on
    assert tried[-1].value < corner.value and tried[-1].weights[:2].max() > 0


# -- edges ------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_whole_costs_are_repeated_rows(task):
    kernels, lower, upper = rbf_problem(task, n=40)
    counts = rng(2).integers(1, 4, size=40)
    rows = np.repeat(np.arange(40), counts)
    weighted = solve_mkl(kernels, lower, upper, counts.astype(float))
    repeated = solve_mkl(kernels[:, rows][:, :, rows], lower[rows], upper[rows], np.ones(len(rows)))
    np.testing.assert_allclose(weighted.weights, repeated.weights, atol=1e-8)
    np.testing.assert_allclose(
        outputs_of(kernels, weighted)[rows],
        outputs_of(kernels[:, rows][:, :, rows], repeated),
        atol=1e-8,
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("p", [1, 2])
def test_kernels_of_low_rank_close_the_gap(task, p):
    # Far fewer features than rows: many coefficients leave the outputs alone, and with the sixth
    # seed it is one that was tried on the way to a shorter step that bounds the best value.
    for seed in (0, 1, 2, 3, 6):
        blocks, signal = features(120, 4, 3, seed)
        lower, upper = zone(task, signal)
        solution = solve_mkl(gram(blocks), lower, upper, np.ones(120), p=p)
        assert solution.duality_gap <= 1e-6, seed


@pytest.mark.parametrize("cost", [0.1, 1.0, 10.0])
def test_kernels_of_rank_one_close_the_gap_over_kinks(cost):
    # The support vectors change at a weight of 0, and with them the slope, at once.
    for seed in range(0, 60, 10):
        signs = rng(seed).choice([-1.0, 1.0], size=(2, 120))
        values = signs + 0.1 * rng(seed + 1).normal(size=(2, 120))
        blocks = np.stack([*values, values.prod(0)])[:, :, None]
        blocks -= blocks.mean(1, keepdims=True)
        blocks /= blocks.std(1, keepdims=True)
        solution = solve_mkl(gram(blocks), *zone("binary", signs.prod(0)), np.full(120, cost))
        assert solution.duality_gap <= 1e-6, seed


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_kernels_of_zeros_get_no_weight(p):
    kernels, lower, upper = rbf_problem("binary", n_kernels=2)
    padded = np.stack([kernels[0], np.zeros_like(kernels[0]), kernels[1]])
    alone = solve_mkl(kernels, lower, upper, np.ones(80), p=p)
    solution = solve_mkl(padded, lower, upper, np.ones(80), p=p)
    np.testing.assert_array_equal(solution.weights, np.insert(alone.weights, 1, 0))
    np.testing.assert_array_equal(solution.norms, np.insert(alone.norms, 1, 0))


@pytest.mark.parametrize("task", TASKS)
def test_nothing_but_zeros_is_the_best_constant(task):
    _, lower, upper = rbf_problem(task)
    cost = rng(1).uniform(0.5, 1.5, size=80)
    solution = solve_mkl(np.zeros((2, 80, 80)), lower, upper, cost)
    np.testing.assert_array_equal(solution.coefficients, 0)
    np.testing.assert_array_equal(solution.weights, 0)
    grid = np.linspace(-3, 3, 6001)
    for k in range(lower.shape[1]):
        losses = [loss(b, lower[:, k : k + 1], upper[:, k : k + 1], cost) for b in grid]
        got = loss(solution.intercept[k], lower[:, k : k + 1], upper[:, k : k + 1], cost)
        assert got <= min(losses) + 1e-9


def test_label_of_all_rows_gets_its_constant():
    kernels, lower, upper = rbf_problem("binary")
    lower, upper = np.hstack([lower, np.ones_like(lower)]), np.hstack([upper, upper * np.inf])
    upper[:, 1] = np.inf
    solution = solve_mkl(kernels, lower, upper, np.ones(80))
    np.testing.assert_allclose(outputs_of(kernels, solution)[:, 1], 1)
    assert solution.duality_gap <= 1e-6


def test_max_iter_bounds_the_fits_and_leaves_a_gap(monkeypatch):
    kernels, lower, upper = rbf_problem("binary")
    calls = []
    fit = solver_module.fit_machines
    monkeypatch.setattr(solver_module, "fit_machines", lambda *args: calls.append(1) or fit(*args))
    solution = solve_mkl(kernels, lower, upper, np.ones(80), tol=1e-12, max_iter=3)
    assert len(calls) == solution.n_iter == 3
    assert solution.duality_gap > 1e-12


def test_closed_form_alone_goes_the_same_way(monkeypatch):
    # Without second derivatives, as for large or indefinite kernels, it is the paper's algorithm.
    kernels, lower, upper = rbf_problem("binary")
    expected = solve_mkl(kernels, lower, upper, np.ones(80), p=2, tol=1e-9)
    fit = solver_module.fit_machines

    def without(problem, weights):
        machines = fit(problem, weights)
        return Machines(**{**vars(machines), "curvature": None})

    monkeypatch.setattr(solver_module, "fit_machines", without)
    solution = solve_mkl(kernels, lower, upper, np.ones(80), p=2, tol=1e-9)
    assert solution.duality_gap <= 1e-9
    assert solution.n_iter > expected.n_iter
    np.testing.assert_allclose(solution.weights, expected.weights, atol=1e-4)


def test_indefinite_kernel_ends_with_its_gap():
    kernels, lower, upper = rbf_problem("binary")
    kernels[1] -= 0.5 * np.eye(80)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)  # the estimator's to raise
        solution = solve_mkl(kernels, lower, upper, np.ones(80), max_iter=20)
    assert np.isfinite(solution.objective) and solution.duality_gap >= 0


@pytest.mark.parametrize("p", [1, 1.5])
@pytest.mark.parametrize("task", TASKS)
def test_weights_are_found_where_support_vectors_do_not_settle(task, p, monkeypatch):
    # As with thousands of rows of which many nearly agree: libsvm's own coefficients are left.
    blocks, signal = features(200, 4, 3, seed=7)
    lower, upper = zone(task, signal)
    kernels = gram(blocks)
    expected = solve_mkl(kernels, lower, upper, np.ones(200), p=p)
    monkeypatch.setattr(machines_module, "_refine", lambda *args, careful: None)
    found = solve_mkl(kernels, lower, upper, np.ones(200), p=p, tol=1e-5)
    assert found.duality_gap <= 1e-5
    assert found.n_iter <= 25
    np.testing.assert_allclose(found.weights, expected.weights, rtol=0, atol=2e-2)
    assert found.objective == pytest.approx(expected.objective, rel=1e-5)
