"""A part of a model: a function of the rows of some modalities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Part", "table_part"]

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
        (n, n_members) rows -> (n, n_outputs).
    chunk_rows : int
        Combinations to compute at a time.
    """

    members: tuple[int, ...]
    compute: Callable[[Index], Floats]
    chunk_rows: int = 2**16

    def evaluate(self, index: Index) -> Floats:
        """Return the values of any number of combinations, in chunks."""
        if len(index) <= self.chunk_rows:
            return self.compute(index)
        starts = range(0, len(index), self.chunk_rows)
        return np.concatenate([self.compute(index[s : s + self.chunk_rows]) for s in starts])


def table_part(member: int, table: Floats) -> Part:
    """Return the part of one modality whose value is known for every row."""
    return Part((member,), lambda index: table[index[:, 0]], 2**20)
