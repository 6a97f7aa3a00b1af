"""A multilinear function of listed rows, where the same row of a modality comes many times.

Permutations hold every row of a modality as often as there are of them. What depends on that row
alone is computed once, and each of the combinations that have it costs a modality less.

Letters: n combination, u row that comes in some, c combination of such a row, d feature, h output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sklearn_mmfusion.inspection._buffers import Buffers
from sklearn_mmfusion.inspection._products import Product, products_of

__all__ = ["grouped", "grouped_contraction"]

Index = npt.NDArray[np.intp]

_VALUES = 2**16  # numbers of what the rows of a modality make of the weight: 512 KB, within a cache
_FEWEST = 3  # combinations per row from which it pays


def grouped(column: Index) -> tuple[Index, Index] | None:
    """Return the rows that a column holds, (u,), and where each of them stands, (u, c).

    Rows that stand in fewer places than others have one of theirs several times. None where rows
    come too seldom, or some much more often than others.
    """
    counts = np.bincount(column)
    rows = np.flatnonzero(counts)
    counts = counts[rows]
    most = int(counts.max())
    if len(column) < _FEWEST * len(rows) or most * len(rows) > 2 * len(column):
        return None
    starts = np.cumsum(counts) - counts
    places = starts[:, None] + np.minimum(np.arange(most), counts[:, None] - 1)
    return rows, np.argsort(column)[places]


def grouped_contraction(
    core: Tensor, factors: Sequence[Tensor], rows: Product, then: Callable[[Tensor], Tensor]
) -> Tensor | None:
    """Return what is made of a multilinear function of a list of rows, (n, k).

    See :func:`~sklearn_mmfusion.inspection._gathering.contracted` for the parameters. None where
    the rows of no modality come often enough.
    """
    first = max(range(len(factors)), key=lambda m: factors[m].shape[1])
    found = grouped(rows.rows[first]) if len(factors) > 1 else None
    if found is None:
        return None
    own, places = found
    others = [m for m in range(len(factors)) if m != first]
    weight = core.movedim(first, 0).flatten(1)
    width = core.shape[-1]
    outputs: Tensor | None = None
    buffers = Buffers()
    step = max(1, min(_VALUES // weight.shape[1], _VALUES // (places.shape[1] * width)))
    for start in range(0, len(own), step):
        some = places[start : start + step]
        vectors = factors[first].index_select(0, torch.from_numpy(own[start : start + step]))
        met = torch.mm(vectors, weight, out=buffers.take("met", len(some), weight.shape[1]))
        met = met.view(len(some), -1, width)
        theirs = [
            factors[m].index_select(0, torch.from_numpy(rows.rows[m][some.ravel()])) for m in others
        ]
        product = products_of(theirs).view(len(some), -1, met.shape[1])
        values = buffers.take("values", len(some), places.shape[1], width)
        made = then(torch.bmm(product, met, out=values).view(-1, width))
        if outputs is None:
            outputs = made.new_empty(math.prod(rows.shape), made.shape[1])
        outputs[torch.from_numpy(some.ravel())] = made
    return outputs
