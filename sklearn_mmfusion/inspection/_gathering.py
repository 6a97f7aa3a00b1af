"""How modalities meet: sums and products over the members of a term, for a product of rows.

Letters: n row, d feature of a member, h hidden unit; shape: axes of a product of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor

from sklearn_mmfusion.inspection._buffers import Buffers
from sklearn_mmfusion.inspection._grouping import grouped_contraction
from sklearn_mmfusion.inspection._products import Product, laid, products_of
from sklearn_mmfusion.modules.term_vectors import TermVectors

_VALUES = 2**18  # numbers of the products of the vectors of an axis: 2 MB, about a cache
_BLOCK_VALUES = 2**16  # numbers of what the next step overwrites: 512 KB, within a cache

__all__ = [
    "all_hidden_inputs",
    "axis_masks",
    "axis_sums",
    "chosen",
    "contracted",
    "gathered_sum",
    "hidden_inputs",
    "together",
]


def hidden_inputs(features: TermVectors, encodings: Sequence[Tensor], t: int) -> list[Tensor]:
    """Return what each member of a term adds to its hidden layer, (n, h) each."""
    inputs = []
    for m in features.terms[t]:
        mine = [i for i, term in enumerate(features.terms) if m in term]
        width = features.hidden_dim
        start = mine.index(t) * width
        h = features.norms[m](encodings[m])
        linear = features.maps[str(m)]
        weight: Tensor = linear.weight[start : start + width]  # type: ignore[index]
        inputs.append((h * math.sqrt(h.shape[1])) @ weight.T)
    return inputs


def all_hidden_inputs(features: TermVectors, encodings: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the same for every term, with a unit of 0 at the end, (n, h + 1) each.

    A modality is normalised and mapped once for all its terms.
    """
    parts: dict[tuple[int, int], Tensor] = {}
    for m in (int(key) for key in features.maps):
        mine = [t for t, term in enumerate(features.terms) if m in term]
        h = features.norms[m](encodings[m])
        mapped = features.maps[str(m)](h * math.sqrt(h.shape[1]))
        wider = torch.nn.functional.pad(mapped.unflatten(1, (len(mine), -1)), (0, 1))
        parts |= {(t, m): part for t, part in zip(mine, wider.unbind(1), strict=True)}
    return [[parts[t, m] for m in term] for t, term in enumerate(features.terms)]


def chosen(values: Tensor, rows: Product, m: int) -> Tensor:
    """Return values of the rows of a modality, (n, ...), along its axis."""
    return values.index_select(0, torch.from_numpy(rows.rows[m]))  # faster than by an index


def axis_sums(inputs: Sequence[Tensor], rows: Product, bias: Tensor) -> list[Tensor]:
    """Return what the members of each axis add up to, (n, h) each; a bias is with the first."""
    sums = []
    for axis in range(len(rows.shape)):
        total, *others = (chosen(inputs[m], rows, m) for m in rows.members(axis))
        for part in others:
            total += part
        sums.append(total)
    sums[0] += bias
    return sums


def gathered_sum(inputs: Sequence[Tensor], rows: Product, bias: Tensor) -> Tensor:
    """Return a bias and what each member adds to it, (*shape, h).

    Members of one axis are added up along it alone, before axes meet.
    """
    sums = enumerate(axis_sums(inputs, rows, bias))
    return reduce(torch.add, (laid(part, (axis,), len(rows.shape)) for axis, part in sums))


def axis_masks(masks: Sequence[Tensor | None], rows: Product) -> list[Tensor | None]:
    """Return where the members of each axis are there, (n,) each; None: everywhere."""
    found: list[Tensor | None] = []
    for axis in range(len(rows.shape)):
        mine = [(masks[m], m) for m in rows.members(axis)]
        parts = [chosen(mask, rows, m) for mask, m in mine if mask is not None]
        found.append(reduce(torch.logical_and, parts) if parts else None)
    return found


def together(masks: Sequence[Tensor | None], rows: Product) -> Tensor | None:
    """Return the combinations in which all members are there, (*shape); None: all of them."""
    n_axes = len(rows.shape)
    parts = [
        laid(mask, (axis,), n_axes)
        for axis, mask in enumerate(axis_masks(masks, rows))
        if mask is not None
    ]
    return reduce(torch.logical_and, parts).expand(rows.shape) if parts else None


def contracted(
    core: Tensor,
    factors: Sequence[Tensor],
    rows: Product,
    then: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    r"""Return a multilinear function of one vector per member, (*shape, h).

    .. math:: y_h = \sum_{i, j, \dots} W_{ij \dots h}\, a_i\, b_j \cdots

    The weight meets one axis of the product after the other, so that a combination costs as much
    as the last of them: that with the fewest members.

    Parameters
    ----------
    core : Tensor of shape (d_1, ..., d_m, h)
        Weight.
    factors : sequence of Tensor of shape (n, d)
        Vectors of all rows of each member.
    rows : Product
        Rows of the members.
    then : callable, default=None
        What to make of the function, (n, h) -> (n, k), before the next block of combinations
        overwrites it; the result is of shape (*shape, k).
    """
    n_axes = len(rows.shape)
    if n_axes == 1 and then is not None:
        by_groups = grouped_contraction(core, factors, rows, then)
        if by_groups is not None:
            return by_groups
    order = sorted(range(n_axes), key=lambda axis: -len(rows.members(axis)))
    met = core.permute([m for axis in order for m in rows.members(axis)] + [core.ndim - 1])[None]
    n_met = 1
    for axis in order:
        own = [chosen(factors[m], rows, m) for m in rows.members(axis)]
        met = met.reshape(n_met, math.prod(vector.shape[1] for vector in own), -1)
        is_last = axis == order[-1]
        met = _meet(own, met) if then is None or not is_last else _meet_in_blocks(own, met, then)
        n_met *= rows.shape[axis]
    met = met.reshape(*(rows.shape[axis] for axis in order), -1)
    return met.permute([order.index(axis) for axis in range(n_axes)] + [n_axes])


def _meet(vectors: Sequence[Tensor], met: Tensor) -> Tensor:
    """Return products of what has been met, (b, product of d, r), with an axis, (b, n, r)."""
    step = max(1, _VALUES // met.shape[1])
    pieces = []
    for some in zip(*(vector.split(step) for vector in vectors), strict=True):
        pieces.append(torch.bmm(products_of(some).expand(len(met), -1, -1), met))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)


def _meet_in_blocks(
    vectors: Sequence[Tensor], met: Tensor, then: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return what is made of these products, (b, n, k), a block of them at a time."""
    n, width = len(vectors[0]), met.shape[2]
    limit = max(1, _BLOCK_VALUES // max(met.shape[1:]))
    buffers = Buffers()
    found: Tensor | None = None
    for start in range(0, n, limit):
        own = slice(start, min(start + limit, n))
        product = products_of([vector[own] for vector in vectors])
        step = max(1, limit // len(product))
        for first in range(0, len(met), step):
            some = met[first : first + step]
            values = buffers.take("values", len(some), len(product), width)
            torch.bmm(product.expand(len(some), -1, -1), some, out=values)
            made = then(values.view(-1, width)).view(len(some), len(product), -1)
            if found is None:
                found = made.new_empty(len(met), n, made.shape[2])
            found[first : first + step, own] = made
    assert found is not None  # there is a combination
    return found
