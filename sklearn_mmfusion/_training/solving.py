r"""The fusion weights that a fit ends with: solved for, relaxed, and of the right size.

The penalty that chooses terms also shrinks those it keeps, weak ones most: the relevance of a
weak effect would be too small, and probabilities too close to the prior. So the terms that are left
are solved for again under weaker penalties (the relaxed lasso of Meinshausen, 2007), and rows that
trained nothing choose among them, and one factor of all weights. The factor is below 1 where
encoders follow their training rows too closely. Interactions at p above 1 are only rescaled:
nothing is pruned there, and a weaker penalty would let the useless ones in.

NOTE[DIFF] The paper ends with the weights of the penalised problem. Those are what a number for
``reg`` gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from sklearn_mmfusion._rows.row_errors import RowErrors
from sklearn_mmfusion._training.polish import FusionProblem, polish
from sklearn_mmfusion.modules.losses import LOSSES

__all__ = ["HeldFeatures", "Relaxation", "Solution", "common_factor", "solve"]

_SHRINKAGES = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
_ALLOWANCE = 0.02  # share of a constant's loss that exactness may cost on held-out rows
_WEAKER = (0.3, 0.1, 0.03)  # penalties of the terms that are left that are tried beside 1
# Before rows are seen: two factors of three within a half and two, none beyond an eighth and eight;
# two strengths of three within a fifth and five.
_FACTOR_STD, _BOUND = math.log(2.0), math.log(8.0)
_STRENGTH_STD = math.log(5.0)
_STEP = 0.02  # of the logarithm of a factor
_SHRUNKEN = 1.1  # factor from which on a weaker penalty is worth a trial
_TOL, _ROUGH = 1e-6, 1e-4  # relative duality gaps
_LOG_LOSSES = ("binary", "multiclass", "multilabel")


@dataclass
class Relaxation:
    """What is done to the weights once their terms are chosen.

    Attributes
    ----------
    strength : float
        Penalty as a multiple of the one that chose the terms.
    factor : float
        Factor of the weights.
    """

    strength: float = 1.0
    factor: float = 1.0


@dataclass
class Solution:
    """Fusion weights and how they came about.

    Attributes
    ----------
    weight, bias : Tensor of shape (n_outputs, n_columns) and (n_outputs,)
        Weights and intercepts, float64.
    gap : float
        Relative duality gap of the weights before their factor; nan if they are trained ones.
    reg : float
        Strength of the penalty that chose the terms.
    relaxation : Relaxation
        What was done then.
    """

    weight: Tensor
    bias: Tensor
    gap: float
    reg: float
    relaxation: Relaxation


@dataclass
class HeldFeatures:
    """Term features of rows that trained nothing.

    Attributes
    ----------
    features : Tensor of shape (n, n_columns)
        Term features.
    target : Tensor of shape (n,) or (n, n_outputs)
        Encoded target.
    errors : RowErrors
        Of means over the rows, whatever their classes.
    loss_name : str
        Key of :data:`~sklearn_mmfusion.modules.losses.LOSSES`.
    """

    features: Tensor
    target: Tensor
    errors: RowErrors
    loss_name: str

    def mean(self, losses: Tensor) -> float:
        """Weighted mean."""
        return float((losses * self.errors.share).sum())

    def losses(self, outputs: Tensor) -> Tensor:
        """Loss of each row."""
        return LOSSES[self.loss_name](outputs, self.target)

    def best_losses(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Loss of each row at the best common factor of a few."""
        signal = self.features @ weight.T
        scaled = [self.losses(factor * signal + bias) for factor in _SHRINKAGES]
        return min(scaled, key=self.mean)


def solve(
    problem: FusionProblem,
    weight: Tensor,
    bias: Tensor,
    held: HeldFeatures | None,
    constant: Tensor,
    factors: tuple[float, ...],
    *,
    polishes: bool,
    relaxes: bool,
    relaxation: Relaxation | None,
) -> Solution:
    """Return the weights that a fit ends with.

    Parameters
    ----------
    problem : FusionProblem
        Training rows.
    weight, bias : Tensor of shape (n_outputs, n_columns) and (n_outputs,)
        Trained weights, float64.
    held : HeldFeatures or None
        Held-out rows.
    constant : Tensor of shape (n_outputs,)
        Best outputs without terms.
    factors : tuple of float
        Multiples of the penalty, of which the first is taken that costs held-out rows next to
        nothing; none where its strength is the user's word, and nothing is relaxed.
    polishes : bool
        Whether the problem is solved.
    relaxes : bool
        Whether weaker penalties are tried.
    relaxation : Relaxation or None
        The one to take; None: held-out rows choose it.
    """
    found = Solution(weight, bias, float("nan"), problem.reg, Relaxation())
    if polishes and (held is None or not factors):
        found = _exact(problem, weight, bias)
    elif polishes and held is not None:
        found = _about_as_good(problem, found, held, constant, factors)
    if not factors:
        return found
    if relaxation is None and held is not None:
        found, relaxation = _choose(problem, found, held, _WEAKER if relaxes else ())
    elif relaxation is not None and not math.isnan(found.gap):
        found = _weaker(problem, found, relaxation.strength)
    return found if relaxation is None else _rescaled(problem, found, relaxation)


def _exact(problem: FusionProblem, weight: Tensor, bias: Tensor) -> Solution:
    solved = polish(problem, weight, bias)
    return Solution(solved.weight, solved.bias, solved.gap, problem.reg, Relaxation())


