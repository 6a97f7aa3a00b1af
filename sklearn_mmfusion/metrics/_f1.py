"""The F1 score that the papers report, and the checks that all metrics share."""

from typing import Any

from numpy.typing import NDArray
from sklearn.metrics import f1_score

__all__ = ["ARRAYS", "weighted_f1"]

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
