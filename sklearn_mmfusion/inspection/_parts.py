"""A part of a model: a function of the rows of some modalities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion.inspection._products import Product, listed

__all__ = ["Part", "index_part", "table_part"]

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """A function of the rows of some modalities.

    Attributes
    ----------
    members : tuple of int
        Positions of the modalities that it reads.
    compute : callable
        Product of rows of the members -> (*shape, n_outputs).
    chunk_rows : int
        Combinations to compute at a time.
    """

    members: tuple[int, ...]
    compute: Callable[[Product], Floats]
    chunk_rows: int = 2**16

    def evaluate(self, index: Index) -> Floats:
        """Return the values of any number of combinations, (n, n_members) -> (n, n_outputs)."""
        return self.evaluate_product(listed(index))

    def evaluate_product(self, product: Product) -> Floats:
        """Return the values of all combinations, (*shape, n_outputs), in chunks."""
        found: Floats | None = None
        for where, block in product.blocks(self.chunk_rows):
            values = self.compute(block)
            if block is product:
                return values
            if found is None:
                found = np.empty((*product.shape, values.shape[-1]))
            found[where] = values
        assert found is not None  # there is at least one combination
        return found


def index_part(
    members: tuple[int, ...], compute: Callable[[Index], Floats], chunk_rows: int = 2**16
) -> Part:
    """Return the part of a function that has to see every combination written out."""

    def of_product(product: Product) -> Floats:
        values = compute(product.written_out())
        return values.reshape(*product.shape, values.shape[-1])

    return Part(members, of_product, chunk_rows)


def table_part(member: int, table: Floats) -> Part:
    """Return the part of one modality whose value is known for every row."""
    return Part((member,), lambda product: table[product.rows[0]], 2**20)