def _about_as_good(
    problem: FusionProblem,
    trained: Solution,
    held: HeldFeatures,
    constant: Tensor,
    factors: tuple[float, ...],
) -> Solution:
    """Return the first exact solution that tells held-out rows apart as well as trained weights."""
    losses = held.best_losses(trained.weight, trained.bias)
    nothing = held.best_losses(torch.zeros_like(trained.weight), constant)
    allowance = _ALLOWANCE * held.mean(nothing)
    for factor in factors:
        reg = factor * problem.reg
        solved = _exact(replace(problem, reg=reg), trained.weight, trained.bias)
        # Features that were fitted too closely to the training rows mislead the exact solution.
        excess = held.best_losses(solved.weight, solved.bias) - allowance
        if not held.errors.clearly_less(losses, excess):
            return solved
    return trained


def _choose(
    problem: FusionProblem, solved: Solution, held: HeldFeatures, strengths: tuple[float, ...]
) -> tuple[Solution, Relaxation]:
    """Return the solution and the relaxation that held-out rows choose."""
    unit = 1.0
    if held.loss_name not in _LOG_LOSSES:
        unit = 2.0 * held.mean(held.losses(held.features @ solved.weight.T + solved.bias))
    if unit <= 0 or not bool(solved.weight.any()):
        return solved, Relaxation()
    unit *= held.errors.design_effect(_scores(solved, held))
    factor, least = common_factor(problem, solved, held, unit)
    best, chosen = solved, Relaxation(1.0, factor)
    if factor < _SHRUNKEN or math.isnan(solved.gap):
        return best, chosen
    weaker = solved
    for strength in strengths:
        weaker = _weaker(problem, weaker, strength, tol=_ROUGH)
        factor, value = common_factor(problem, weaker, held, unit)
        value += 0.5 * (math.log(strength) / _STRENGTH_STD) ** 2
        if value >= least:
            break
        best, chosen, least = weaker, Relaxation(strength, factor), value
    if best.gap > _TOL:
        best = _weaker(problem, best, chosen.strength)
    return best, chosen


def _weaker(
    problem: FusionProblem, solved: Solution, strength: float, tol: float = _TOL
) -> Solution:
    """Solve for the terms that are left, under a multiple of the penalty that chose them."""
    columns = (problem.norms(solved.weight) > 0)[problem.term_of_column].nonzero()[:, 0]
    if strength == 1.0 or not len(columns):
        return solved
    left = replace(problem, reg=strength * solved.reg)
    if len(columns) < len(problem.term_of_column):  # else no copy of all of them
        left.features = problem.features[:, columns]
        left.term_of_column = problem.term_of_column[columns]
    found = polish(left, solved.weight[:, columns], solved.bias, tol=tol)
    weight = torch.zeros_like(solved.weight)
    weight[:, columns] = found.weight
    return replace(solved, weight=weight, bias=found.bias, gap=found.gap)


def _rescaled(problem: FusionProblem, found: Solution, relaxation: Relaxation) -> Solution:
    """Multiply the weights by the factor."""
    found = replace(found, relaxation=relaxation)
    if relaxation.factor == 1.0:
        return found
    weight = relaxation.factor * found.weight
    bias = problem.best_bias(problem.features @ weight.T, found.bias)
    return replace(found, weight=weight, bias=bias)


def _scores(solved: Solution, held: HeldFeatures) -> Tensor:
    """Return what a slightly larger factor of the weights adds to the loss of each row."""
    signal = held.features @ solved.weight.T
    more, less = (held.losses(math.exp(step) * signal + solved.bias) for step in (_STEP, -_STEP))
    return more - less


def common_factor(
    problem: FusionProblem, solved: Solution, held: HeldFeatures, unit: float = 1.0
) -> tuple[float, float]:
    r"""Return the factor of the fusion weights that fits held-out rows best.

    It minimises :math:`n \bar\ell(\gamma) / u + (\log\gamma)^2 / (2\tau^2)`, where
    :math:`\bar\ell` is the mean loss of the n held-out rows with the intercepts that are best for
    the training rows; so a handful of rows decides little.

    Parameters
    ----------
    problem : FusionProblem
        Training rows.
    solved : Solution
        Weights to be scaled.
    held : HeldFeatures
        Held-out rows.
    unit : float, default=1
        Loss :math:`u` that counts as one unit of log-likelihood: of a log-loss 1, of a squared
        error twice its mean. Of rows in groups it is larger, by how much less sure the mean loss
        is than that of independent rows: the likelihood counts for what the groups say.

    Returns
    -------
    factor : float
        The factor, in steps of two per cent.
    value : float
        What it minimises.
    """
    weight, intercept = solved.weight, solved.bias
    fitted, held_fitted = problem.features @ weight.T, held.features @ weight.T

    def objective(log_factor: float) -> float:
        nonlocal intercept
        factor = math.exp(log_factor)
        intercept = problem.best_bias(factor * fitted, intercept, tol=1e-6)
        mean = held.mean(held.losses(factor * held_fitted + intercept))
        return held.errors.n_counted * mean / unit + 0.5 * (log_factor / _FACTOR_STD) ** 2

    found = minimize_scalar(
        objective, bounds=(-_BOUND, _BOUND), method="bounded", options={"xatol": 1e-4}
    )
    # In steps, so that round-off, as that of weights against repetitions, leaves it as it is.
    return math.exp(_STEP * round(float(found.x) / _STEP)), float(found.fun)
