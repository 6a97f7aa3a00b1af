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
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC, SVR

__all__ = ["MKLSolution", "closed_form_weights", "solve_mkl"]

Floats = npt.NDArray[np.float64]

_MACHINE_TOLS = (1e-3, 1e-6)  # of SVC and SVR; the second where the first leaves rows in doubt
_INSIDE = 1e-9  # relative distance from its bounds of a coefficient that is not at one
_ROUNDS = 8  # corrections of the set of support vectors after that
_CAREFUL_ROUNDS = 300  # the same, one row at a time
_CAREFUL_ROWS = 500  # rows inside their bounds above which these would take too long
_RIDGE = 1e-10  # relative to the diagonal; only conditions the solves, whose residuals are exact
_LOOSE_RIDGE = 1e-6  # the same, where the coefficients are those of libsvm
_FEW_ROWS = 100  # as many may change in any case
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


@dataclass(frozen=True)
class _Problem:
    """Kernels, bounds of the free zone of each row and output, and the cost of leaving it."""

    kernels: Floats  # (m, n, n)
    lower: Floats  # (n, k), -inf where there is none
    upper: Floats  # (n, k), inf where there is none
    cost: Floats  # (n,)
    p: float


@dataclass(frozen=True)
class _Machines:
    """The support vector machines of all outputs for fixed kernel weights."""

    weights: Floats
    coefficients: Floats
    intercept: Floats
    strengths: Floats  # S, (m,)
    curvature: Floats | None  # second derivatives of `value` in the weights, (m, m)
    linear: float  # linear part of D
    loss: float

    @property
    def value(self) -> float:
        """Minimum over a and b for these weights, from below: convex in the weights."""
        return self.linear - 0.5 * float(self.weights @ self.strengths)

    @property
    def objective(self) -> float:
        """The same from above."""
        return self.loss + 0.5 * float(self.weights @ self.strengths)

    def bound(self, p: float) -> float:
        """Return D, which no objective falls below for any weights."""
        dual_exponent = math.inf if p == 1 else 1.0 if math.isinf(p) else p / (p - 1)
        return self.linear - 0.5 * _norm(self.strengths, dual_exponent)


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
    problem = _Problem(kernels if used.all() else kernels[used], lower, upper, cost, p)
    n_used = int(used.sum())
    machines = _fit_machines(
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
    intercept = np.array([_best_intercept(zero, low, up, cost) for low, up in pairs])
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
    return weights / _norm(weights, p)


# ---------------------------------------------------------------------------------------------
# Kernel weights
# ---------------------------------------------------------------------------------------------


def _gap(best: _Machines, bound: float) -> float:
    """Relative duality gap."""
    return max(0.0, best.objective - bound) / max(best.objective, np.finfo(np.float64).tiny)


def _update(problem: _Problem, now: _Machines, n_left: int) -> tuple[list[_Machines], bool]:
    """Return machines that were fitted, and whether the last has a lower value or higher bound."""
    tried: list[_Machines] = []
    slack = _STALLED * abs(now.value)
    for candidate in _candidates(problem.p, now):
        if len(tried) == n_left:
            break
        found = _fit_machines(problem, candidate)
        tried.append(found)
        change = found.value - now.value
        tighter = found.bound(problem.p) > now.bound(problem.p) + slack
        if change < -slack or (change <= slack and tighter):
            return tried, True
    return tried, False


def _candidates(p: float, now: _Machines) -> Iterator[Floats]:
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
                yield weights / _norm(weights, p)
    norms = now.weights * np.sqrt(now.strengths)
    if norms.max() > 0:
        yield closed_form_weights(norms, p)


def _logs(weights: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(weights, math.exp(_LEAST_LOG)))
    return logs


def _simplex_step(now: _Machines, curvature: Floats, p: float) -> Floats:
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


def _log_step(now: _Machines, curvature: Floats, p: float) -> Floats:
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


def _norm(values: Floats, exponent: float) -> float:
    largest = float(values.max())
    if math.isinf(exponent) or largest <= 0:
        return largest
    return largest * float(((values / largest) ** exponent).sum() ** (1 / exponent))


# ---------------------------------------------------------------------------------------------
# Support vector machines for fixed weights
# ---------------------------------------------------------------------------------------------


def _fit_machines(problem: _Problem, weights: Floats) -> _Machines:
    n, n_outputs = problem.lower.shape
    kernel = np.zeros((n, n))
    for m in np.flatnonzero(weights):
        kernel += weights[m] * problem.kernels[m]
    coefficients, intercept = np.zeros((n, n_outputs)), np.zeros(n_outputs)
    loss = linear = 0.0
    curvature: Floats | None = np.zeros((len(weights), len(weights)))
    strengths = np.zeros(len(weights))
    for k in range(n_outputs):
        lower, upper = problem.lower[:, k], problem.upper[:, k]
        for careful, tol in enumerate(_MACHINE_TOLS):
            a = _machine(kernel, lower, upper, problem.cost, tol)
            refined = _refine(kernel, lower, upper, problem.cost, a, careful=bool(careful))
            if refined is not None:
                a = refined[0]
                break
        values = kernel @ a
        b = _best_intercept(values, lower, upper, problem.cost)
        each = problem.kernels @ a  # (m, n)
        strengths += np.maximum(each @ a, 0.0)
        inside = _inside(kernel, problem.cost, a) if refined is None else refined[1:]
        if inside is None:
            curvature = None
        elif curvature is not None:
            curvature += _curvature(each, *inside)
        f = values + b
        loss += float(problem.cost @ (np.maximum(lower - f, 0) + np.maximum(f - upper, 0)))
        linear += float(a[a > 0] @ lower[a > 0] + a[a < 0] @ upper[a < 0])
        coefficients[:, k], intercept[k] = a, b
    return _Machines(weights, coefficients, intercept, strengths, curvature, linear, loss)


def _machine(kernel: Floats, lower: Floats, upper: Floats, cost: Floats, tol: float) -> Floats:
    """Coefficients by libsvm."""
    coefficients = np.zeros(len(cost))
    two_sided = np.isfinite(lower) & np.isfinite(upper)
    settings: dict[str, Any] = {"kernel": "precomputed", "C": 1.0, "tol": tol}
    settings["max_iter"] = max(1_000_000, 1000 * len(cost))
    if two_sided.all():
        machine = SVR(epsilon=0.5 * float((upper - lower).mean()), **settings)
        target = 0.5 * (lower + upper)
    else:
        target = np.where(np.isfinite(lower), 1, -1)
        if (target == target[0]).all():
            return coefficients  # a label that all rows have
        machine = SVC(**settings)
    machine.random_state = 0  # unused, but None draws from numpy's global generator
    with warnings.catch_warnings():
        # What libsvm leaves open shows in the duality gap.
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(kernel, target, sample_weight=cost)
    coefficients[machine.support_] = machine.dual_coef_[0]
    return coefficients


def _refine(
    kernel: Floats, lower: Floats, upper: Floats, cost: Floats, a: Floats, *, careful: bool
) -> tuple[Floats, npt.NDArray[np.intp], Any] | None:
    """Solve for the coefficients strictly inside their bounds, correcting which these are.

    Careful rounds stop at the first bound and let one row in at a time, which cannot cycle; others
    change as many rows as it takes, and mostly settle in two or three rounds.

    Returns the coefficients, the rows inside and the factor of their kernel; None where the sets
    do not settle, as they may not for a kernel that is not positive semi-definite.
    """
    a, side = a.copy(), np.sign(a)
    free = (np.abs(a) > _INSIDE * cost) & (np.abs(a) < (1 - _INSIDE) * cost)
    for _ in range(_CAREFUL_ROUNDS if careful else _ROUNDS):
        rows, factor = np.flatnonzero(free), None
        move, b = np.zeros_like(a), 0.0
        if careful and len(rows) > _CAREFUL_ROWS:
            return None
        if len(rows):
            inner = kernel[np.ix_(rows, rows)]
            ridge = _RIDGE * max(np.trace(inner) / len(rows), np.finfo(np.float64).tiny)
            try:
                factor = cho_factor(inner + ridge * np.eye(len(rows)))
            except LinAlgError:
                return None
            ones = cho_solve(factor, np.ones(len(rows)))
            goal = np.where(side > 0, lower, upper)[rows] - kernel[rows] @ a
            for _ in range(3):
                part = cho_solve(factor, goal - inner @ move[rows] - b)
                change = (part.sum() + move.sum() + a.sum()) / ones.sum()
                move[rows] += part - change * ones
                b += change
        else:
            b = _best_intercept(kernel @ a, lower, upper, cost)
        room = np.where(move * side > 0, side * cost - a, -a)
        outside = free & (np.abs(move) > np.abs(room))
        if careful and outside.any():
            limits = np.where(outside, np.abs(room) / np.maximum(np.abs(move), 1e-300), np.inf)
            outside = np.arange(len(a)) == limits.argmin()
            move *= limits.min()
        a += np.where(outside, room, move)
        enters = np.zeros_like(free)
        if not (careful and outside.any()):
            f = kernel @ a + b
            short, over = lower - f, f - upper
            violation = np.where(a == 0, np.maximum(short, over), np.where(a > 0, -short, -over))
            violation[free] = -np.inf
            enters = violation > 1e-9 * max(1.0, float(np.abs(f).max()))
            if careful:
                enters &= violation >= violation.max()
            side = np.where(enters & (a == 0), np.where(short > over, 1.0, -1.0), side)
        n_changed = int(outside.sum() + enters.sum())
        if not careful and n_changed > max(len(rows), _FEW_ROWS):
            return None  # with many rows that nearly agree each correction is larger than the last
        if not n_changed:
            return (a, rows, factor) if abs(a.sum()) <= 1e-9 * cost.sum() else None
        free = (free & ~outside) | enters
    return None


def _inside(kernel: Floats, cost: Floats, a: Floats) -> tuple[npt.NDArray[np.intp], Any] | None:
    """Return the rows inside their bounds and the factor of their kernel, as libsvm leaves them.

    That is good enough for a direction in which to look for better weights.
    """
    rows = np.flatnonzero((np.abs(a) > _INSIDE * cost) & (np.abs(a) < (1 - _INSIDE) * cost))
    if not len(rows):
        return rows, None
    inner = kernel[np.ix_(rows, rows)]
    ridge = _LOOSE_RIDGE * max(np.trace(inner) / len(rows), np.finfo(np.float64).tiny)
    try:
        return rows, cho_factor(inner + ridge * np.eye(len(rows)))
    except LinAlgError:
        return None


def _curvature(each: Floats, rows: npt.NDArray[np.intp], factor: Any) -> Floats:
    """Second derivatives in the weights, while the rows inside their bounds stay inside."""
    if factor is None:
        return np.zeros((len(each), len(each)))
    columns = each[:, rows].T
    solved = cho_solve(factor, np.column_stack([columns, np.ones(len(rows))]))
    ones = solved[:, -1]
    pulled = columns.T @ ones
    result: Floats = columns.T @ solved[:, :-1] - np.outer(pulled, pulled) / ones.sum()
    return result


def _best_intercept(values: Floats, lower: Floats, upper: Floats, cost: Floats) -> float:
    """Minimise the losses over the intercept, exactly; the middle where an interval is best."""
    has_lower, has_upper = np.isfinite(lower), np.isfinite(upper)
    points = np.concatenate([(lower - values)[has_lower], (upper - values)[has_upper]])
    if not has_lower.any() or not has_upper.any():
        return float(points.min() if has_upper.any() else points.max())
    order = points.argsort(kind="stable")
    slopes = np.concatenate([cost[has_lower], cost[has_upper]])[order].cumsum()
    slopes -= cost[has_lower].sum()
    first = int((slopes >= -1e-12 * cost.sum()).argmax())
    flat = abs(slopes[first]) <= 1e-12 * cost.sum() and first + 1 < len(order)
    return float(points[order[[first, first + int(flat)]]].mean())
