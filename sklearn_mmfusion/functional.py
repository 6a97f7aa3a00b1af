r"""The formulas of the papers as pure functions of tensors; read this file first.

Letters: :math:`b` batch row, :math:`t` term, :math:`d` latent feature, :math:`k` output,
:math:`S` a set of modalities, :math:`u_m` the normalised latent vector of modality :math:`m`.

References
----------
.. [IT] Varshneya et al. (2024), *Interpretable Tensor Fusion*, arXiv:2405.04671.
.. [MKL] Kloft et al. (2011), *lp-norm multiple kernel learning*, JMLR 12.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, combinations

import torch
from torch import Tensor

__all__ = [
    "block_norm_penalty",
    "block_norms",
    "interaction_constants",
    "interaction_features",
    "interaction_moments",
    "least_block_norms",
    "penalty_exponent",
    "proper_subsets",
    "relevance",
    "scale_to_unit",
    "squared_group_norm_prox",
    "vector_batch_norm",
    "weighted_mean",
]

Axes = tuple[int, ...]
Mean = Callable[[Tensor, "Tensor | None"], Tensor]


# ---------------------------------------------------------------------------------------------
# Block-norm fusion [IT, section 3.1, Theorem 1]
# ---------------------------------------------------------------------------------------------


def penalty_exponent(p: float) -> float:
    """Return q = 2p / (p + 1), the exponent of the block norms; 2 for p = inf.

    Parameters
    ----------
    p : float
        Norm parameter, at least 1.

    Returns
    -------
    float
        Between 1 (p = 1, sparse) and 2 (p = inf, uniform).
    """
    return 2.0 if math.isinf(p) else 2.0 * p / (p + 1.0)


def block_norms(weight: Tensor, term_of_column: Tensor, n_terms: int) -> Tensor:
    """Frobenius norm of each term's block of a weight matrix.

    Parameters
    ----------
    weight : Tensor of shape (n_outputs, n_columns)
        Fusion weights of all terms side by side.
    term_of_column : Tensor of int64 of shape (n_columns,)
        Index of the term that each column belongs to.
    n_terms : int
        Number of terms.

    Returns
    -------
    Tensor of shape (n_terms,)
        Norms in float64. The gradient at a zero block is zero.
    """
    # One scale for all keeps squares of 1e-200 and 1e200 inside float64.
    weight = weight.double()
    scale = weight.detach().abs().amax().clamp_min(torch.finfo(torch.float64).tiny)
    squares = (weight / scale).square().sum(0)
    sums = squares.new_zeros(n_terms).index_add(0, term_of_column, squares)
    zero = sums == 0
    # sqrt has an infinite slope at 0: the inner `where` keeps it out of the gradient.
    roots = torch.where(zero, torch.ones_like(sums), sums).sqrt()
    return torch.where(zero, torch.zeros_like(sums), roots) * scale


def block_norm_penalty(norms: Tensor, p: float) -> Tensor:
    r"""Penalty :math:`(\sum_t \|W_t\|_F^q)^{2/q}` with q = 2p / (p + 1) [IT, eq. 3].

    Parameters
    ----------
    norms : Tensor of shape (n_terms,)
        Block norms.
    p : float
        Norm parameter, 1 <= p <= inf.

    Returns
    -------
    Tensor of shape ()
        The penalty, without its factor ``reg``. For p = 1 the square of the sum of the norms.
    """
    q = penalty_exponent(p)
    scale = norms.detach().amax()
    if scale == 0:
        return norms.square().sum()
    return ((norms / scale) ** q).sum() ** (2.0 / q) * scale**2


def relevance(norms: Tensor, p: float) -> Tensor:
    r"""Relevance of each term from its block norm [IT, Theorem 1].

    .. math:: \beta_t = \|W_t\|_F^{2/(p+1)} \Big/ \Big(\sum_s \|W_s\|_F^{2p/(p+1)}\Big)^{1/p}

    so that the p-norm of :math:`\beta` is 1. Computed in logarithms: invariant to a common
    factor from 1e-40 to 1e40.

    Parameters
    ----------
    norms : Tensor of shape (n_terms,)
        Block norms, non-negative.
    p : float
        Norm parameter, 1 <= p <= inf; at inf every term with a weight scores 1.

    Returns
    -------
    Tensor of shape (n_terms,)
        Scores in float64, at least 0; 0 for a term without weight, also when all are.
    """
    norms = norms.double()
    present = norms > 0
    if not bool(present.any()):
        return torch.zeros_like(norms)
    log_norms = torch.where(present, norms, torch.ones_like(norms)).log()
    if math.isinf(p):
        return present.to(norms.dtype)
    exponents = torch.where(
        present, penalty_exponent(p) * log_norms, torch.full_like(norms, -math.inf)
    )
    scores = (2.0 / (p + 1.0) * log_norms - torch.logsumexp(exponents, 0) / p).exp()
    return torch.where(present, scores, torch.zeros_like(scores))


def least_block_norms(covariance: Tensor) -> Tensor:
    r"""Norm of the smallest blocks of weights that make the same contributions.

    A contribution :math:`g = W z` can be written with many features z. Of all with
    :math:`\mathbb{E}\|z\|^2 = 1` those that hold nothing but what the outputs take from them,
    :math:`z \propto C^{-1/4} g` with the covariance C of g, need the smallest weights:

    .. math:: \min \|W\|_F = \mathrm{tr}\, C^{1/2} \le \|W\|_F .

    With one output that is the standard deviation of the contribution; of several it is the
    nuclear norm of the term's signals.

    Parameters
    ----------
    covariance : Tensor of shape (n_terms, n_outputs, n_outputs)
        Covariance of the contributions of each term.

    Returns
    -------
    Tensor of shape (n_terms,)
        Norms in float64.
    """
    covariance = covariance.double()
    scale = covariance.diagonal(dim1=1, dim2=2).amax(1)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    squares: Tensor = torch.linalg.eigvalsh(covariance / scale[:, None, None])
    # The root would make 1e-8 of what round-off leaves of nothing.
    least = covariance.shape[2] * torch.finfo(torch.float64).eps
    roots = torch.where(squares > least, squares, torch.zeros_like(squares)).sqrt()
    return roots.sum(1) * scale.sqrt()


def squared_group_norm_prox(norms: Tensor, strength: float) -> Tensor:
    r"""Shrunken norms of the prox of ``strength`` :math:`(\sum_t \|w_t\|)^2`, the case p = 1.

    Parameters
    ----------
    norms : Tensor of shape (n_terms,)
        Norms before the step.
    strength : float
        Step size times ``reg``.

    Returns
    -------
    Tensor of shape (n_terms,)
        :math:`\max(0, \|w_t\| - \tau)`, :math:`\tau = 2\lambda S_k / (1 + 2\lambda k)` with
        :math:`S_k` the sum of the k largest norms and k the largest index whose norm exceeds
        its :math:`\tau`.
    """
    ordered = norms.sort(descending=True).values
    counts = torch.arange(1, len(norms) + 1, dtype=norms.dtype, device=norms.device)
    thresholds = 2 * strength * ordered.cumsum(0) / (1 + 2 * strength * counts)
    kept = int((ordered > thresholds).sum())
    if kept == 0:
        return torch.zeros_like(norms)
    return (norms - thresholds[kept - 1]).clamp_min(0)


# ---------------------------------------------------------------------------------------------
# Vector-wise batch normalisation [IT, eq. 5-7]
# ---------------------------------------------------------------------------------------------


def weighted_mean(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over the first axis.

    Parameters
    ----------
    x : Tensor of shape (b, ...)
        Values.
    weight : Tensor of shape (b,) or (b, t), optional
        Non-negative weights; their axes are the first axes of ``x``. Rows of weight zero do not
        count; where all weights are zero the mean is zero.

    Returns
    -------
    Tensor of shape (...)
        Weighted mean.
    """
    if weight is None:
        return x.mean(0)
    total = weight.sum(0)
    total = torch.where(total > 0, total, torch.ones_like(total))
    # Normalise first: a product of two tiny numbers would vanish.
    share = (weight / total).reshape(weight.shape + (1,) * (x.ndim - weight.ndim))
    return (x * share).sum(0)


