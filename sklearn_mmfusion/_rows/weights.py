"""What row weights stand for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["is_whole", "n_counted", "n_counted_by_class"]

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
    return _kish(weight)


def n_counted_by_class(weight: Floats | None, classes: npt.NDArray[np.int64]) -> Floats:
    """Rows of each class (n_classes,) that weights stand for, by one rule for all of them."""
    if weight is None or is_whole(weight):
        return np.bincount(classes, weight).astype(np.float64)
    counts = np.zeros(int(classes.max(initial=-1)) + 1)
    for label in np.unique(classes[weight > 0]):
        counts[label] = _kish(weight[classes == label])
    return counts


def _kish(weight: Floats) -> float:
    part = weight / weight.max()  # the square of 1e-200 is 0
    return float(part.sum() ** 2 / np.square(part).sum())
