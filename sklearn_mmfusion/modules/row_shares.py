"""Shares of rows in their batch, and what layers with written gradients do with them.

A share is the weight of a row by the sum of weights of the batch; None stands for equal shares.

Letters: b batch row, t term (or any group normalised on its own), n features of a term.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "before_centring",
    "before_unit_norm",
    "by_term",
    "mean_of_rows",
    "shares_of",
    "to_unit_norm",
]


def shares_of(weight: Tensor | None, x: Tensor) -> Tensor | None:
    """Return weights that add up to 1, with as many axes as x; all 0 where all weights are."""
    if weight is None:
        return None
    total = weight.sum(0)
    share = weight / torch.where(total > 0, total, torch.ones_like(total))
    return share.reshape(share.shape + (1,) * (x.ndim - share.ndim)).to(x.dtype)


def by_term(share: Tensor | None) -> Tensor | None:
    """Move terms first, (b, t, 1) -> (t, b, 1)."""
    return None if share is None else share.transpose(0, 1)


def mean_of_rows(x: Tensor, share: Tensor | None, axis: int) -> Tensor:
    """Mean over the rows, which are along an axis of x."""
    if share is None:
        return x.sum(axis).div_(x.shape[axis])  # a third faster than mean()
    return (x * share).sum(axis)


def before_centring(grad: Tensor, share: Tensor | None) -> Tensor:
    """Gradient of (t, b, n) before the mean over rows was taken off, from that behind it."""
    if share is None:
        return grad.sub_(mean_of_rows(grad, None, 1).unsqueeze(1))
    return grad - share * grad.sum(1, keepdim=True)


def to_unit_norm(x: Tensor, share: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Scale (t, b, n) in place to mean squared norm 1; return scale (t, 1, 1) and norm (t,) too."""
    norm = mean_of_rows(x.square().sum(2, keepdim=True), share, 1)
    scale = (norm + eps).rsqrt().unsqueeze(1)
    return x.mul_(scale), scale, norm.squeeze(1)


def before_unit_norm(grad: Tensor, z: Tensor, scale: Tensor, share: Tensor | None) -> Tensor:
    """Gradient before :func:`to_unit_norm` made z, from that behind it."""
    along = (grad * z).sum((1, 2), keepdim=True)
    if share is None:
        return torch.addcmul(grad, z, along, value=-1.0 / z.shape[1]).mul_(scale)
    return torch.addcmul(grad, z * share, along, value=-1.0).mul_(scale)
