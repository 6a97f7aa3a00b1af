"""How modalities meet: sums and products over the members of a term, for a product of rows.

Letters: n row, d feature of a member, h hidden unit; shape: axes of a product of rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from sklearn_mmfusion.inspection._products import Product, laid
from sklearn_mmfusion.modules.term_vectors import TermVectors

_VALUES = 2**18  # numbers of the products of the vectors of an axis: 2 MB, about a cache

__all__ = ["axis_masks", "axis_sums", "contracted", "gathered_sum", "hidden_inputs", "together"]


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


def axis_sums(inputs: Sequence[Tensor], rows: Product, bias: Tensor) -> list[Tensor]:
    """Return what the members of each axis add up to, (n, h) each; a bias is with the first."""
    sums = []
    for axis in range(len(rows.shape)):
        total, *others = (inputs[m][torch.from_numpy(rows.rows[m])] for m in rows.members(axis))
        for part in (*others, *[bias] * (axis == 0)):
            total += part
        sums.append(total)
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
        mine = [(masks[m], torch.from_numpy(rows.rows[m])) for m in rows.members(axis)]
        parts = [mask[row] for mask, row in mine if mask is not None]
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


def contracted(core: Tensor, factors: Sequence[Tensor], rows: Product) -> Tensor:
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
    """
    n_axes = len(rows.shape)
    order = sorted(range(n_axes), key=lambda axis: -len(rows.members(axis)))
    met = core.permute([m for axis in order for m in rows.members(axis)] + [core.ndim - 1])[None]
    n_met = 1
    for axis in order:
        own = [factors[m][torch.from_numpy(rows.rows[m])] for m in rows.members(axis)]
        met = _meet(own, met.reshape(n_met, math.prod(vector.shape[1] for vector in own), -1))
        n_met *= rows.shape[axis]
    met = met.reshape(*(rows.shape[axis] for axis in order), -1)
    return met.permute([order.index(axis) for axis in range(n_axes)] + [n_axes])


def _meet(vectors: Sequence[Tensor], met: Tensor) -> Tensor:
    """Return products of what has been met, (b, product of d, r), with an axis, (b, n, r)."""
    step = max(1, _VALUES // met.shape[1])
    pieces = []
    for some in zip(*(vector.split(step) for vector in vectors), strict=True):
        product = some[0]
        for vector in some[1:]:
            product = (product[:, :, None] * vector[:, None, :]).flatten(1)
        pieces.append(torch.bmm(product.expand(len(met), -1, -1), met))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)
