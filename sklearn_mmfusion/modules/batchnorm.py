"""Batch normalisation whose statistics know weights, and can be recomputed exactly.

Letters: N rows (samples, or samples times steps), C channels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["Moments", "WeightedBatchNorm", "recompute_statistics"]


class WeightedBatchNorm(nn.Module):
    r"""Normalise each channel by its weighted mean and variance over the batch.

    .. math::

        \mu = \frac{\sum_i w_i x_i}{\sum_i w_i}, \qquad
        \sigma^2 = \frac{\sum_i w_i (x_i - \mu)^2}{\sum_i w_i}, \qquad
        y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    A weight of 0 keeps padded steps and absent rows out of the statistics; a whole-number weight
    does what that many copies of the row would do. In evaluation mode running averages take the
    place of :math:`\mu` and :math:`\sigma^2`; :func:`recompute_statistics` replaces them by the
    exact statistics of a whole data set.

    Parameters
    ----------
    num_features : int
        Number of channels C.
    affine : bool, default=True
        Whether to learn :math:`\gamma` and :math:`\beta`.
    momentum : float, default=0.1
        Weight of the newest batch in the running averages.
    eps : float, default=1e-5
        Added to the variance.

    Notes
    -----
    NOTE[DIFF] ``torch.nn.BatchNorm1d`` divides by n - 1 in the running variance, so that training
    and evaluation differ on one and the same batch. Here both take the biased variance. A batch
    of one row, or of total weight 0, is no error: the first has variance 0, the second is
    normalised by the running averages and leaves them as they are.

    References
    ----------
    Ioffe & Szegedy (2015), "Batch Normalization", algorithms 1 and 2.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, num_features: int, affine: bool = True, momentum: float = 0.1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.momentum = momentum
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self._moments: Moments | None = None
        # Sums over the processes that share a batch; None: there is one.
        self.add: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return x with every channel normalised.

        Shape: x (N, C) or (N, C, ...); weight (N,) or broadcastable to x with 1 at the channel
        axis, as (N, 1, T); result as x.
        """
        if x.dtype == torch.bfloat16:  # statistics keep all digits
            x = x.float()
        if self._moments is not None:
            self._moments.update(x, weight)
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        # torch refuses one value per channel.
        if weight is None and self.add is None and x.numel() > self.num_features:
            return self._normalize_plain(x)
        return self._normalize_weighted(x, weight)

    def _normalize_plain(self, x: Tensor) -> Tensor:
        """Normalise with torch's fused kernel, which has no weights."""
        mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        y = F.batch_norm(
            x, mean, var, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps
        )
        n = x.numel() // self.num_features
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            # Unbiased -> biased; not in place, since the backward pass looks at `var` again.
            self.running_var.lerp_(var * ((n - 1) / n), self.momentum)
        return y

    def _normalize_weighted(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """Normalise with weighted statistics."""
        shape = _channel_shape(x)
        total, mean, var = _weighted_moments(x, weight, self.add or _unchanged)
        # Without a row that counts there is nothing to normalise by but the past.
        some = total > 0
        mean = torch.where(some, mean, self.running_mean)
        var = torch.where(some, var, self.running_var)
        scale = torch.rsqrt(var + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        y = (x - mean.view(shape)) * scale.view(shape)
        if self.bias is not None:
            y = y + self.bias.view(shape)
        with torch.no_grad():
            step = some.to(x.dtype) * self.momentum
            self.running_mean.lerp_(mean, step)
            self.running_var.lerp_(var, step)
        return y

    def extra_repr(self) -> str:
        """Return what the representation shows of the module."""
        return f"{self.num_features}, momentum={self.momentum}, eps={self.eps}"


class Moments:
    """Weighted mean and variance of batches that come one after the other, in float64.

    Parameters
    ----------
    like : Tensor of shape (C,)
        Statistics to take the channels and the device of.
    """

    def __init__(self, like: Tensor) -> None:
        zero = torch.zeros_like(like, dtype=torch.float64)
        self.total = zero.new_zeros(())
        self.mean = zero
        self.scatter = zero.clone()  # sum of weighted squared deviations from the mean

    def update(self, x: Tensor, weight: Tensor | None) -> None:
        """Merge a batch: its own moments first, then Chan, Golub & LeVeque (1983), eq. 2.1."""
        total, mean, var = _weighted_moments(x.detach().double(), weight)
        merged = self.total + total
        share = total / merged.clamp(min=torch.finfo(torch.float64).tiny)
        gap = mean - self.mean
        self.mean = self.mean + gap * share
        self.scatter = self.scatter + var * total + gap.square() * (self.total * share)
        self.total = merged

    def finalize(self, norm: WeightedBatchNorm) -> None:
        """Write the statistics into the norm, unless no row counted."""
        if self.total > 0:
            norm.running_mean.copy_(self.mean)
            norm.running_var.copy_(self.scatter / self.total)


def recompute_statistics(
    module: nn.Module,
    run_pass: Callable[[], object],
    branches: Iterable[nn.Module] | None = None,
) -> None:
    """Replace the running averages of all batch norms by exact statistics of a data set.

    The input of a norm depends on the statistics of the norms before it, so they are treated
    one after the other in the order in which they are registered: with L norms in a chain, L
    passes. The result is that of one forward pass of the whole data as a single batch in
    training mode (without dropout).

    Parameters
    ----------
    module : nn.Module
        Module with :class:`WeightedBatchNorm` among its children, at any depth, registered in
        the order of the computation. It is in evaluation mode during the passes and gets its
        training flags back.
    run_pass : callable
        Called without arguments and without gradients, once for each step of the chain; must
        send the whole data set through ``module``, in batches of any size.
    branches : iterable of nn.Module, optional
        Children of ``module`` that do not see each other's output, such as the encoders of the
        modalities. The i-th norms of all branches share a pass, so that the longest branch
        determines the number of passes. Norms in no branch come after those in one.

    References
    ----------
    Chan, Golub & LeVeque (1983), "Algorithms for Computing the Sample Variance".
    """
    chains = [_norms(branch) for branch in branches or ()]
    in_branch = {id(norm) for chain in chains for norm in chain}
    steps = [[norm for norm in step if norm is not None] for step in itertools.zip_longest(*chains)]
    steps += [[norm] for norm in _norms(module) if id(norm) not in in_branch]
    flags = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            for step in steps:
                _recompute_step(step, run_pass)
    finally:
        for child, flag in flags:
            child.training = flag


def _recompute_step(norms: list[WeightedBatchNorm], run_pass: Callable[[], object]) -> None:
    """Recompute the statistics of norms none of which feeds another."""
    for norm in norms:
        norm._moments = Moments(norm.running_mean)
    try:
        run_pass()
        for norm in norms:
            if norm._moments is not None:
                norm._moments.finalize(norm)
    finally:
        for norm in norms:
            norm._moments = None


def _norms(module: nn.Module) -> list[WeightedBatchNorm]:
    return [child for child in module.modules() if isinstance(child, WeightedBatchNorm)]


def _channel_shape(x: Tensor) -> tuple[int, ...]:
    """Return the shape in which a vector over channels is broadcast against x."""
    return (1, -1) + (1,) * (x.dim() - 2)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _weighted_moments(
    x: Tensor, weight: Tensor | None, add: Callable[[Tensor], Tensor] = _unchanged
) -> tuple[Tensor, Tensor, Tensor]:
    """Return total weight (), mean (C,) and biased variance (C,); zeros where the total is 0."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    n = x.numel() // x.shape[1]
    if weight is None:
        weight = x.new_ones(())
    else:
        weight = weight.to(x.dtype)
        if weight.dim() == 1:
            weight = weight.view((-1,) + (1,) * (x.dim() - 1))
    # A weight that is broadcast counts once for every element it stands for.
    total = add(weight.sum() * (n / max(weight.numel(), 1)))
    inverse = 1.0 / total.clamp(min=torch.finfo(x.dtype).tiny)
    mean = add((x * weight).sum(axes)) * inverse
    scatter = add(((x - mean.view(_channel_shape(x))).square() * weight).sum(axes))
    return total, mean, scatter * inverse
