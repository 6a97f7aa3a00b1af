"""VBN and IterBN with their gradients written out: the same numbers in a third of the time.

Orders 2 and 3 of IterBN; :mod:`sklearn_mmfusion.modules.folded` has the others.

A training step of a small network is made of small operations, each of which costs more to call
than to compute. Here a layer is one operation for the autograd engine, and inside it matrix
products take the place of sums over products. :mod:`sklearn_mmfusion.functional` holds the same
formulas as they are read; tests compare values and gradients of the two.

Letters: b batch row, t term (or any group normalised on its own), k modalities of a term, d
latent feature, w share of a row in its batch (they add up to 1).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sklearn_mmfusion import functional as F
from sklearn_mmfusion.modules import folded
from sklearn_mmfusion.modules.row_shares import (
    before_centring,
    before_unit_norm,
    by_term,
    mean_of_rows,
    shares_of,
    to_unit_norm,
)

__all__ = ["FUSED_ORDERS", "block_norm_penalty", "interaction_batch_norm", "vector_batch_norm"]

FUSED_ORDERS = (2, 3)


def vector_batch_norm(
    h: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Vector-wise batch normalisation, see :func:`sklearn_mmfusion.functional.vector_batch_norm`.

    Parameters
    ----------
    h : Tensor of shape (b, ..., d)
        Vectors.
    weight : Tensor of shape (b,) or (b, ...), optional
        Row weights.
    eps : float
        Added to the variance.

    Returns
    -------
    normalised : Tensor of shape (b, ..., d)
        Normalised vectors.
    mean, variance : Tensor of shape (..., d), (...)
        Statistics, without gradients.
    """
    return _apply(_VectorBatchNorm, h, shares_of(weight, h), eps)  # type: ignore[return-value]  # three of them


def interaction_batch_norm(
    us: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, dict[tuple[int, ...], Tensor]]:
    """Centred and scaled interaction features of terms of one order.

    Parameters
    ----------
    us : Tensor of shape (k, b, t, d)
        Latent vectors with mean zero over the batch.
    weight : Tensor of shape (b,) or (b, t), optional
        Row weights.
    eps : float
        Added to the mean squared norm.

    Returns
    -------
    features : Tensor of shape (b, t, d ** k)
        Interaction features of mean squared norm 1.
    norm : Tensor of shape (t,)
        Mean squared norm before the scaling, without gradient.
    moments : dict of tuple of int to Tensor of shape (t, d, ...)
        Moments of the subsets of at least two modalities, without gradients.
    """
    order = len(us)
    if order not in FUSED_ORDERS:
        return folded.interaction_batch_norm(us, weight, eps)
    share = shares_of(weight, us[0])
    if order == 2:
        features, norm, whole = _apply(_PairBatchNorm, us, share, eps)
        return features, norm, {(0, 1): whole}
    features, norm, pairs, whole = _apply(_TripleBatchNorm, us, share, eps)
    d = us.shape[-1]
    blocks = pairs.unflatten(1, (3, d)).unflatten(3, (3, d))
    moments: dict[tuple[int, ...], Tensor] = {(0, 1, 2): whole}
    for i, j in ((0, 1), (0, 2), (1, 2)):
        moments[i, j] = blocks[:, i, :, j]
    return features, norm, moments


def _apply(function: type[torch.autograd.Function], *args: object) -> tuple[Tensor, ...]:
    outputs: tuple[Tensor, ...] = function.apply(*args)
    return outputs


