"""Pearson's correlation with weights, and what counts as constant."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["weighted_correlation"]

# A deviation below this share of the largest value is round-off, and the values are constant.
_ROUND_OFF = 1e-14


def weighted_correlation(
    true: NDArray[Any], predicted: NDArray[Any], weights: NDArray[Any]
) -> float | None:
    """Return the correlation of two columns, from -1 to 1; None if one of them is constant.

    Rows of weight 0 do not matter, whatever they hold.
    """
    counted = weights != 0
    weights = weights[counted]
    units = []
    for values in (true[counted], predicted[counted]):
        scaled = values / (np.abs(values).max() or 1.0)  # squares of huge values would overflow
        centred = scaled - np.average(scaled, weights=weights)
        norm = np.sqrt(np.average(centred**2, weights=weights))
        if norm <= _ROUND_OFF:
            return None
        units.append(centred / norm)
    return float(np.clip(np.average(units[0] * units[1], weights=weights), -1, 1))
