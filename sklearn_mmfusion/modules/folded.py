r"""IterBN of any order, folded: all subsets of a term's modalities at once.

Put a 1 before each latent vector. An array with one axis of length 1 + d for each of the k
modalities then holds a quantity of every subset of them: index 0 along an axis stands for a
modality that is not in the subset. So held, the moments of all subsets are one matrix product, the
constants are the inverse of the moments in the algebra in which vectors of one modality have
product zero, and the features come out of the constants by one step for each modality, in which
its axis of length 1 + d becomes one of length d:
:math:`\sum_j d^j (1+d)^{k-j}` multiplications a row, where the sum over ordered partitions of the
paper [IT, section 3.3] grows with the ordered Bell numbers, and the recursion of
:mod:`sklearn_mmfusion.functional` with :math:`2^k d^k`. Tests compare values and gradients with
the latter.

Letters: b batch row, t term, k modalities of a term, d latent feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sklearn_mmfusion.modules.row_shares import before_unit_norm, by_term, shares_of, to_unit_norm

__all__ = ["interaction_batch_norm", "interaction_features", "interaction_moments"]

Axes: TypeAlias = tuple[int, ...]
Vectors: TypeAlias = Sequence[Tensor] | Tensor  # one of k, or one tensor with k first


def interaction_batch_norm(
    us: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, dict[Axes, Tensor]]:
    """Centred and scaled interaction features of terms of one order.

    Parameters
    ----------
    us : Tensor of shape (k, b, t, d)
        Latent vectors with mean zero over the batch, of at least 2 modalities.
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
    function: Any = _FoldedBatchNorm
    features, norm, moments = function.apply(us, shares_of(weight, us[0]), eps)
    return features, norm, _by_set(moments)


def interaction_features(us: Sequence[Tensor], moments: Mapping[Axes, Tensor]) -> Tensor:
    """Centred interaction features with given moments, as in evaluation.

    Parameters
    ----------
    us : sequence of k Tensors of shape (b, t, d)
        Latent vectors.
    moments : mapping of tuple of int to Tensor of shape (t, d, ...)
        Moments of the subsets of at least two modalities; those of single ones are zero.

    Returns
    -------
    Tensor of shape (b, t, d ** k)
        What :func:`sklearn_mmfusion.functional.interaction_features` returns, flattened.
    """
    k, (t, d) = len(us), us[0].shape[1:]
    together = us[0].new_zeros(t, *[1 + d] * k)
    together[_place((), k)] = 1.0
    for axes, moment in moments.items():
        together[_place(axes, k)] = moment
    vectors = [u.transpose(0, 1) for u in us]
    return _fold(_inverse(together, k), vectors)[0].transpose(0, 1)


@torch.no_grad()
def interaction_moments(us: Sequence[Tensor], weight: Tensor | None) -> dict[Axes, Tensor]:
    """Moments of latent vectors with mean zero, without the product of every row.

    Parameters
    ----------
    us : sequence of k Tensors of shape (b, t, d)
        Latent vectors, of at least 2 modalities.
    weight : Tensor of shape (b,) or (b, t), optional
        Row weights.

    Returns
    -------
    dict of tuple of int to Tensor of shape (t, d, ...)
        What :func:`sklearn_mmfusion.functional.interaction_moments` returns with ``centred=True``.
    """
    vectors = torch.stack([u.transpose(0, 1) for u in us])
    return _by_set(_moments(vectors, by_term(shares_of(weight, us[0]))))


def _by_set(moments: Tensor) -> dict[Axes, Tensor]:
    """Return views of the moments of the subsets of at least two modalities."""
    k = moments.ndim - 1
    sets = (axes for size in range(2, k + 1) for axes in combinations(range(k), size))
    return {axes: moments[_place(axes, k)] for axes in sets}


def _place(axes: Axes, k: int) -> Any:
    """Return where a subset's values are in an array of all subsets with terms first."""
    return (slice(None), *(slice(1, None) if m in axes else 0 for m in range(k)))


# -- the algebra: arrays whose last n axes, of length 1 + d, hold all subsets of n modalities ------


