"""Scores of many predictions of the same rows.

A scorer of scikit-learn looks at the target anew in every call, which takes it longer than to
count; the target of a permutation is always the same.

Letters: n row, s score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from sklearn_mmfusion.inspection._response import Response, predict_outputs

__all__ = ["ManyScores", "many_scores", "score_name"]

Floats = npt.NDArray[np.float64]
# Outputs of one set of rows below the other -> a score for each set.
ManyScores = Callable[[Floats], list[float]]
_TOLERANCE = 1e-12


def many_scores(
    response: Response, scoring: Any, y: Any, sample_weight: Any, one: Callable[[Floats], float]
) -> ManyScores:
    """Return a function that scores several outputs of the same rows.

    Parameters
    ----------
    response : Response
        What the outputs are.
    scoring : str or None
        What the user asked for; None is the estimator's ``score``.
    y, sample_weight : array-like
        Target and weights of the rows.
    one : callable
        The scorer of one set of outputs. It is asked for the first set in any case, and so checks
        the target, and for the others where it says something else of the first than the formula
        does, or where no formula is known.
    """
    formula = _FORMULAS.get(score_name(response.estimator, scoring))
    target = np.asarray(y)

    def scores(outputs: Floats) -> list[float]:
        parts = np.split(outputs, len(outputs) // len(target))
        first = one(parts[0])
        if formula is not None and target.ndim == 1 and len(parts) > 1:
            predictions = predict_outputs(response, outputs)
            if predictions.ndim == 1:
                found = formula(target, predictions.reshape(len(parts), -1), sample_weight)
                if abs(found[0] - first) <= _TOLERANCE * max(1.0, abs(first)):
                    return [first, *found[1:].tolist()]
        return [first, *map(one, parts[1:])]

    return scores


def score_name(estimator: Any, scoring: Any) -> str | None:
    """Return the name of a score, also where it is the estimator's own; None if it is unknown.

    A Pipeline and a search are scored as what they end in, a search by the score it went by.
    """
    while scoring is None and not isinstance(estimator, ClassifierMixin | RegressorMixin):
        if hasattr(estimator, "best_estimator_"):
            estimator, scoring = estimator.best_estimator_, estimator.scoring
        elif hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        else:
            return None
    if scoring is not None:
        return scoring if isinstance(scoring, str) else None
    own = type(estimator).score
    if own is ClassifierMixin.score:
        return "accuracy"
    return "r2" if own is RegressorMixin.score else None


def _accuracy(y: Any, predictions: Any, weight: Any) -> Floats:
    found: Floats = np.average(predictions == y, axis=1, weights=weight)
    return found


def _of_columns(metric: Callable[..., Any], sign: float) -> Callable[[Any, Any, Any], Floats]:
    """Return a metric of scikit-learn that takes many predictions for many targets."""

    def formula(y: Any, predictions: Any, weight: Any) -> Floats:
        targets = np.broadcast_to(y, predictions.shape).T
        found = metric(targets, predictions.T, sample_weight=weight, multioutput="raw_values")
        return sign * np.asarray(found, dtype=np.float64)

    return formula


# (n,) targets, (s, n) predictions, weights -> (s,) scores
_FORMULAS: dict[str | None, Callable[[Any, Any, Any], Floats]] = {
    "accuracy": _accuracy,
    "r2": _of_columns(r2_score, 1.0),
    "neg_mean_squared_error": _of_columns(mean_squared_error, -1.0),
    "neg_mean_absolute_error": _of_columns(mean_absolute_error, -1.0),
}
