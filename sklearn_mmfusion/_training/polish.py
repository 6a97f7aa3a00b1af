r"""The convex problem in the fusion weights, solved to a duality gap at the end of a fit.

With encoders and statistics fixed, the features Z are constants and

.. math:: P(W, b) = \sum_i w_i\, \ell(b + W z_i, y_i) + \mathrm{reg}\, \Omega(W)^2, \qquad
          \Omega(W) = \Big(\sum_t \|W_t\|_F^q\Big)^{1/q}

is convex [IT, section 3.1]. Proximal gradient steps (FISTA) find out which blocks are zero;
L-BFGS, for which the penalty is smooth there, converges on the others. The conjugate of
:math:`\mathrm{reg}\,\Omega^2` is :math:`\Omega^{*2} / (4\,\mathrm{reg})`, finite everywhere, so
that any point with an optimal intercept gives a dual feasible one and the gap is

.. math:: \mathrm{reg}\,\Omega(W)^2 + \frac{\Omega^*(V)^2}{4\,\mathrm{reg}} - \langle W, V\rangle,
          \qquad V = -\nabla_W \sum_i w_i\, \ell_i .
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq, minimize
from torch import Tensor

from sklearn_mmfusion import functional as F
from sklearn_mmfusion.modules.losses import LOSSES

__all__ = [
    "FusionProblem",
    "PolishResult",
    "polish",
    "squared_norm_prox",
]

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class PolishResult:
    """Solution of the convex problem.

    Attributes
    ----------
    weight, bias : Tensor
        Fusion weights (n_outputs, n_columns) and intercepts (n_outputs,), float64.
    gap : float
        Duality gap divided by the loss of the best constant prediction.
    converged : bool
        Whether the gap is at most the tolerance.
    """

    weight: Tensor
    bias: Tensor
    gap: float
    converged: bool


@dataclass
class FusionProblem:
    """The data of the problem, all in float64.

    Attributes
    ----------
    features : Tensor of shape (n, n_columns)
        Term features.
    target : Tensor of shape (n,) or (n, n_outputs)
        Encoded target.
    share : Tensor of shape (n,)
        Row weights that sum to 1.
    loss : callable
        Convex, differentiable loss per row of (predictions, target).
    term_of_column : Tensor of int64 of shape (n_columns,)
        Term of each feature.
    n_terms : int
        Number of terms.
    p, reg : float
        Norm parameter, and factor of the penalty (> 0).
    """

    features: Tensor
    target: Tensor
    share: Tensor
    loss: Loss
    term_of_column: Tensor
    n_terms: int
    p: float
    reg: float

    def data_term(self, outputs: Tensor) -> Tensor:
        """Weighted mean loss."""
        return (self.loss(outputs, self.target) * self.share).sum()

    def value_and_gradient(
        self, weight: Tensor, bias: Tensor, columns: Tensor | None = None
    ) -> tuple[float, Tensor, Tensor]:
        """Loss and its gradients, without the penalty; ``columns`` restricts the features."""
        features = self.features if columns is None else self.features[:, columns]
        outputs = torch.addmm(bias, features, weight.T).requires_grad_()
        value = self.data_term(outputs)
        (residual,) = torch.autograd.grad(value, outputs)
        return float(value.detach()), residual.T @ features, residual.sum(0)

    def norms(self, weight: Tensor) -> Tensor:
        """Block norms."""
        return F.block_norms(weight, self.term_of_column, self.n_terms)

    def penalty(self, weight: Tensor) -> float:
        """Penalty with its factor."""
        return self.reg * float(F.block_norm_penalty(self.norms(weight), self.p))

    def best_bias(self, fitted: Tensor, bias: Tensor, tol: float = 1e-13) -> Tensor:
        """Intercept that minimises the loss where the rest of the prediction is fixed (Newton).

        ``tol`` is the largest derivative at which to stop.
        """
        for _ in range(50):
            value, gradient, curvature = self._by_intercept(fitted + bias)
            if float(gradient.abs().max()) < tol:
                break
            # Least squares, since softmax has a direction without curvature.
            step = torch.linalg.lstsq(
                curvature, gradient[:, None], rcond=1e-10, driver="gelsd"
            ).solution[:, 0]
            size = 1.0
            while float(self.data_term(fitted + (bias - size * step))) > value and size > 1e-10:
                size /= 2
            if size <= 1e-10:
                break
            bias = bias - size * step
        return bias

    def _by_intercept(self, outputs: Tensor) -> tuple[float, Tensor, Tensor]:
        """Loss, and its first and second derivatives by an intercept that all rows share."""
        outputs = outputs.detach().requires_grad_()
        value = self.data_term(outputs)
        is_joint = self.loss is LOSSES["multiclass"]  # others are sums over outputs
        (slopes,) = torch.autograd.grad(value, outputs, create_graph=not is_joint)
        if is_joint:
            mean = torch.softmax(outputs.detach(), 1)
            weighted = self.share[:, None] * mean
            curvature = torch.diag(weighted.sum(0)) - weighted.T @ mean
        else:
            (second,) = torch.autograd.grad(slopes.sum(), outputs)
            curvature = torch.diag(second.sum(0))
        return float(value.detach()), slopes.detach().sum(0), curvature

    def gap(self, weight: Tensor, bias: Tensor) -> tuple[float, Tensor]:
        """Duality gap, and the intercept it holds for."""
        bias = self.best_bias(self.features @ weight.T, bias)
        _, gradient, _ = self.value_and_gradient(weight, bias)
        dual = self.norms(gradient)
        q = F.penalty_exponent(self.p)
        if q == 1:
            dual_norm = float(dual.max())
        else:
            scale = float(dual.max())
            exponent = q / (q - 1)
            total = float(((dual / scale) ** exponent).sum()) if scale else 0.0
            dual_norm = scale * total ** (1 / exponent)
        inner = float(-(weight * gradient).sum())
        gap = self.penalty(weight) + dual_norm**2 / (4 * self.reg) - inner
        return max(gap, 0.0), bias


def squared_norm_prox(norms: Tensor, strength: float, p: float) -> Tensor:
    r"""Norms after the prox of ``strength`` :math:`(\sum_t \|w_t\|^q)^{2/q}`, for any p.

    Parameters
    ----------
    norms : Tensor of shape (n_terms,)
        Norms before the step.
    strength : float
        Step size times ``reg``.
    p : float
        Norm parameter, q = 2p / (p + 1).

    Returns
    -------
    Tensor of shape (n_terms,)
        For q = 1 the closed form; for q = 2 a division; between them the root of
        :math:`r_t + 2\lambda s^{2-q} r_t^{q-1} = \|w_t\|` with :math:`s = \|r\|_q`.
    """
    q = F.penalty_exponent(p)
    if q - 1 < 1e-9:
        return F.squared_group_norm_prox(norms, strength)
    if 2 - q < 1e-12:
        return norms / (1 + 2 * strength)
    n = norms.numpy()
    scale = n.max()
    if scale == 0:
        return norms
    positive = n > 0
    log_n = np.log(n[positive] / scale)

    def shrunken(log_s: float) -> np.ndarray:
        log_c = math.log(2 * strength) + (2 - q) * log_s
        v = np.minimum(log_n, (log_n - log_c) / (q - 1))
        # In logarithms the equation is convex with slopes between q - 1 and 1: Newton converges.
        for _ in range(60):
            a, b = v, log_c + (q - 1) * v
            value = np.logaddexp(a, b)
            slope = np.exp(a - value) + (q - 1) * np.exp(b - value)
            step = (value - log_n) / slope
            v = v - step
            if np.abs(step).max() < 1e-14:
                break
        return v

    def excess(log_s: float) -> float:
        v = shrunken(log_s)
        return float(np.logaddexp.reduce(q * v) / q - log_s)

    upper = float(np.logaddexp.reduce(q * log_n) / q) + 1e-9
    lower = upper - math.log1p(2 * strength) - 1.0
    while excess(lower) < 0:
        lower -= 10.0
    log_s = brentq(excess, lower, upper, xtol=1e-13, rtol=1e-14)
    result = np.zeros_like(n)
    result[positive] = np.exp(shrunken(log_s)) * scale
    return torch.from_numpy(result)


def polish(
    problem: FusionProblem,
    weight: Tensor,
    bias: Tensor,
    *,
    tol: float = 1e-6,
    max_rounds: int = 40,
) -> PolishResult:
    """Solve the problem from a starting point.

    Parameters
    ----------
    problem : FusionProblem
        The problem; ``reg`` must be positive.
    weight, bias : Tensor of shape (n_outputs, n_columns) and (n_outputs,)
        Start, float64.
    tol : float
        Relative duality gap at which to stop.
    max_rounds : int
        Limit on the rounds of proximal steps and L-BFGS.
    """
    nothing = torch.zeros(len(problem.features), len(bias), dtype=bias.dtype)
    constant = problem.best_bias(nothing, torch.zeros_like(bias))
    reference = float(problem.data_term(nothing + constant))
    reference = max(reference, torch.finfo(torch.float64).tiny)
    gap, bias = problem.gap(weight, bias)
    best = (gap / reference, weight, bias)
    step = 1.0
    for _ in range(max_rounds):
        weight, bias, step = _proximal_steps(problem, weight, bias, step)
        weight, bias = _smooth_steps(problem, weight, bias)
        gap, bias = problem.gap(weight, bias)
        if gap / reference < best[0]:
            best = (gap / reference, weight, bias)
        if best[0] <= tol:
            break
    return PolishResult(best[1], best[2], best[0], best[0] <= tol)


def _shrink(problem: FusionProblem, weight: Tensor, step: float) -> Tensor:
    norms = problem.norms(weight)
    shrunken = squared_norm_prox(norms, step * problem.reg, problem.p)
    factor = torch.where(norms > 0, shrunken / norms.clamp_min(1e-300), torch.zeros_like(norms))
    return weight * factor[problem.term_of_column]


def _proximal_steps(
    problem: FusionProblem, weight: Tensor, bias: Tensor, step: float, n_steps: int = 15
) -> tuple[Tensor, Tensor, float]:
    """FISTA with backtracking and restarts; leaves blocks at exact zeros."""
    momentum, old_weight, old_bias = 1.0, weight, bias
    point_weight, point_bias = weight, bias
    step *= 2
    for _ in range(n_steps):
        value, gradient, slope = problem.value_and_gradient(point_weight, point_bias)
        while True:
            new_weight = _shrink(problem, point_weight - step * gradient, step)
            new_bias = point_bias - step * slope
            move, shift = new_weight - point_weight, new_bias - point_bias
            model = (
                value
                + float((gradient * move).sum() + (slope * shift).sum())
                + float(move.square().sum() + shift.square().sum()) / (2 * step)
            )
            outputs = torch.addmm(new_bias, problem.features, new_weight.T)
            if float(problem.data_term(outputs)) <= model + 1e-14 * abs(value) or step < 1e-18:
                break
            step /= 2
        if float(((point_weight - new_weight) * (new_weight - old_weight)).sum()) > 0:
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ratio = (momentum - 1) / following
        point_weight = new_weight + ratio * (new_weight - old_weight)
        point_bias = new_bias + ratio * (new_bias - old_bias)
        momentum, old_weight, old_bias = following, new_weight, new_bias
    return old_weight, old_bias, step


def _smooth_steps(
    problem: FusionProblem, weight: Tensor, bias: Tensor, max_iter: int = 300
) -> tuple[Tensor, Tensor]:
    """L-BFGS over the blocks that are not zero, where the penalty is differentiable."""
    norms = problem.norms(weight)
    alive = norms > 1e-12 * norms.max()
    columns = alive[problem.term_of_column].nonzero()[:, 0]
    if not len(columns):
        return torch.zeros_like(weight), bias
    n_outputs, n_columns = len(bias), len(columns)
    terms = problem.term_of_column[columns]
    features = problem.features
    if n_columns < features.shape[1]:  # else no copy of all of them
        features = features[:, columns]
    restricted = FusionProblem(
        features,
        problem.target,
        problem.share,
        problem.loss,
        terms,
        problem.n_terms,
        problem.p,
        problem.reg,
    )

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(flat)
        w = x[: n_outputs * n_columns].view(n_outputs, n_columns)
        b = x[n_outputs * n_columns :]
        value, gradient, slope = restricted.value_and_gradient(w, b)
        leaf = w.clone().requires_grad_()
        penalty = problem.reg * F.block_norm_penalty(restricted.norms(leaf), problem.p)
        (penalty_gradient,) = torch.autograd.grad(penalty, leaf)
        flat_gradient = torch.cat([(gradient + penalty_gradient).flatten(), slope])
        return value + float(penalty.detach()), flat_gradient.numpy()

    start = torch.cat([weight[:, columns].flatten(), bias]).numpy()
    options = {"maxiter": max_iter, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-10}
    solution = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    x = torch.from_numpy(solution.x)
    result = torch.zeros_like(weight)
    result[:, columns] = x[: n_outputs * n_columns].view(n_outputs, n_columns)
    return result, x[n_outputs * n_columns :].clone()
