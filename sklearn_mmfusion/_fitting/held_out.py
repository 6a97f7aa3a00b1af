"""An additive model on rows that it has not seen.

Contributions are those of any estimator with ``contributions``, ``term_names_`` and ``intercept_``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._fitting.recombination import Recombination, weighted_std
from sklearn_mmfusion._inputs.validation import check_sample_weight
from sklearn_mmfusion._inputs.validation_targets import check_target_names
from sklearn_mmfusion._rows.weights import n_counted
from sklearn_mmfusion.data import ModalityFrame

__all__ = ["HeldOut", "check_additive", "row_frame", "step_remedy"]

Floats = npt.NDArray[np.float64]


def check_additive(estimator: Any, *, fitted: bool = True) -> None:
    """Refuse estimators whose output is no sum of contributions."""
    if not hasattr(estimator, "contributions"):
        raise InputTypeError(
            f"{type(estimator).__name__} has no contributions; expected an additive estimator "
            "such as InTenseClassifier, MNLRegressor, RoutingClassifier or MKLClassifier"
            f"{step_remedy(estimator, fitted=fitted)}"
        )


def step_remedy(estimator: Any, *, fitted: bool) -> str:
    """Return what to do with a Pipeline that an estimator is expected in place of; else "".

    Steps that are fitted must not be fitted again: to new rows, the last one does not belong.
    """
    if not hasattr(estimator, "steps"):
        return ""
    remedy = (
        "; of a Pipeline pass the last step, and what the steps before make of X: pipeline[-1] and "
        f"pipeline[:-1].{'transform' if fitted else 'fit_transform'}(X)"
    )
    return remedy if fitted else f"{remedy}, which learn from all rows then, outside the splits"


def row_frame(X: Any) -> Any:
    """Return X in a form whose rows scikit-learn can take."""
    return ModalityFrame(X) if isinstance(X, Mapping) and not hasattr(X, "iloc") else X


class HeldOut(Recombination):
    """Contributions of a fitted estimator on some rows, with their target.

    Parameters
    ----------
    estimator : fitted additive estimator
        The model.
    X, y : object
        Rows and target in the form of ``fit``; y may be None where only ``contributions`` are
        asked for.
    sample_weight : array-like of shape (n_samples,) or None
        Row weights.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> None:
        check_additive(estimator)
        check_is_fitted(estimator)
        contributions = np.asarray(estimator.contributions(X), dtype=np.float64)
        n, _, n_outputs = contributions.shape
        weight = check_sample_weight(sample_weight, n_samples=n)
        counted = n_counted(weight, n)
        weight = np.ones(n) if weight is None else weight
        share: Floats = weight / weight.sum()
        intercept = np.asarray(estimator.intercept_, dtype=np.float64).reshape(n_outputs)
        response: Floats | None = None
        kind = "regression"
        if is_classifier(estimator):
            kind = _label_kind(estimator, n_outputs, y)
        if y is not None:
            target = getattr(estimator, "_target", None)  # of our own estimators
            if target is not None:
                check_target_names(y, target)
            array = np.asarray(y)
            if len(array) != n:
                raise InputError(f"X has {n} samples, y has {len(array)}")
            response = _response(estimator, kind, array, n_outputs)
        if kind == "multiclass":
            contributions = contributions - contributions.mean(axis=2, keepdims=True)
            intercept = intercept - intercept.mean()
        elif kind == "regression":
            outputs = contributions.sum(axis=1) + intercept
            scale = weighted_std(outputs if response is None else response, share)
            scale = np.where(scale > 0, scale, 1.0)
            contributions, intercept = contributions / scale, intercept / scale
            response = None if response is None else response / scale
        super().__init__(kind, contributions, response, intercept, share, counted)


def _label_kind(estimator: Any, n_outputs: int, y: Any) -> str:
    if y is not None and np.ndim(y) == 2 and np.shape(y)[1] > 1:
        return "multilabel"
    schema = getattr(estimator, "_target", None)  # of our own estimators
    if schema is not None:
        return str(schema.kind)
    return "binary" if n_outputs == 1 else "multiclass"


def _response(estimator: Any, kind: str, y: npt.NDArray[Any], n_outputs: int) -> Floats:
    """Return the target as (n_samples, n_outputs)."""
    if kind in ("binary", "multiclass"):
        labels = y.reshape(len(y))
        classes = estimator.classes_
        unknown = np.setdiff1d(np.unique(labels), classes)
        if len(unknown):
            raise InputError(
                f"y: labels {unknown.tolist()} were not there in fit; known are {classes.tolist()}"
            )
        return (labels[:, None] == (classes[1:] if kind == "binary" else classes)).astype(float)
    response = y.astype(np.float64).reshape(len(y), -1)
    if response.shape[1] != n_outputs:
        raise InputError(f"y has {response.shape[1]} columns; the estimator predicts {n_outputs}")
    if not np.isfinite(response).all():
        row = int(np.flatnonzero(~np.isfinite(response).all(axis=1))[0])
        raise InputError(
            f"y contains NaN or infinity, first in row {row}; leave out the rows without a target"
        )
    return response
