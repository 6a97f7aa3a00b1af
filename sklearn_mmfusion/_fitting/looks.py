"""Other parts of the same rows to train on, and to judge by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._fitting.data import FitInput
from sklearn_mmfusion._fitting.wild_rows import without_wild_rows
from sklearn_mmfusion._model.seeds import seed_for
from sklearn_mmfusion._rows.splitting import Rows, Split

__all__ = ["Looks", "taken"]

Floats = npt.NDArray[np.float64]
Splitter = Callable[[FitInput, float, int], "Split | None"]


class Looks:
    """Splits of rows, each of which holds out rows that none before it did.

    Parameters
    ----------
    whole : FitInput
        Rows.
    first : Split
        The first split.
    fraction : float
        Share of all rows that each holds out.
    seed : int
        Seed.
    split : callable
        Splits rows by a fraction and a seed; None where there are too few.

    Attributes
    ----------
    n_parts : int
        Number of parts that could be held out, the first included.
    """

    def __init__(
        self, whole: FitInput, first: Split, fraction: float, seed: int, split: Splitter
    ) -> None:
        self.n_parts = int(1 / fraction + 1e-9)
        self._whole, self._fraction, self._seed, self._split = whole, fraction, seed, split
        self._fresh, self._fresh_weight = first.kept, first.kept_weight
        self._used, self._used_weight = first.held, first.held_weight
        self._n_seen = 1

    def next(self) -> tuple[FitInput, FitInput] | None:
        """Return rows to train on and rows held out; None where there are too few of the latter."""
        split = self._split_fresh()
        if split is None:
            return None
        held = self._fresh[split.held], split.held_weight
        left = self._fresh[split.kept], split.kept_weight
        kept = _joined(left, (self._used, self._used_weight))
        self._used, self._used_weight = _joined((self._used, self._used_weight), held)
        self._fresh, self._fresh_weight = left
        self._n_seen += 1
        return taken(self._whole, Split(kept[0], held[0], kept[1], held[1]))

    def _split_fresh(self) -> Split | None:
        """Split the rows that have not been held out; the last look takes all of them."""
        left = 1 - self._n_seen * self._fraction
        if self._fraction > left - 1e-9:
            every, weight = np.arange(len(self._fresh)), self._fresh_weight
            return Split(every[:0], every, None if weight is None else weight[:0], weight)
        fresh = self._whole.take(self._fresh, self._fresh_weight)
        seed = seed_for(self._seed, "look", str(self._n_seen))
        return self._split(fresh, self._fraction / left, seed)


def taken(whole: FitInput, split: Split) -> tuple[FitInput, FitInput]:
    """Return the rows of a split, those held out without wild ones."""
    kept = whole.take(split.kept, split.kept_weight)
    return kept, without_wild_rows(kept, whole.take(split.held, split.held_weight))


def _joined(
    one: tuple[Rows, Floats | None], two: tuple[Rows, Floats | None]
) -> tuple[Rows, Floats | None]:
    rows = np.concatenate([one[0], two[0]])
    order = np.argsort(rows, kind="stable")
    if one[1] is None or two[1] is None:
        return rows[order], None
    return rows[order], np.concatenate([one[1], two[1]])[order]
