"""What row weights stand for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["is_whole", "n_counted"]

Floats = npt.NDArray[np.float64]


def is_whole(weight: Floats) -> bool:
    """Whether weights are whole numbers, which count repetitions of their rows."""
    return bool((weight == np.round(weight)).all())


def n_counted(weight: Floats | None, n: int) -> float:
    """Rows that weights stand for: whole numbers count repetitions, others Kish's size."""
    if weight is None:
        return float(n)
    if is_whole(weight):
        return float(weight.sum())
    part = weight / weight.max()  # the square of 1e-200 is 0
    return float(part.sum() ** 2 / np.square(part).sum())