def _split(array: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the subsets without the first modality, and those with it: its vector comes first."""
    return array.select(-n, 0), array.narrow(-n, 1, array.shape[-n] - 1).movedim(-n, 0)


def _joined(without: Tensor, with_it: Tensor, n: int) -> Tensor:
    return torch.cat([without.unsqueeze(0), with_it]).movedim(0, -n)


def _times(a: Tensor, b: Tensor, n: int) -> Tensor:
    """Product: over all ways to part a subset into one of a and one of b; 3 ** n of them."""
    if n == 1:
        product = a * b[..., :1]
        product[..., 1:] += a[..., :1] * b[..., 1:]
        return product
    b_without, b_with = _split(b, n)
    every = _times(a.movedim(-n, 0), b_without.unsqueeze(0), n - 1)
    crossed = _times(a.select(-n, 0).unsqueeze(0), b_with, n - 1)
    return _joined(every[0], every[1:] + crossed, n)


def _times_transposed(grad: Tensor, b: Tensor, n: int) -> Tensor:
    """Gradient of the factor a of :func:`_times`, from that of the product."""
    if n == 1:
        of_a = grad * b[..., :1]
        of_a[..., 0] += (grad[..., 1:] * b[..., 1:]).sum(-1)
        return of_a
    b_without, b_with = _split(b, n)
    every = _times_transposed(grad.movedim(-n, 0), b_without.unsqueeze(0), n - 1)
    crossed = _times_transposed(_split(grad, n)[1], b_with, n - 1)
    return _joined(every[0] + crossed.sum(0), every[1:], n)


def _inverse(a: Tensor, n: int) -> Tensor:
    """Inverse of an array that is 1 at the empty subset."""
    if n == 1:
        return torch.cat([a[..., :1], -a[..., 1:]], -1)
    without, with_it = _split(a, n)
    inverse = _inverse(without, n - 1)
    square = _times(inverse, inverse, n - 1)
    return _joined(inverse, -_times(with_it, square.unsqueeze(0), n - 1), n)


# -- moments ---------------------------------------------------------------------------------------


def _products(vectors: Vectors) -> Tensor:
    """Return the products over all subsets of some vectors: (t, b, d) each -> (t, b, (1+d)^n)."""
    product, *others = (torch.cat([torch.ones_like(u[..., :1]), u], 2) for u in vectors)
    for other in others:
        product = (product.unsqueeze(3) * other.unsqueeze(2)).flatten(2)
    return product


def _before_products(grad: Tensor, vectors: Vectors) -> list[Tensor]:
    """Gradients of the vectors, from that of their products."""
    if len(vectors) == 1:
        return [grad[..., 1:]]
    first, rest = _products(vectors[:1]), _products(vectors[1:])
    t, b, n = first.shape
    grad = grad.reshape(t * b, n, -1)
    of_first = torch.bmm(grad, rest.reshape(t * b, -1, 1)).view(t, b, n)
    of_rest = torch.bmm(first.reshape(t * b, 1, n), grad).view(t, b, -1)
    return [of_first[..., 1:], *_before_products(of_rest, vectors[1:])]


def _moments(vectors: Tensor, share: Tensor | None) -> Tensor:
    """Return the moments of all subsets, (k, t, b, d) -> (t, 1 + d, ...); those of one are 0."""
    k, t, b, d = vectors.shape
    half = (k + 1) // 2
    left, right = _products(vectors[:half]), _products(vectors[half:])
    right = right / b if share is None else right * share
    moments = torch.bmm(left.transpose(1, 2), right).view(t, *[1 + d] * k)
    _clear_single(moments)
    return moments


def _before_moments(grad: Tensor, vectors: Tensor, share: Tensor | None) -> list[Tensor]:
    """Gradients of the vectors, from that of the moments."""
    k, t, b, _ = vectors.shape
    half = (k + 1) // 2
    left, right = _products(vectors[:half]), _products(vectors[half:])
    _clear_single(grad)
    grad = grad.reshape(t, left.shape[2], right.shape[2])
    of_left, of_right = torch.bmm(right, grad.transpose(1, 2)), torch.bmm(left, grad)
    for part in (of_left, of_right):
        _ = part.div_(b) if share is None else part.mul_(share)
    return [
        *_before_products(of_left, vectors[:half]),
        *_before_products(of_right, vectors[half:]),
    ]


def _clear_single(moments: Tensor) -> None:
    """Set the first moments to 0, which they are but for round-off, and the empty one to 1."""
    k = moments.ndim - 1
    moments[_place((), k)] = 1.0
    for m in range(k):
        moments[_place((m,), k)] = 0.0


# -- features --------------------------------------------------------------------------------------


def _fold(constants: Tensor, vectors: Vectors) -> tuple[Tensor, list[Tensor]]:
    """Return the features (t, b, d ** k), and what each step multiplied with the vectors."""
    t, b, d = vectors[0].shape
    folded, kept = constants.reshape(t, 1, 1, 1 + d, -1), []
    for m, u in enumerate(vectors):
        if m:
            folded = folded.reshape(t, b, d**m, 1 + d, -1)
        without = folded[:, :, :, :1].contiguous()
        folded = torch.addcmul(folded[:, :, :, 1:], without, u.reshape(t, b, 1, d, 1))
        kept.append(without)
    return folded.reshape(t, b, -1), kept


def _before_fold(
    grad: Tensor, vectors: Tensor, kept: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of the constants and of the vectors, from that of the features."""
    k, t, b, d = vectors.shape
    of_vectors = []
    for m in reversed(range(k)):
        grad = grad.reshape(t, b, d**m, d, -1)
        without = kept[m].squeeze(3).expand(-1, b, -1, -1)
        of_vectors.append(torch.einsum("tbadr,tbar->tbd", grad, without))
        if m == 0:
            of_without = torch.einsum("tbadr,tbd->tar", grad, vectors[m]).unsqueeze(1)
            grad = grad.sum(1, keepdim=True)
        else:
            of_without = torch.einsum("tbadr,tbd->tbar", grad, vectors[m])
        grad = torch.cat([of_without.unsqueeze(3), grad], 3)
    return grad.reshape(t, *[1 + d] * k), of_vectors[::-1]


class _FoldedBatchNorm(torch.autograd.Function):
    """Moments, constants, features, scale."""

    @staticmethod
    def forward(ctx: Any, us: Tensor, share: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        share = by_term(share)
        vectors = us.transpose(1, 2).contiguous()  # (k, t, b, d)
        moments = _moments(vectors, share)
        constants = _inverse(moments, len(us))
        features, kept = _fold(constants, vectors)
        z, scale, norm = to_unit_norm(features, share, eps)
        ctx.save_for_backward(vectors, constants, z, scale, share, *kept)
        ctx.mark_non_differentiable(norm, moments)
        return z.transpose(0, 1), norm, moments

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        vectors, constants, z, scale, share, *kept = ctx.saved_tensors
        k = len(vectors)
        grad = before_unit_norm(grad.transpose(0, 1), z, scale, share)
        grad, of_vectors = _before_fold(grad, vectors, kept)
        # The inverse of m + dm is c - c c dm.
        square = _times(constants, constants, k)
        of_moments = _times_transposed(grad, square, k).neg_()
        through = _before_moments(of_moments, vectors, share)
        both = torch.stack([a + b for a, b in zip(of_vectors, through, strict=True)])
        return both.transpose(1, 2), None, None
