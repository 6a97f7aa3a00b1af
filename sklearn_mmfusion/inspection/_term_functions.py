"""What one term of a network adds, as a function of the rows of its modalities.

Whatever depends on one modality alone is computed for all rows beforehand, so that a combination
costs no more than the step in which the modalities meet.

Letters: n row, t term, d latent feature, h hidden unit, k output; shape: axes of a product of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from sklearn_mmfusion import functional as F
from sklearn_mmfusion.inspection._gathering import (
    chosen,
    contracted,
    gathered_sum,
    hidden_inputs,
    together,
)
from sklearn_mmfusion.inspection._products import Product
from sklearn_mmfusion.modules.concatenation import ConcatFeatures, TensorFeatures
from sklearn_mmfusion.modules.fusion import BlockLinear, TermFeatures
from sklearn_mmfusion.modules.network import FusionNetwork
from sklearn_mmfusion.modules.residual import OrderFusion, TermOutputs
from sklearn_mmfusion.modules.routing import AdditiveActivation, Routing
from sklearn_mmfusion.modules.term_vectors import TermVectors

__all__ = ["is_sum_of_terms", "term_function"]

# Combinations of rows of the members -> what the term adds, (*shape, k).
TermFunction = Callable[[Product], Tensor]
Encodings = Sequence[Tensor]
Present = Sequence[Tensor | None]


def is_sum_of_terms(module: FusionNetwork) -> bool:
    """Whether outputs are a sum over terms of functions of their own modalities.

    Routing is none: what a term adds depends on what the other terms say.
    """
    fusion = module.fusion
    if isinstance(fusion, Routing):
        return fusion.n_routing_iter == 0
    return isinstance(fusion, BlockLinear | OrderFusion | AdditiveActivation) and not isinstance(
        module.features, TensorFeatures
    )


@singledispatch
def term_function(
    features: Any, fusion: Any, encodings: Encodings, present: Present, t: int
) -> tuple[TermFunction, int]:
    """Return the function of a term, and how many numbers it makes of a combination.

    Parameters
    ----------
    features, fusion : nn.Module
        Modules of a network that is a sum of terms, in evaluation mode.
    encodings : sequence of Tensor of shape (n, d_m)
        Encodings of all rows.
    present : sequence of bool Tensor of shape (n,) or None
        Rows in which each modality is there.
    t : int
        Position of the term.
    """
    raise TypeError(f"no function of terms for {type(features).__name__}")


@term_function.register
def _of_concatenation(
    features: ConcatFeatures, fusion: Any, encodings: Encodings, present: Present, t: int
) -> tuple[TermFunction, int]:
    (m,) = features.terms[t]
    weight = fusion.weight.split(features.block_sizes, 1)[t]
    return _table(_masked(encodings[m] @ weight.T, present[m]))


@term_function.register
def _of_blocks(
    features: TermFeatures, fusion: Any, encodings: Encodings, present: Present, t: int
) -> tuple[TermFunction, int]:
    """MNL and InTense: an interaction is linear in each of its latent vectors."""
    term = features.terms[t]
    weight = fusion.weight.split(features.block_sizes, 1)[t]
    if len(term) == 1:
        (m,) = term
        norm = features.unimodal_norms[features.unimodal.index(m)]
        return _table(_masked(norm(features._unimodal_input(m, encodings)) @ weight.T, present[m]))
    factors = []
    for m in term:
        position = features.pairs.index((term, m))
        mine = slice(position, position + 1)
        h = encodings[m]
        first = next(i for i, pair in enumerate(features.pairs) if pair[1] == m)
        d = features.latent_dim
        of_pair = slice((position - first) * d, (position - first + 1) * d)
        latent = h @ features.pair_maps[str(m)].weight[of_pair].T  # type: ignore[index]
        pair_norm: Any = features.pair_norm
        u = F.scale_to_unit(
            latent[:, None] - pair_norm.running_mean[mine],
            pair_norm.running_variance[mine],
            pair_norm.eps,
        )[:, 0]
        one = u.new_ones(len(u), 1)
        factors.append(_masked(torch.cat([one, u], 1), present[m]))
    core = _multilinear_weight(features, weight, term).movedim(0, -1)
    width = core.shape[-2] + len(weight)
    return (lambda rows: contracted(core, factors, rows)), 2 * width


def _multilinear_weight(features: TermFeatures, weight: Tensor, term: tuple[int, ...]) -> Tensor:
    r"""Return the weights of a term on :math:`\bigotimes_m [1; u_m]`, (k, 1 + d, ..., 1 + d).

    .. math:: W \cdot X_S = \sum_{A \subseteq S} \big(W \cdot c(S \setminus A)\big) \cdot u_A
    """
    order, d = len(term), features.latent_dim
    norm: Any = features.interaction_norms[str(order)]
    j = features.groups[order].index(term)
    moments = {axes: getattr(norm, norm._buffer_name(axes))[j] for axes in norm._sets}
    constants = F.interaction_constants({a: m[None] for a, m in moments.items()}, order)
    unit = F.scale_to_unit(weight.new_ones(1, 1), norm.running_norm[j : j + 1], norm.eps)[0, 0]
    block = (weight * unit).unflatten(1, (d,) * order)
    core = weight.new_zeros(len(weight), *(1 + d,) * order)
    every = range(order)
    for size in range(order + 1):
        for axes in combinations(every, size):
            rest = tuple(i for i in every if i not in axes)
            if rest and rest not in constants:
                continue
            part = block
            if rest:
                part = torch.tensordot(
                    block, constants[rest][0], dims=([i + 1 for i in rest], list(range(len(rest))))
                )
            where = tuple(slice(1, None) if i in axes else 0 for i in every)
            core[(slice(None), *where)] = part
    return core


@term_function.register
def _of_orders(
    features: TermOutputs, fusion: Any, encodings: Encodings, present: Present, t: int
) -> tuple[TermFunction, int]:
    """MRO: a hidden layer on the encodings side by side is a sum over the modalities."""
    term, o = features.terms[t], features.order_of_term[t]
    hidden: Any = features.hidden[t]
    readout: Any = features.readout[t]
    dims = [features.encoding_dims[m] for m in term]
    inputs = []
    for m, dim, weight in zip(term, dims, hidden.weight.split(dims, 1), strict=True):
        inputs.append(encodings[m][:, o * dim : (o + 1) * dim] @ weight.T)
    masks = [present[m] for m in term]

    def function(rows: Product) -> Tensor:
        summed = gathered_sum(inputs, rows, hidden.bias).relu_()
        return _masked(summed @ readout.weight.T, together(masks, rows))

    return function, 2 * hidden.weight.shape[0]


@term_function.register
def _of_activations(
    features: TermVectors, fusion: Any, encodings: Encodings, present: Present, t: int
) -> tuple[TermFunction, int]:
    """GAM, and routing with uniform coefficients: what is read of a feature is linear in it."""
    inputs = hidden_inputs(features, encodings, t)
    if isinstance(fusion, Routing):
        votes = fusion.weight[t].unflatten(1, (fusion.n_concepts, -1))
        seen = torch.einsum("djc,jc->dj", votes, fusion.readout) / fusion.n_concepts
        read = fusion._contrasted(seen)
    else:
        read = fusion.readout.T
    # The features and their activation logit, as they are read: (h, k + 1).
    last = torch.cat([features.weight[t, :, :-1] @ read, features.weight[t, :, -1:]], 1)
    offset = torch.cat([features.bias[t, :-1] @ read, features.bias[t, -1:]])
    masks = [present[m] for m in features.terms[t]]

    def function(rows: Product) -> Tensor:
        hidden = gathered_sum(inputs, rows, features.hidden_bias[t]).relu_()
        values = hidden @ last + offset
        added = torch.sigmoid(values[..., -1:]) * values[..., :-1]
        return _masked(added, together(masks, rows))

    return function, 2 * features.hidden_dim


def _table(table: Tensor) -> tuple[TermFunction, int]:
    return (lambda rows: chosen(table, rows, 0)), table.shape[1]


def _masked(values: Tensor, mask: Tensor | None) -> Tensor:
    return values if mask is None else torch.where(mask[..., None], values, 0.0)
