r"""Kernel weights and support vectors of :math:`\ell_p`-norm multiple kernel learning.

Letters: n rows, m kernels, k outputs. For coefficients :math:`a_k` with :math:`\sum_i a_{ik} = 0`
and :math:`f_k = \sum_m \beta_m K_m a_k + b_k`,

.. math:: \min_{\|\beta\|_p \le 1,\, \beta \ge 0}\ \min_{a, b}\
          \tfrac12 \sum_m \beta_m S_m
          + \sum_{i, k} c_i \big(\max(0, l_{ik} - f_{ik}) + \max(0, f_{ik} - u_{ik})\big), \qquad
          S_m = \sum_k a_k^\top K_m a_k .

Labels of +1 have l = 1 and no u, labels of -1 have u = -1 and no l (the hinge loss); regression
targets have :math:`y \mp \varepsilon`. Without :math:`\beta`, with :math:`q = 2p/(p+1)`,
:math:`\|w_m\|^2 = \beta_m^2 S_m` and :math:`1/p + 1/p^* = 1`, this is

.. math:: P = \tfrac12 \Big(\sum_m \|w_m\|^q\Big)^{2/q} + \text{losses}
          \quad\ge\quad
          D = \sum_{a_{ik} > 0} a_{ik} l_{ik} + \sum_{a_{ik} < 0} a_{ik} u_{ik}
              - \tfrac12 \|S\|_{p^*},

so that P - D bounds what a solution is short of the best one.

References
----------
.. [1] Kloft et al. (2011), *lp-norm multiple kernel learning*, JMLR 12.
.. [2] Chapelle and Rakotomamonjy (2008), *Second order optimization of kernel parameters*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._mkl.machines import Machines, Problem, best_intercept, fit_machines, norm

__all__ = ["MKLSolution", "closed_form_weights", "solve_mkl"]

Floats = npt.NDArray[np.float64]

_RIDGE = 1e-10  # relative to the diagonal; only conditions the solves, whose residuals are exact
_LEAST_LOG = -200.0  # a weight below exp(this) changes nothing
_LEAST_STRENGTH = 1e-30  # relative; keeps logarithms finite
_STALLED = 1e-13  # relative change of the objective that is rounding


@dataclass(frozen=True)
class MKLSolution:
    """Solution of a multiple kernel learning problem.

    Attributes
    ----------
    weights : ndarray of shape (m,)
        Kernel weights, of p-norm 1.
    coefficients : ndarray of shape (n, k)
        Coefficients of the rows, 0 for those that are no support vectors.
    intercept : ndarray of shape (k,)
        Intercepts.
    norms : ndarray of shape (m,)
        Norm of each kernel's weight vector over all outputs.
    objective : float
        Value of P.
    duality_gap : float
        (P - D) / P; at most ``tol`` where the solver has converged.
    n_iter : int
        Kernel weights that support vector machines were fitted for.
    """

    weights: Floats
    coefficients: Floats
    intercept: Floats
    norms: Floats
    objective: float
    duality_gap: float
    n_iter: int


def solve_mkl(
    kernels: Floats,
    lower: Floats,
    upper: Floats,
    cost: Floats,
    *,
    p: float = 1.0,
    tol: float = 1e-6,
    max_iter: int = 200,
) -> MKLSolution:
    r"""Solve the problem above.

    Alternates support vector machines for fixed weights (:class:`~sklearn.svm.SVC` or
    :class:`~sklearn.svm.SVR`, then a linear system for the coefficients strictly inside their
    bounds, which takes their error to round-off) with an update of the weights: a second-order
    step [2]_ or, where that gains nothing, the closed form of [1]_. For p = 1
    the second-order step ends on a face of the simplex, and its zeros are exact. D counts the
    kernels of weight 0 too, so that the gap speaks for the zeros.

    Parameters
    ----------
    kernels : ndarray of shape (m, n, n)
        Positive semi-definite kernel matrices; those of trace 0 get no weight.
    lower, upper : ndarray of shape (n, k)
        Ends l and u of the interval in which an output costs nothing; infinite where open.
    cost : ndarray of shape (n,)
        Positive costs.
    p : float, default=1.0
        Norm of the kernel weights, at least 1; infinity fixes them at 1.
    tol : float, default=1e-6
        Relative duality gap to stop at.
    max_iter : int, default=200
        Largest number of times that all support vector machines are fitted.

    Returns
    -------
    MKLSolution
        The best one that was met; see its ``duality_gap``.
    """
    used = np.trace(kernels, axis1=1, axis2=2) > 0
    if not used.any():
        return _constant_solution(len(kernels), lower, upper, cost)
    problem = Problem(kernels if used.all() else kernels[used], lower, upper, cost, p)
    n_used = int(used.sum())
    machines = fit_machines(
        problem, np.ones(n_used) if math.isinf(p) else np.full(n_used, n_used ** (-1 / p))
    )
    n_iter, best, bound = 1, machines, machines.bound(p)
    gap = _gap(best, bound)
    while gap > tol and n_used > 1 and not math.isinf(p):
        tried, goes_on = _update(problem, machines, max_iter - n_iter)
        n_iter += len(tried)
        # Every fit bounds the best value from below, also one that is not gone on from: where the
        # kernel of a weight of 0 has few features, coefficients that are equal otherwise differ in
        # how well they bound it.
        best = min([best, *tried], key=lambda one: one.objective)
        bound = max([bound, *(one.bound(p) for one in tried)])
        gap = _gap(best, bound)
        if not goes_on:
            break
        machines = tried[-1]
    weights, norms = np.zeros(len(kernels)), np.zeros(len(kernels))
    weights[used], norms[used] = best.weights, best.weights * np.sqrt(best.strengths)
    return MKLSolution(
        weights, best.coefficients, best.intercept, norms, best.objective, gap, n_iter
    )


def _constant_solution(n_kernels: int, lower: Floats, upper: Floats, cost: Floats) -> MKLSolution:
    """Solution without any kernel that tells rows apart: the best intercepts."""
    zero = np.zeros(len(cost))
    pairs = list(zip(lower.T, upper.T, strict=True))
    intercept = np.array([best_intercept(zero, low, up, cost) for low, up in pairs])
    loss = cost @ (np.maximum(lower - intercept, 0) + np.maximum(intercept - upper, 0)).sum(1)
    nothing = np.zeros(n_kernels)
    return MKLSolution(nothing, np.zeros_like(lower), intercept, nothing, float(loss), 0.0, 1)


def closed_form_weights(norms: Floats, p: float) -> Floats:
    r"""Kernel weights that are best for fixed norms [1]_.

    .. math:: \beta_m = \|w_m\|^{2/(p+1)} \Big/ \Big(\sum_s \|w_s\|^{2p/(p+1)}\Big)^{1/p}

    Parameters
    ----------
    norms : ndarray of shape (m,)
        Norms of the weight vectors, not all 0.
    p : float
        Norm parameter, 1 <= p < infinity.

    Returns
    -------
    ndarray of shape (m,)
        Weights of p-norm 1.
    """
    weights = (norms / norms.max()) ** (2 / (p + 1))
    return weights / norm(weights, p)


# ---------------------------------------------------------------------------------------------
# Kernel weights
# ---------------------------------------------------------------------------------------------


def _gap(best: Machines, bound: float) -> float:
    """Relative duality gap."""
    return max(0.0, best.objective - bound) / max(best.objective, np.finfo(np.float64).tiny)


def _update(problem: Problem, now: Machines, n_left: int) -> tuple[list[Machines], bool]:
    """Return machines that were fitted, and whether the last has a lower value or higher bound."""
    tried: list[Machines] = []
    slack = _STALLED * abs(now.value)
    for candidate in _candidates(problem.p, now):
        if len(tried) == n_left:
            break
        found = fit_machines(problem, candidate)
        tried.append(found)
        change = found.value - now.value
        tighter = found.bound(problem.p) > now.bound(problem.p) + slack
        if change < -slack or (change <= slack and tighter):
            return tried, True
    return tried, False


def _candidates(p: float, now: Machines) -> Iterator[Floats]:
    """Yield kernel weights to try, the most promising first."""
    if now.curvature is not None and now.strengths.max() > 0:
        step = _simplex_step if p == 1 else _log_step
        direction = step(now, now.curvature, p)
        # At p = 1 the closed form leaves zeros at zero: only short steps let these in again.
        for length in 0.25 ** np.arange(12 if p == 1 else 3):
            if p == 1:
                yield now.weights + length * direction
            else:
                logs = _logs(now.weights) + length * direction
                weights = np.exp(np.maximum(logs - logs.max(), _LEAST_LOG))
                yield weights / norm(weights, p)
    norms = now.weights * np.sqrt(now.strengths)
    if norms.max() > 0:
        yield closed_form_weights(norms, p)


def _logs(weights: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(weights, math.exp(_LEAST_LOG)))
    return logs


def _simplex_step(now: Machines, curvature: Floats, p: float) -> Floats:
    """Step to the minimum of the second-order model over the simplex, by an active-set method."""
    start, gradient = now.weights, -0.5 * now.strengths
    ridge = _RIDGE * max(float(np.trace(curvature)), float(now.strengths.max()))
    hessian = curvature + ridge * np.eye(len(start))
    x, used = start.copy(), start > 0
    for _ in range(20 * len(x)):
        slope = gradient + hessian @ (x - start)
        inner = np.linalg.solve(
            hessian[np.ix_(used, used)], np.column_stack([slope[used], np.ones(used.sum())])
        )
        level = inner[:, 0].sum() / inner[:, 1].sum()
        move = np.zeros_like(x)
        move[used] = level * inner[:, 1] - inner[:, 0]
        falling = move < 0
        limits = np.full_like(x, np.inf)
        limits[falling] = -x[falling] / move[falling]
        blocking = int(limits.argmin())
        if limits[blocking] < 1:
            x = x + limits[blocking] * move
            x[blocking], used[blocking] = 0.0, False
            continue
        x = x + move
        slope = gradient + hessian @ (x - start)
        entering = int(np.where(used, np.inf, slope).argmin())
        if used.all() or slope[entering] >= level - 1e-12 * abs(level):
            break
        used[entering] = True
    step: Floats = x / x.sum() - start
    return step


def _log_step(now: Machines, curvature: Floats, p: float) -> Floats:
    """Newton's step in the logarithms of the weights to where S is a multiple of b^(p-1)."""
    logs = _logs(now.weights)
    weights = np.exp(logs)
    strengths = np.maximum(now.strengths, _LEAST_STRENGTH * now.strengths.max())
    share = np.sqrt(0.5 * strengths * weights)
    residual = np.log(strengths) - (p - 1) * logs
    scaled = curvature * np.outer(weights / share, weights / share)
    inner = np.linalg.solve(
        scaled + (p - 1) * np.eye(len(weights)), np.column_stack([share * residual, share])
    )
    # The residuals become equal to some number, which keeps the p-norm of the weights.
    level = (weights**p / share) @ inner
    step: Floats = (inner[:, 0] - level[0] / level[1] * inner[:, 1]) / share
    return step
