"""Classifiers of several labels, made of those that take one, and fits to what there is of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from sklearn_mmfusion._stacking.weighted_fits import fit_weighted

__all__ = ["LabelsThatVary", "PerLabel", "estimator_type", "fit_to_target", "shown_name"]

Floats = npt.NDArray[np.float64]


def _has(method: str) -> Any:
    return available_if(lambda self: hasattr(self.estimator, method))


class _LabelClassifier(BaseEstimator):
    """What both have in common: labels that do not vary, of which nothing is learned."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def _answers(self, method: str, X: Any) -> Floats:
        """Return what a method says of the labels that vary, (n_samples, n_varying)."""
        raise NotImplementedError  # pragma: no cover - each of the two has its own

    def _set_constants(self, y: npt.NDArray[Any]) -> None:
        self.varies_ = (y != y[0]).any(0)
        self.constants_ = y[0].astype(np.float64)

    def _whole(self, method: str, X: Any, constants: Floats) -> Floats:
        whole = np.tile(constants, (len(X), 1))
        if self.varies_.any():
            whole[:, self.varies_] = self._answers(method, X)
        return whole

    @_has("predict_proba")
    def predict_proba(self, X: Any) -> Floats:
        """Probability of each label, (n_samples, n_labels)."""
        return self._whole("predict_proba", X, self.constants_)

    @_has("decision_function")
    def decision_function(self, X: Any) -> Floats:
        """Decision value of each label, (n_samples, n_labels); 0 where it does not vary."""
        return self._whole("decision_function", X, np.zeros_like(self.constants_))

    @_has("predict")
    def predict(self, X: Any) -> Floats:
        """Whether each label is there, (n_samples, n_labels)."""
        return self._whole("predict", X, self.constants_)


class PerLabel(_LabelClassifier):
    """One classifier for each label, for classifiers that take one target.

    Parameters
    ----------
    estimator : classifier
        Classifier of one label.
    """

    def fit(self, X: Any, y: npt.NDArray[Any], sample_weight: Floats | None = None) -> PerLabel:
        """Fit a clone to each column of y; a label that does not vary needs none."""
        self._set_constants(y)
        self.estimators_ = [
            fit_weighted(clone(self.estimator), X, column, sample_weight)
            for column in y[:, self.varies_].T
        ]
        return self

    def _answers(self, method: str, X: Any) -> Floats:
        found = [np.asarray(getattr(fitted, method)(X)) for fitted in self.estimators_]
        return np.column_stack([part if part.ndim == 1 else part[:, 1] for part in found])


class LabelsThatVary(_LabelClassifier):
    """One classifier for the labels that vary, for those that would refuse the others.

    Parameters
    ----------
    estimator : classifier
        Classifier of several labels.
    """

    def fit(
        self, X: Any, y: npt.NDArray[Any], sample_weight: Floats | None = None
    ) -> LabelsThatVary:
        """Fit a clone to the columns of y that vary, if there are any."""
        self._set_constants(y)
        if self.varies_.any():
            self.estimator_ = fit_weighted(
                clone(self.estimator), X, y[:, self.varies_], sample_weight
            )
        return self

    def _answers(self, method: str, X: Any) -> Floats:
        found = getattr(self.estimator_, method)(X)
        if isinstance(found, list):
            found = np.column_stack([part[:, 1] for part in found])
        # Of a single label some return both classes, and some a vector.
        n_varying = int(self.varies_.sum())
        return np.asarray(found, dtype=np.float64).reshape(len(X), -1)[:, -n_varying:]


def shown_name(estimator: Any) -> str:
    """Return the name by which the user knows an estimator."""
    if isinstance(estimator, _LabelClassifier):
        return shown_name(estimator.estimator)
    return type(estimator).__name__


def estimator_type(estimator: Any) -> str | None:
    """Return "classifier", "regressor", "clusterer" ...; None where an estimator does not say."""
    if not hasattr(estimator, "__sklearn_tags__"):  # no BaseEstimator
        return getattr(estimator, "_estimator_type", None)
    found: str | None = get_tags(estimator).estimator_type
    return found


def fit_to_target(
    estimator: Any,
    inputs: npt.NDArray[Any],
    y: npt.NDArray[Any],
    weight: Floats | None,
    kind: str,
    method: str,
) -> Any:
    """Fit an estimator, or what stands for it where it does not take such a target.

    Parameters
    ----------
    estimator : estimator
        A clone of the user's.
    inputs, y : ndarray
        What to fit it to.
    weight : ndarray of shape (n_samples,) or None
        Row weights.
    kind : str
        Kind of the target.
    method : str
        Method that will be asked of it, or "auto".

    Returns
    -------
    estimator
        The estimator itself, or :class:`PerLabel` or :class:`LabelsThatVary` of it; for rows of
        one class, of which there is nothing to learn, a DummyClassifier.
    """
    if estimator_type(estimator) == "classifier":
        if kind == "multilabel":
            estimator = _for_labels(estimator, y)
        elif (y == y[0]).all() and _says_classes(estimator, method):
            return DummyClassifier().fit(inputs, y)
    return fit_weighted(estimator, inputs, y, weight)


def _says_classes(estimator: Any, method: str) -> bool:
    if method == "auto":
        return hasattr(estimator, "predict_proba")
    return method in ("predict_proba", "predict")


def _for_labels(estimator: Any, y: npt.NDArray[Any]) -> Any:
    inner = estimator
    while isinstance(inner, BaseSearchCV):  # tells less of itself than what it searches
        inner = inner.estimator
    if not hasattr(inner, "__sklearn_tags__"):
        return PerLabel(estimator)
    tags = get_tags(inner)
    if tags.classifier_tags is not None and tags.classifier_tags.multi_label:
        return estimator
    if not tags.target_tags.multi_output:
        return PerLabel(estimator)
    # MultiOutputClassifier and ClassifierChain: one classifier of a single label in each place.
    return estimator if (y != y[0]).any(0).all() else LabelsThatVary(estimator)
