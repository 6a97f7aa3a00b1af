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
from itertools import product as all_pairs

import numpy as np
import numpy.typing as npt

__all__ = ["Product", "grid", "listed"]

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


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
            np.broadcast_to(_along(rows, axis, len(self.shape)), self.shape).ravel()
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
        kept = {self.axes[m] for m in members}
        shape = [n if axis in kept else 1 for axis, n in enumerate(self.shape)]
        return values.reshape(*shape, values.shape[-1])

    def blocks(self, limit: int) -> Iterator[tuple[tuple[slice, ...], Product]]:
        """Yield parts of at most ``limit`` combinations, and where they lie.

        Their sides are as even as can be: what is computed for each position of an axis is
        computed again for every block along the others.
        """
        sides = list(self.shape)
        while math.prod(sides) > max(1, limit):
            longest = sides.index(max(sides))
            sides[longest] = -(-sides[longest] // 2)
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


def _along(rows: Index, axis: int, n_axes: int) -> Index:
    return rows.reshape([-1 if a == axis else 1 for a in range(n_axes)])
