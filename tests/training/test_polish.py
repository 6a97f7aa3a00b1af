"""Tests of the convex problem in the fusion weights against independent solvers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from sklearn.linear_model import HuberRegressor, LogisticRegression, Ridge

from sklearn_mmfusion._training.polish import FusionProblem, polish, squared_norm_prox
from sklearn_mmfusion.modules.losses import smooth_loss

POWERS = [1.0, 1 + 1e-9, 1.5, 2.0, np.inf]
SIZES = [2, 3, 1, 4]
N = 60


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(loss, p=1.0, reg=0.05, sizes=SIZES, weighted=False, seed=0):
    """Problem in which the first and the last term carry the signal."""
    z = randn(N, sum(sizes), seed=seed)
    signal = z[:, 0] - z[:, -1]
    noise = randn(N, seed=seed + 1)
    target = {
        "binary": lambda: (signal + noise > 0).long(),
        "multiclass": lambda: torch.bucketize(signal + noise, torch.tensor([-0.7, 0.7])),
        "multilabel": lambda: torch.stack([signal + noise > 0, z[:, 0] + noise > 1], 1).double(),
    }.get(loss, lambda: torch.stack([signal + 0.3 * noise, z[:, 0] - 0.5 * noise], 1))()
    weight = randn(N, seed=seed + 2).abs() if weighted else torch.ones(N, dtype=torch.float64)
    terms = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    problem = FusionProblem(
        z, target, weight / weight.sum(), smooth_loss(loss), terms, len(sizes), p, reg
    )
    n_outputs = {"binary": 1, "multiclass": 3}.get(loss, 2)
    start = torch.zeros(n_outputs, sum(sizes), dtype=torch.float64)
    return problem, start, torch.zeros(n_outputs, dtype=torch.float64)


def dense_penalty(weight, terms, p):
    q = 2.0 if np.isinf(p) else 2 * p / (p + 1)
    norms = np.array([np.linalg.norm(weight[:, terms == t]) for t in range(terms.max() + 1)])
    return np.sum(norms**q) ** (2 / q), norms, q


def primal(problem, weight, bias):
    """Objective by numpy, but for the loss per row."""
    outputs = torch.from_numpy(problem.features.numpy() @ weight.numpy().T + bias.numpy())
    losses = problem.loss(outputs, problem.target).numpy()
    penalty, _, _ = dense_penalty(weight.numpy(), problem.term_of_column.numpy(), problem.p)
    return problem.share.numpy() @ losses + problem.reg * penalty


def gradients(problem, weight, bias):
    """Gradients of the loss term by autograd."""
    w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    losses = problem.loss(problem.features @ w.T + b, problem.target)
    (losses * problem.share).sum().backward()
    return w.grad.numpy(), b.grad.numpy()


# -- the solution -----------------------------------------------------------------------------

LOSS_NAMES = ["binary", "multiclass", "multilabel", "squared_error", "absolute_error", "huber"]


CASES = [
    # The bend of the absolute error takes many steps: every power in the slow part alone.
    pytest.param(
        loss,
        p,
        marks=pytest.mark.slow if loss == "absolute_error" and p not in (1.0, np.inf) else (),
    )
    for loss in LOSS_NAMES
    for p in POWERS
]


@pytest.mark.parametrize("loss, p", CASES)
def test_solution_fulfils_the_optimality_conditions(loss, p):
    problem, weight, bias = make(loss, p, weighted=True)
    solution = polish(problem, weight, bias)
    assert solution.converged
    assert 0 <= solution.gap <= 1e-6
    gradient, slope = gradients(problem, solution.weight, solution.bias)
    terms = problem.term_of_column.numpy()
    penalty, norms, q = dense_penalty(solution.weight.numpy(), terms, p)
    # The gap bounds the objective; gradients are then right to about its root.
    tolerance = 5e-3 * problem.reg * np.sqrt(penalty) + 1e-6
    assert np.abs(slope).max() < 1e-6
    for t, norm in enumerate(norms):
        block = gradient[:, terms == t]
        if norm == 0:
            assert q < 1 + 1e-6
            assert np.linalg.norm(block) <= 2 * problem.reg * np.sqrt(penalty) + tolerance
            continue
        # d penalty / d W_t = 2 Omega^(2 - q) n_t^(q - 2) W_t
        factor = 2 * problem.reg * np.sqrt(penalty) ** (2 - q) * norm ** (q - 2)
        expected = -factor * solution.weight.numpy()[:, terms == t]
        np.testing.assert_allclose(block, expected, atol=tolerance)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, np.inf])
@pytest.mark.parametrize("loss", ["binary", "squared_error"])
def test_objective_equals_that_of_another_solver(loss, p):
    problem, weight, bias = make(loss, p)
    solution = polish(problem, weight, bias)
    shape, n_weights = weight.shape, weight.numel()

    def objective(x):
        w, b = torch.from_numpy(x[:n_weights]).view(shape), torch.from_numpy(x[n_weights:])
        return primal(problem, w, b)

    # Derivative-free gradients by finite differences, from a point where no block is zero.
    start = np.concatenate([randn(n_weights, seed=5).numpy(), np.zeros(len(bias))])
    found = minimize(objective, start, method="BFGS", options={"gtol": 1e-7, "maxiter": 500})
    mine = primal(problem, solution.weight, solution.bias)
    assert mine <= found.fun + 1e-7
    assert mine == pytest.approx(found.fun, rel=1e-4)


def test_gap_bounds_the_distance_to_the_optimum():
    for p in POWERS:
        problem, weight, bias = make("multiclass", p)
        best = primal(problem, *_solve(problem, weight, bias))
        for seed in range(3):
            point = 0.2 * randn(*weight.shape, seed=seed)
            gap, at = problem.gap(point, bias)
            assert primal(problem, point, at) - best <= gap + 1e-12


def _solve(problem, weight, bias):
    solution = polish(problem, weight, bias, tol=1e-9)
    return solution.weight, solution.bias


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_noise_terms_are_exactly_zero_at_one(loss):
    is_classes = loss in ("binary", "multiclass", "multilabel")
    problem, weight, bias = make(loss, 1.0, reg=0.06 if is_classes else 0.2)
    solution = polish(problem, weight, bias)
    norms = problem.norms(solution.weight).numpy()
    assert (norms[[1, 2]] == 0).all()
    assert (norms[[0, 3]] > 0.01).all()
    dead = torch.isin(problem.term_of_column, torch.tensor([1, 2]))
    assert (solution.weight[:, dead] == 0).all()


def test_no_term_is_zero_above_one():
    problem, weight, bias = make("squared_error", 2.0, reg=0.5)
    assert (problem.norms(polish(problem, weight, bias).weight) > 0).all()


def test_one_and_just_above_one_agree():
    results = []
    for p in (1.0, 1 + 1e-9):
        problem, weight, bias = make("multiclass", p, reg=0.1)
        results.append(primal(problem, *_solve(problem, weight, bias)))
    assert results[0] == pytest.approx(results[1], rel=1e-6)


@pytest.mark.parametrize("p", POWERS)
def test_solution_does_not_depend_on_the_start(p):
    problem, weight, bias = make("multiclass", p)
    one = polish(problem, weight, bias, tol=1e-9)
    other = polish(problem, randn(*weight.shape, seed=8), randn(3, seed=9), tol=1e-9)
    np.testing.assert_allclose(one.weight, other.weight, atol=1e-4)
    np.testing.assert_allclose(problem.norms(one.weight), problem.norms(other.weight), atol=1e-4)


def test_start_is_not_changed():
    problem, weight, bias = make("binary")
    weight += 0.1
    copies = weight.clone(), bias.clone()
    polish(problem, weight, bias)
    assert torch.equal(weight, copies[0])
    assert torch.equal(bias, copies[1])


def test_enormous_penalty_gives_the_prior():
    problem, weight, bias = make("multiclass", 1.0, reg=1e30)
    solution = polish(problem, weight, bias)
    assert solution.weight.abs().max() < 1e-12
    proba = torch.softmax(solution.bias, 0)
    frequency = torch.bincount(problem.target) / N
    np.testing.assert_allclose(proba, frequency, atol=1e-6)


def test_terms_above_the_largest_useful_penalty_are_all_zero():
    # Zero is optimal if and only if the largest block of the gradient there is zero; the squared
    # norm has slope 0 at 0, so a finite penalty always leaves something.
    problem, weight, bias = make("binary", 1.0, reg=100.0)
    solution = polish(problem, weight, bias)
    assert (problem.norms(solution.weight) > 0).sum() == 1


# -- special cases ----------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1.0, np.inf])
def test_one_block_equals_ridge(p):
    problem, weight, bias = make("squared_error", p, sizes=[5])
    solution = polish(problem, weight, bias, tol=1e-10)
    # mean loss + reg |W|^2 is Ridge's sum of losses + n reg |W|^2.
    ridge = Ridge(alpha=N * problem.reg).fit(problem.features.numpy(), problem.target.numpy())
    np.testing.assert_allclose(solution.weight, ridge.coef_, atol=1e-5)
    np.testing.assert_allclose(solution.bias, ridge.intercept_, atol=1e-5)


def test_all_blocks_at_infinity_equal_weighted_ridge():
    problem, weight, bias = make("squared_error", np.inf, weighted=True)
    solution = polish(problem, weight, bias, tol=1e-10)
    ridge = Ridge(alpha=problem.reg).fit(
        problem.features.numpy(), problem.target.numpy(), sample_weight=problem.share.numpy()
    )
    np.testing.assert_allclose(solution.weight, ridge.coef_, atol=1e-5)


@pytest.mark.parametrize("loss", ["binary", "multiclass"])
def test_all_blocks_at_infinity_equal_logistic_regression(loss):
    problem, weight, bias = make(loss, np.inf)
    solution = polish(problem, weight, bias, tol=1e-10)
    reference = LogisticRegression(C=1 / (2 * N * problem.reg), tol=1e-10, max_iter=5000)
    reference.fit(problem.features.numpy(), problem.target.numpy())
    np.testing.assert_allclose(solution.weight, reference.coef_, atol=1e-5)


def test_huber_loss_equals_scikit_learn_at_its_scale():
    problem, weight, bias = make("huber", np.inf, reg=1e-9)
    problem.target = problem.target[:, :1]
    solution = polish(problem, weight[:1], bias[:1], tol=1e-9)
    # With sigma fixed to 1 the objective of HuberRegressor is ours; a large epsilon is least
    # squares, for which no scale matters.
    residual = problem.features @ solution.weight.T + solution.bias - problem.target
    assert float(residual.abs().max()) < 1.0
    reference = HuberRegressor(epsilon=1e3, alpha=0.0, tol=1e-10, max_iter=5000)
    reference.fit(problem.features.numpy(), problem.target[:, 0].numpy())
    np.testing.assert_allclose(solution.weight[0], reference.coef_, atol=1e-3)


# -- degenerate data --------------------------------------------------------------------------


@pytest.mark.parametrize("p", POWERS)
def test_zero_features_are_no_trouble(p):
    problem, weight, bias = make("binary", p)
    problem.features[:, 2:5] = 0
    solution = polish(problem, weight, bias)
    assert solution.converged
    assert solution.weight.isfinite().all()
    assert (solution.weight[:, 2:5] == 0).all()


@pytest.mark.parametrize("p", POWERS)
def test_all_features_zero_give_a_constant(p):
    problem, weight, bias = make("multiclass", p)
    problem.features[:] = 0
    solution = polish(problem, weight, bias)
    assert solution.converged
    assert (solution.weight == 0).all()


@pytest.mark.parametrize("reg", [1e-8, 1e-4])
def test_weak_penalty_on_separable_classes_stays_finite(reg):
    problem, weight, bias = make("binary", 1.0, reg=reg)
    problem.target = (problem.features[:, 0] > 0).long()
    solution = polish(problem, weight, bias)
    assert solution.weight.isfinite().all()
    assert np.isfinite(solution.gap)
    assert primal(problem, solution.weight, solution.bias) < primal(problem, weight, bias)


def test_best_bias_is_the_log_odds():
    problem, _, bias = make("multiclass", weighted=True)
    found = problem.best_bias(torch.zeros(N, 3, dtype=torch.float64), bias)
    frequency = np.bincount(problem.target.numpy(), weights=problem.share.numpy())
    np.testing.assert_allclose(torch.softmax(found, 0), frequency, rtol=1e-9)


# -- prox -------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1.0, 1.01, 1.5, 2.0, 10.0, np.inf])
@pytest.mark.parametrize("strength", [1e-3, 0.3, 20.0])
def test_prox_equals_brute_force(p, strength):
    norms = randn(5).abs().numpy()
    q = 2.0 if np.isinf(p) else 2 * p / (p + 1)

    def objective(x):
        x = np.maximum(x, 1e-300)
        total = np.sum(x**q)
        slope = 2 * strength * total ** (2 / q - 1) * x ** (q - 1)
        return 0.5 * np.sum((x - norms) ** 2) + strength * total ** (2 / q), x - norms + slope

    bounds = [(0, None)] * 5
    options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 2000}
    found = minimize(
        objective, norms / (1 + 2 * strength), jac=True, bounds=bounds, options=options
    )
    # Its line search gives up at times: on from there, one coordinate after the other.
    lowest, value = found.x.copy(), found.fun
    for i in [*range(5)] * 20:

        def along(x, i=i):
            return objective(np.where(np.arange(5) == i, x, lowest))[0]

        best = minimize_scalar(
            along, bounds=(0, norms[i]), method="bounded", options={"xatol": 1e-12}
        )
        if best.fun < value:
            lowest[i], value = best.x, best.fun
    prox = squared_norm_prox(torch.from_numpy(norms), strength, p).numpy()
    # The objective is strongly convex, so that its excess bounds the distance to the minimum.
    excess = value - objective(prox)[0]
    assert -1e-12 < excess < 1e-3 * value
    assert np.linalg.norm(prox - lowest) <= np.sqrt(2 * max(excess, 0)) + 1e-6


@given(
    st.lists(st.floats(1e-8, 1e8), min_size=1, max_size=6),
    st.floats(1e-8, 1e8),
    st.sampled_from([1 + 1e-6, 1.01, 1.2, 2.0, 5.0, 1e3]),
)
def test_prox_solves_its_equation(norms, strength, p):
    n = np.array(norms)
    q = 2 * p / (p + 1)
    r = squared_norm_prox(torch.from_numpy(n), strength, p).numpy()
    assert (r >= 0).all()
    assert (r <= n * (1 + 1e-12)).all()
    s = r.max() * np.sum((r / r.max()) ** q) ** (1 / q)
    with np.errstate(under="ignore"):
        left = r + 2 * strength * s ** (2 - q) * r ** (q - 1)
    # A root below the smallest float is rounded to 0.
    solvable = r > 1e-250
    np.testing.assert_allclose(left[solvable], n[solvable], rtol=1e-6)


@settings(max_examples=100)
@given(st.floats(1e-3, 1e3), st.sampled_from(POWERS), st.floats(1e-3, 1e3))
def test_prox_is_homogeneous(strength, p, factor):
    norms = randn(5).abs()
    norms[2] = 0
    expected = squared_norm_prox(norms, strength, p) * factor
    scaled = squared_norm_prox(norms * factor, strength, p)
    np.testing.assert_allclose(scaled, expected, rtol=1e-6, atol=1e-9 * factor)
    assert scaled[2] == 0


def test_prox_of_zeros_is_zero():
    for p in POWERS:
        assert (squared_norm_prox(torch.zeros(3, dtype=torch.float64), 0.5, p) == 0).all()
