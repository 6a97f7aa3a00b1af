"""The fitted estimator inside pipelines and searches, and the rows that reach it."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._errors import InputTypeError

__all__ = ["check_will_have", "unwrap"]


def unwrap(estimator: Any, X: Any = None, *, attribute: str) -> tuple[Any, Any]:
    """Return the fitted estimator that has an attribute, and the X that reaches it.

    Parameters
    ----------
    estimator : fitted estimator
        An estimator with the attribute, or a Pipeline or a search that ends in one.
    X : object, default=None
        Rows for the outermost estimator; the steps of pipelines transform them.
    attribute : str
        Name of a method or a fitted attribute.

    Raises
    ------
    InputTypeError
        If there is no estimator with that attribute.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    """
    while not hasattr(estimator, attribute):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            if X is not None and len(estimator.steps) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator.steps[-1][1]
        else:
            if hasattr(estimator, "fit"):
                check_is_fitted(estimator)
            raise _lacks(estimator, attribute)
    check_is_fitted(estimator)
    return estimator, X


def check_will_have(estimator: Any, *, method: str) -> None:
    """Refuse an estimator, fitted or not, in which there is none with a method.

    Raises
    ------
    InputTypeError
        If there is no estimator with that method.
    """
    while not hasattr(estimator, method):
        if hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "estimator"):
            estimator = estimator.estimator
        else:
            raise _lacks(estimator, method)


def _lacks(estimator: Any, attribute: str) -> InputTypeError:
    return InputTypeError(
        f"{type(estimator).__name__} has no {attribute}; expected a fitted estimator of this "
        "package that has it, or a Pipeline or search that ends in one."
    )
