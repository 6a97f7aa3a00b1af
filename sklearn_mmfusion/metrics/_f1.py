"""The F1 score that the papers report, and the checks that all metrics share."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import f1_score
from sklearn.utils.validation import _check_sample_weight

from sklearn_mmfusion._errors import InputError

__all__ = ["ARRAYS", "weighted_f1", "weighted_rows"]

# Constraints of the parameters.
ARRAYS: dict[str, list[Any]] = {
    "y_true": ["array-like"],
    "y_pred": ["array-like"],
    "sample_weight": ["array-like", None],
}


def weighted_f1(true: NDArray[Any], predicted: NDArray[Any], weights: NDArray[Any]) -> float:
    """Return the mean F1 score of True and False, weighted by their frequency in `true`."""
    return float(
        f1_score(true, predicted, average="weighted", sample_weight=weights, zero_division=0.0)
    )


def weighted_rows(
    true: NDArray[Any], predicted: NDArray[Any], sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return targets, predictions and weights without the rows of weight 0.

    Raises
    ------
    InputError
        If no row is left.
    """
    # Before scikit-learn's check, which refuses them in its newer versions alone.
    if sample_weight is not None and not np.any(sample_weight):
        raise InputError("sample_weight: all weights are 0; expected a positive one at least")
    weights = _check_sample_weight(sample_weight, np.empty((len(true), 0)))
    counted = weights != 0
    return true[counted], predicted[counted], weights[counted]