def scale_to_unit(x: Tensor, mean_square: Tensor, eps: float, n_axes: int = 1) -> Tensor:
    """Divide vectors by their root mean square.

    Parameters
    ----------
    x : Tensor of shape (..., d)
        Vectors, or with ``n_axes`` above 1 tensors, that are divided as one.
    mean_square : Tensor
        Mean squared norm of each of them; its shape lacks the last ``n_axes`` axes of ``x``, and
        the leading ones broadcast.
    eps : float
        Added to ``mean_square`` under the root.
    n_axes : int, default=1
        Number of last axes of ``x`` that one number divides.

    Returns
    -------
    Tensor of the shape of ``x``
        ``x / sqrt(mean_square + eps)``.
    """
    scale = (mean_square + eps).rsqrt()
    return x * scale.reshape(scale.shape + (1,) * n_axes)


def vector_batch_norm(
    h: Tensor, weight: Tensor | None = None, eps: float = 1e-5, mean_of: Mean = weighted_mean
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Vector-wise batch normalisation, VBN [IT, eq. 5-7].

    .. math:: \mathrm{VBN}(h) = (h - E_B h) / \sqrt{E_B \|h - E_B h\|^2 + \epsilon}

    The mean is taken per element, the variance is ONE number per vector, so that the mean
    squared norm is 1 whatever the length of the vector. No affine part.

    Parameters
    ----------
    h : Tensor of shape (b, ..., d)
        Vectors; the axes between the first and the last are normalised each on its own.
    weight : Tensor of shape (b,) or (b, ...), optional
        Row weights; rows of weight zero do not enter the statistics.
    eps : float
        Added to the variance.
    mean_of : callable, default=weighted_mean
        Mean over the batch.

    Returns
    -------
    normalised : Tensor of shape (b, ..., d)
        Normalised vectors.
    mean : Tensor of shape (..., d)
        Mean.
    variance : Tensor of shape (...)
        Mean squared norm of the centred vectors.
    """
    mean = mean_of(h, weight)
    centred = h - mean
    variance = mean_of(centred.square().sum(-1), weight)
    return scale_to_unit(centred, variance, eps), mean, variance


# ---------------------------------------------------------------------------------------------
# Iterative batch normalisation, IterBN [IT, section 3.3, Theorem 2]
# ---------------------------------------------------------------------------------------------


def proper_subsets(axes: Axes, smallest: int = 0) -> list[Axes]:
    """List the proper subsets of a set of positions, by size.

    Parameters
    ----------
    axes : tuple of int
        Positions of the modalities of a term, increasing.
    smallest : int, default=0
        Number of members from which on a subset is listed.

    Returns
    -------
    list of tuple of int
        Subsets with at least ``smallest`` members, ``axes`` itself left out.
    """
    sizes = range(smallest, len(axes))
    return list(chain.from_iterable(combinations(axes, size) for size in sizes))


def _outer(a: Tensor, a_axes: Axes, b: Tensor, b_axes: Axes) -> tuple[Tensor, Axes]:
    """Outer product with the axes put back in increasing order; leading axes broadcast."""
    axes = tuple(sorted(a_axes + b_axes))
    letters = {axis: chr(ord("a") + axis) for axis in axes}
    left, right, out = ("".join(letters[i] for i in s) for s in (a_axes, b_axes, axes))
    return torch.einsum(f"...{left},...{right}->...{out}", a, b), axes


def _product(us: Sequence[Tensor], axes: Axes) -> Tensor:
    """Outer product of the latent vectors of some modalities, in order."""
    result: Tensor = us[axes[0]]
    done: Axes = (axes[0],)
    for axis in axes[1:]:
        result, done = _outer(result, done, us[axis], (axis,))
    return result


def interaction_moments(
    us: Sequence[Tensor],
    weight: Tensor | None = None,
    *,
    centred: bool = False,
    mean: Mean = weighted_mean,
) -> dict[Axes, Tensor]:
    r"""Moments :math:`\mu_A = E_B \bigotimes_{m \in A} u_m` of every non-empty set A.

    Parameters
    ----------
    us : sequence of k Tensors of shape (b, ..., d_m)
        Latent vectors of the k modalities of a term; axes between the first and the last hold
        several terms side by side.
    weight : Tensor of shape (b,) or (b, ...), optional
        Row weights.
    centred : bool
        True when every ``u`` has mean zero already: first moments are left out.
    mean : callable, default=weighted_mean
        Mean over the batch.

    Returns
    -------
    dict of tuple of int to Tensor of shape (..., d_m for m in A)
        Moments by set of positions, the whole set included.
    """
    every = tuple(range(len(us)))
    sets = proper_subsets(every, 2 if centred else 1)
    if len(us) >= (2 if centred else 1):
        sets.append(every)
    return {axes: mean(_product(us, axes), weight) for axes in sets}


def interaction_constants(moments: Mapping[Axes, Tensor], order: int) -> dict[Axes, Tensor]:
    r"""Constants :math:`c(S) = -\sum_{\emptyset \ne T \subseteq S} \mu_T \otimes c(S \setminus T)`.

    Parameters
    ----------
    moments : mapping of tuple of int to Tensor
        Moments; a set that is not in it counts as zero.
    order : int
        Number of modalities of the term.

    Returns
    -------
    dict of tuple of int to Tensor
        Constants of the non-empty sets for which they are not zero; :math:`c(\emptyset) = 1` is
        left out.

    Notes
    -----
    NOTE[DIFF] The axes of each outer product are put back in the order of the modalities. A
    published implementation leaves them in the order of the factors, which is wrong from the
    third order on.
    """
    every = tuple(range(order))
    constants: dict[Axes, Tensor] = {}
    for axes in [*proper_subsets(every, 1), every]:
        parts = []
        for part in [*proper_subsets(axes, 1), axes]:
            rest = tuple(i for i in axes if i not in part)
            if part not in moments or (rest and rest not in constants):
                continue
            product = moments[part]
            if rest:
                product, _ = _outer(product, part, constants[rest], rest)
            parts.append(product)
        if parts:
            constants[axes] = -torch.stack(torch.broadcast_tensors(*parts)).sum(0)
    return constants


def interaction_features(us: Sequence[Tensor], constants: Mapping[Axes, Tensor]) -> Tensor:
    r"""Centred interaction :math:`X_S = \sum_{A \subseteq S} u_A \otimes c(S \setminus A)`.

    With the constants of the same batch, :math:`E_B[\partial X_S / \partial u_I] = 0` for every
    proper subset I of S, the empty set included [IT, Theorem 2]: nothing that fewer modalities
    could express is left in it.

    Parameters
    ----------
    us : sequence of k Tensors of shape (b, ..., d_m)
        Latent vectors.
    constants : mapping of tuple of int to Tensor
        What :func:`interaction_constants` returns.

    Returns
    -------
    Tensor of shape (b, ..., d_1, ..., d_k)
        Interaction features, axes in the order of ``us``.
    """
    every = tuple(range(len(us)))
    result = _product(us, every)
    for axes in proper_subsets(every):
        rest = tuple(i for i in every if i not in axes)
        if rest not in constants:
            continue
        if axes:
            product, _ = _outer(_product(us, axes), axes, constants[rest], rest)
            result = result + product
        else:
            result = result + constants[rest]
    return result
