"""All combinations of some choices of rows: an index that nobody has to write out.

Expectations ask for a model's outputs at every pair of an explained row and a draw, or on a whole
grid. What depends on one axis of such a product is computed once for each of its positions, and
not for every combination.

Letters: i position along an axis, m modality.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product as all_pairs
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["Product", "grid", "laid", "listed", "products_of"]

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Values = TypeVar("Values", npt.NDArray[Any], Tensor)


@dataclass(frozen=True)
class Product:
    """Combinations of rows along some axes.

    Attributes
    ----------
    shape : tuple of int
        Lengths of the axes.
    axes : tuple of int
        Axis of each modality; those of one axis change rows together.
    rows : tuple of ndarray of int
        Rows of each modality along its axis.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    rows: tuple[Index, ...]

    def members(self, axis: int) -> list[int]:
        """Return the modalities of an axis."""
        return [m for m, a in enumerate(self.axes) if a == axis]

    def written_out(self) -> Index:
        """Return the index itself, (n_combinations, n_modalities), the last axis fastest."""
        columns = [
            np.broadcast_to(laid(rows, (axis,), len(self.shape)), self.shape).ravel()
            for axis, rows in zip(self.axes, self.rows, strict=True)
        ]
        return np.stack(columns, 1)

    def of(self, members: Sequence[int]) -> Product:
        """Return the combinations of some modalities, along the axes that they have."""
        kept = sorted({self.axes[m] for m in members})
        return Product(
            tuple(self.shape[axis] for axis in kept),
            tuple(kept.index(self.axes[m]) for m in members),
            tuple(self.rows[m] for m in members),
        )

    def spread(self, members: Sequence[int], values: Floats) -> Floats:
        """Return values of the combinations of some modalities so that they broadcast to all."""
        return laid(values, sorted({self.axes[m] for m in members}), len(self.shape))

    def blocks(
        self, limit: int, longest: int | None = None, *, keeps_rows: bool = False
    ) -> Iterator[tuple[tuple[slice, ...], Product]]:
        """Yield parts of at most ``limit`` combinations, and where they lie.

        None of their sides is longer than ``longest``, where that is given.
        Their sides are as even as can be: what is computed for each position of an axis is
        computed again for every block along the others. With ``keeps_rows``, blocks of two axes
        have all of the last one, as long as they can: its numbers lie side by side.
        """
        sides = list(self.shape)
        longest = longest or max(sides)
        if keeps_rows and len(sides) == 2 and sides[1] <= limit:
            n_blocks = -(-sides[0] // (limit // sides[1]))
            sides[0] = -(-sides[0] // n_blocks)
        while math.prod(sides) > max(1, limit) or max(sides) > longest:
            axis = sides.index(max(sides))
            sides[axis] = -(-sides[axis] // 2)
        if tuple(sides) == self.shape:
            yield (slice(None),) * len(sides), self
            return
        starts = (range(0, n, side) for n, side in zip(self.shape, sides, strict=True))
        for corner in all_pairs(*starts):
            where = tuple(
                slice(start, min(start + side, n))
                for start, side, n in zip(corner, sides, self.shape, strict=True)
            )
            rows = tuple(r[where[a]] for a, r in zip(self.axes, self.rows, strict=True))
            yield where, Product(tuple(s.stop - s.start for s in where), self.axes, rows)


def grid(rows: Sequence[Index]) -> Product:
    """Return all combinations of the rows of each modality."""
    return Product(tuple(map(len, rows)), tuple(range(len(rows))), tuple(rows))


def listed(index: Index) -> Product:
    """Return the combinations of an index, (n, n_modalities), along one axis."""
    columns = np.ascontiguousarray(index.T)
    return Product((len(index),), (0,) * len(columns), tuple(columns))


def laid(values: Values, axes: Sequence[int], n_axes: int, before: int = 0) -> Values:
    """Return values along some axes so that they broadcast along all axes of a product.

    Parameters
    ----------
    values : ndarray or Tensor of shape (*before, *axes, ...)
        Values.
    axes : sequence of int
        Ascending axes that they are along.
    n_axes : int
        Number of axes of the product.
    before : int, default=0
        Number of dimensions that come before those of the product.
    """
    if len(axes) == n_axes:
        return values
    after: int = before + len(axes)
    lengths = dict(zip(axes, values.shape[before:after], strict=True))
    along: list[int] = [lengths.get(axis, 1) for axis in range(n_axes)]
    return values.reshape([*values.shape[:before], *along, *values.shape[after:]])


def products_of(vectors: Sequence[Tensor]) -> Tensor:
    """Return the products of all elements of vectors, (n, d) each, (n, product of d)."""
    return reduce(lambda one, other: (one[:, :, None] * other[:, None, :]).flatten(1), vectors)
