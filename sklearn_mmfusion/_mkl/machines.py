"""Support vector machines of one problem of multiple kernel learning, for fixed kernel weights.

Letters and the problem are those of :mod:`sklearn_mmfusion._mkl.solver`.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC, SVR

__all__ = ["Machines", "Problem", "best_intercept", "fit_machines", "norm"]

Floats = npt.NDArray[np.float64]

_MACHINE_TOLS = (1e-3, 1e-6)  # of SVC and SVR; the second where the first leaves rows in doubt
_INSIDE = 1e-9  # relative distance from its bounds of a coefficient that is not at one
_ROUNDS = 8  # corrections of the set of support vectors after that
_CAREFUL_ROUNDS = 300  # the same, one row at a time
_CAREFUL_ROWS = 500  # rows inside their bounds above which these would take too long
_RIDGE = 1e-10  # relative to the diagonal; only conditions the solves, whose residuals are exact
_LOOSE_RIDGE = 1e-6  # the same, where the coefficients are those of libsvm
_FEW_ROWS = 100  # as many may change in any case


@dataclass(frozen=True)
class Problem:
    """Kernels, bounds of the free zone of each row and output, and the cost of leaving it."""

    kernels: Floats  # (m, n, n)
    lower: Floats  # (n, k), -inf where there is none
    upper: Floats  # (n, k), inf where there is none
    cost: Floats  # (n,)
    p: float


@dataclass(frozen=True)
class Machines:
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
        return self.linear - 0.5 * norm(self.strengths, dual_exponent)


def norm(values: Floats, exponent: float) -> float:
    """Return the norm of non-negative values, with no overflow on the way."""
    largest = float(values.max())
    if math.isinf(exponent) or largest <= 0:
        return largest
    return largest * float(((values / largest) ** exponent).sum() ** (1 / exponent))


def fit_machines(problem: Problem, weights: Floats) -> Machines:
    """Fit a machine for each output, with the kernels summed by these weights."""
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
        b = best_intercept(values, lower, upper, problem.cost)
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
    return Machines(weights, coefficients, intercept, strengths, curvature, linear, loss)


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
            b = best_intercept(kernel @ a, lower, upper, cost)
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


def best_intercept(values: Floats, lower: Floats, upper: Floats, cost: Floats) -> float:
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