class _VectorBatchNorm(torch.autograd.Function):
    """z = (h - mean) / sqrt(variance + eps)."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, share: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        mean = mean_of_rows(h, share, 0)
        z = h - mean
        variance = mean_of_rows(z.square().sum(-1, keepdim=True), share, 0)
        scale = (variance + eps).rsqrt()
        z.mul_(scale)
        variance = variance.squeeze(-1)
        ctx.save_for_backward(z, scale, share)
        ctx.mark_non_differentiable(mean, variance)
        return z, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        z, scale, share = ctx.saved_tensors
        # The scale depends on all rows, and so does the mean.
        along = (grad * z).sum((0, -1), keepdim=True)
        if share is None:
            centred = torch.addcmul(grad, z, along, value=-1.0 / len(z)).mul_(scale)
            return centred.sub_(mean_of_rows(centred, None, 0)), None, None
        centred = torch.addcmul(grad, z * share, along, value=-1.0).mul_(scale)
        return centred - share * centred.sum(0), None, None


class _PairBatchNorm(torch.autograd.Function):
    """X = u v^T - E u v^T, scaled."""

    @staticmethod
    def forward(ctx: Any, us: Tensor, share: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        share = by_term(share)
        u, v = us.transpose(1, 2).contiguous()  # (t, b, d)
        products = (u.unsqueeze(3) * v.unsqueeze(2)).flatten(2)
        moment = mean_of_rows(products, share, 1)
        z, scale, norm = to_unit_norm(products.sub_(moment.unsqueeze(1)), share, eps)
        ctx.save_for_backward(u, v, z, scale, share)
        moment = moment.unflatten(1, (u.shape[2], -1))
        ctx.mark_non_differentiable(norm, moment)
        return z.transpose(0, 1), norm, moment

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        u, v, z, scale, share = ctx.saved_tensors
        grad = before_unit_norm(grad.transpose(0, 1), z, scale, share)
        grad = before_centring(grad, share)
        t, b, d = u.shape
        grad = grad.reshape(t * b, d, d)
        grad_u = torch.bmm(grad, v.reshape(t * b, d, 1))
        grad_v = torch.bmm(u.reshape(t * b, 1, d), grad)
        both = torch.stack([grad_u.view(t, b, d), grad_v.view(t, b, d)])
        return both.transpose(1, 2), None, None


class _TripleBatchNorm(torch.autograd.Function):
    """X = u v w - E[v w] u - E[u w] v - E[u v] w - E[u v w], scaled.

    The middle three are one matrix product: the rows (u, v, w) of length 3 d times a matrix whose
    blocks hold each second moment along the diagonal of the axis of the vector beside it.
    """

    @staticmethod
    def forward(ctx: Any, us: Tensor, share: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        share = by_term(share)
        k, b, t, d = us.shape
        rows = us.permute(2, 1, 0, 3).reshape(t, b, k * d)
        u, v, w = rows.split(d, 2)
        weighted = rows / b if share is None else rows * share
        moments = torch.bmm(rows.transpose(1, 2), weighted)  # (t, 3 d, 3 d)
        pairs = (u.unsqueeze(3) * v.unsqueeze(2)).flatten(2)  # (t, b, d d)
        products = (pairs.unsqueeze(3) * w.unsqueeze(2)).flatten(2)
        lower = rows.new_zeros(t, k, d, d, d, d)
        for axis, moment in enumerate(_opposite(moments, d)):
            place = lower[:, axis].diagonal(dim1=1, dim2=2 + axis)
            place.copy_(moment.unsqueeze(-1).expand_as(place))
        lower = lower.view(t, k * d, d**3)
        x = torch.baddbmm(products, rows, lower, alpha=-1.0)
        whole = mean_of_rows(products, share, 1)
        z, scale, norm = to_unit_norm(x.sub_(whole.unsqueeze(1)), share, eps)
        ctx.save_for_backward(rows, pairs, weighted, lower, z, scale, share)
        whole = whole.view(t, d, d, d)
        ctx.mark_non_differentiable(norm, moments, whole)
        return z.transpose(0, 1), norm, moments, whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        rows, pairs, weighted, lower, z, scale, share = ctx.saved_tensors
        t, b, kd = rows.shape
        d = kd // 3
        u, v, w = rows.split(d, 2)
        grad = before_unit_norm(grad.transpose(0, 1), z, scale, share)
        # Through the lower terms: their rows, and the moments beside them.
        grad_rows = torch.bmm(grad, lower.transpose(1, 2)).neg_()
        grad_lower = torch.bmm(rows.transpose(1, 2), grad).view(t, 3, d, d, d, d)
        grad_moments = torch.zeros_like(lower[:, :, :kd])
        for axis, place in enumerate(_opposite(grad_moments, d)):
            place.copy_(grad_lower[:, axis].diagonal(dim1=1, dim2=2 + axis).sum(-1))
        # A moment is an average over rows: its gradient reaches both factors of every row.
        grad_rows -= torch.bmm(weighted, grad_moments + grad_moments.transpose(1, 2))
        # Through the product, less its mean.
        grad = before_centring(grad, share)
        grad = grad.reshape(t * b, d * d, d)
        grad_w = torch.bmm(pairs.reshape(t * b, 1, d * d), grad)
        grad_pairs = torch.bmm(grad, w.reshape(t * b, d, 1)).view(t * b, d, d)
        grad_u = torch.bmm(grad_pairs, v.reshape(t * b, d, 1))
        grad_v = torch.bmm(u.reshape(t * b, 1, d), grad_pairs)
        parts = [part.view(t, b, d) for part in (grad_u, grad_v, grad_w)]
        grad_rows += torch.cat(parts, 2)
        return grad_rows.view(t, b, 3, d).permute(2, 1, 0, 3), None, None


def _opposite(moments: Tensor, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return views (t, d, d) of the moments beside each modality: of v w, of u w, of u v."""
    u, v, w = (slice(i * d, (i + 1) * d) for i in range(3))
    return moments[:, v, w], moments[:, u, w], moments[:, u, v]


