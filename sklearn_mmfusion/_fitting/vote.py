r"""Log-posteriors of separately fitted classifiers, added up with one weight per modality.

Where every modality is the log-posterior :math:`v_m` of a classifier of its own, their sum needs no
training, and is hard to beat on few rows. It is a point of the model of MNL,

.. math:: f(x) = \bar c \log p(y) + \sum_m c_m (v_m - \log p(y)), \qquad c_m \ge 0, \quad
          \bar c = \frac1M \sum_m c_m,

whose block of modality m is a multiple of the identity. The weights are fitted with a penalty that
draws them to each other rather than to zero, so that its limit is the sum itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

from sklearn_mmfusion._rows.groups import group_folds
from sklearn_mmfusion._rows.row_errors import RowErrors
from sklearn_mmfusion._rows.scaling import LEFT_OUT
from sklearn_mmfusion.modules.losses import LOSSES
from sklearn_mmfusion.modules.network import FusionNetwork

__all__ = ["VoteProblem", "set_vote", "vote_weights"]

_SPREAD = 0.05  # factor of sum_m (c_m - mean)^2, beside a mean loss of about 1
_N_FOLDS = 4
_LARGEST = -math.log(1e-6)  # that of the encoder's log-odds


@dataclass
class VoteProblem:
    """Data of the vote, all in float64.

    Attributes
    ----------
    votes : Tensor of shape (n, n_modalities, n_outputs)
        Log-posteriors less log-frequencies (log-odds for binary and multilabel targets); their
        mean where a modality is missing.
    prior : Tensor of shape (n_outputs,)
        Log-frequencies, or their log-odds.
    target : Tensor of shape (n,) or (n, n_outputs)
        Encoded target.
    share : Tensor of shape (n,)
        Row weights that sum to 1.
    kind : {"binary", "multiclass", "multilabel"}
        Key of the loss.
    """

    votes: Tensor
    prior: Tensor
    target: Tensor
    share: Tensor
    kind: str

    def losses(self, c: Tensor) -> Tensor:
        """Loss of each row with weights c of shape (n_modalities,)."""
        outputs = c.mean() * self.prior + torch.einsum("m,bmk->bk", c, self.votes)
        return LOSSES[self.kind](outputs, self.target)

    def take(self, rows: Tensor) -> VoteProblem:
        """Return some rows."""
        share = self.share[rows]
        return VoteProblem(
            self.votes[rows], self.prior, self.target[rows], share / share.sum(), self.kind
        )


def vote_weights(problem: VoteProblem, errors: RowErrors) -> npt.NDArray[np.float64]:
    """Return the weight of each modality.

    Parameters
    ----------
    problem : VoteProblem
        The data.
    errors : RowErrors
        Of means over the rows, whatever their classes; where rows have groups, folds are of whole
        groups.

    Returns
    -------
    ndarray of shape (n_modalities,)
        Equal weights, unless weights of their own have a loss that is lower in cross-validation by
        more than one standard error.
    """
    n = len(problem.share)
    fold = _folds(problem, errors.group)
    if not fold.any():  # rows that are all alike, or of one group, tell no weights apart
        alike: npt.NDArray[np.float64] = _solve(problem, equal=True).numpy()
        return alike
    equal, own = torch.empty(n, dtype=torch.float64), torch.empty(n, dtype=torch.float64)
    for k in range(int(fold.max()) + 1):
        held = fold == k
        rest, some = problem.take(~held), problem.take(held)
        equal[held] = some.losses(_solve(rest, equal=True))
        own[held] = some.losses(_solve(rest, equal=False))
    is_better = errors.clearly_less(own, equal)
    weights: npt.NDArray[np.float64] = _solve(problem, equal=not is_better).numpy()
    return weights


def _folds(problem: VoteProblem, group: Tensor | None) -> Tensor:
    """Deal whole groups to folds, or rows; without groups no seed is needed."""
    if group is None:
        # Each takes its part of large votes and of small ones, and copies of a row stay together.
        sizes = problem.votes.abs().sum((1, 2)).float()
        return torch.unique(sizes, return_inverse=True)[1] % _N_FOLDS
    if len(torch.unique(group)) < 2:
        return torch.zeros_like(group)
    target = problem.target.numpy()
    return torch.from_numpy(group_folds(group.numpy(), target, problem.kind, _N_FOLDS, seed=0))


def _solve(problem: VoteProblem, *, equal: bool) -> Tensor:
    """Minimise the mean loss and the penalty on what tells the weights apart."""
    n_modalities = problem.votes.shape[1]
    n_free = 1 if equal else n_modalities

    def objective(values: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        free = torch.from_numpy(values).requires_grad_()
        c = free.expand(n_modalities)
        value = (problem.losses(c) * problem.share).sum()
        value = value + _SPREAD * (c - c.mean()).square().sum()
        (gradient,) = torch.autograd.grad(value, free)
        return float(value.detach()), gradient.numpy()

    start, bounds = np.ones(n_free), [(0.0, None)] * n_free
    options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 200}
    found = minimize(objective, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    return torch.from_numpy(found.x).expand(n_modalities)


@torch.no_grad()
def set_vote(
    network: FusionNetwork,
    features: Tensor,
    target: Tensor,
    prior: Tensor,
    kind: str,
    errors: RowErrors,
) -> None:
    """Set the fusion of a network of log-posteriors to a weighted sum of them.

    Parameters
    ----------
    network : FusionNetwork
        Network with unimodal terms alone, exact statistics, and log-posteriors as encodings.
    features : Tensor of shape (n, n_terms * n_outputs)
        Its term features over the training rows.
    target, prior, kind, errors : object
        See :class:`VoteProblem` and :func:`vote_weights`.
    """
    n_outputs = len(prior)
    scales, means, votes = [], [], []
    blocks = features.split(n_outputs, dim=1)
    norms = network.features.unimodal_norms
    # A swept model has modalities that are in no term: they have a scaler, but neither features
    # nor a vote.
    scalers = [network.scalers[m] for m in network.features.unimodal]
    prior = prior.clamp(-_LARGEST, _LARGEST)
    for z, norm, scaler in zip(blocks, norms, scalers, strict=True):
        # Feature z = (v - mean) / scale, element-wise: undo both normalisations.
        mean, scale = scaler.mean.to(prior.device), scaler.scale.to(prior.device)
        scale = torch.where(scale < LEFT_OUT, scale, 0.0)  # a constant is its mean
        scales.append(scale * (norm.running_variance + norm.eps).sqrt())
        means.append(mean + scale * norm.running_mean - prior)
        votes.append(z * scales[-1] + means[-1])
    problem = VoteProblem(torch.stack(votes, 1), prior, target, errors.share, kind)
    with torch.enable_grad():
        c = torch.from_numpy(vote_weights(problem, errors))
    weight = torch.cat([torch.diag(c_m * s) for c_m, s in zip(c, scales, strict=True)], 1)
    bias = c.mean() * prior + sum(c_m * mean for c_m, mean in zip(c, means, strict=True))
    network.fusion.weight.copy_(weight)
    network.fusion.bias.copy_(bias)