def block_norm_penalty(weight: Tensor, term_of_column: Tensor, n_terms: int, p: float) -> Tensor:
    """Penalty of the norms of blocks of columns, see :mod:`sklearn_mmfusion.functional`.

    Parameters
    ----------
    weight : Tensor of shape (..., n_outputs, n_columns)
        Fusion weights of all terms side by side; leading axes hold models of their own.
    term_of_column : Tensor of int64 of shape (n_columns,)
        Index of the term that each column belongs to.
    n_terms : int
        Number of terms.
    p : float
        Norm parameter, 1 <= p <= inf.

    Returns
    -------
    Tensor of shape (...)
        What :func:`~sklearn_mmfusion.functional.block_norm_penalty` makes of
        :func:`~sklearn_mmfusion.functional.block_norms`, in float64.
    """
    penalty: Any = _apply(_BlockNormPenalty, weight, term_of_column, n_terms, p)
    return penalty  # type: ignore[no-any-return]  # one output is no tuple


class _BlockNormPenalty(torch.autograd.Function):
    """(sum_t n_t^q)^(2/q); its gradient is W_t times 2 (sum_s n_s^q)^(2/q - 1) n_t^(q - 2)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, term_of_column: Tensor, n_terms: int, p: float) -> Tensor:
        q = F.penalty_exponent(p)
        scale = None  # squares of what fits in float32 fit in float64
        if weight.dtype == torch.float64:
            tiny = torch.finfo(torch.float64).tiny
            scale = weight.abs().amax((-2, -1)).clamp_min(tiny)[..., None]
            squares = (weight / scale[..., None]).square().sum(-2)
        else:
            squares = weight.double().square().sum(-2)
        norms = squares.new_zeros(*squares.shape[:-1], n_terms)
        norms = norms.index_add_(-1, term_of_column, squares).sqrt_()
        norms = norms if scale is None else norms * scale
        largest = norms.amax(-1, keepdim=True)
        # Relative to the largest: no power overflows, and the scale cancels in the gradient.
        shares = norms / largest.clamp_min(torch.finfo(norms.dtype).tiny)
        total = shares.pow(q).sum(-1, keepdim=True)
        slopes = torch.where(shares > 0, 2 * total ** (2 / q - 1) * shares ** (q - 2), 0.0)
        ctx.save_for_backward(weight, slopes[..., term_of_column].unsqueeze(-2))
        return (total ** (2 / q) * largest.square()).squeeze(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, slopes = ctx.saved_tensors
        slopes = slopes * grad[..., None, None]
        return (weight * slopes).to(weight.dtype), None, None, None
